/*
 * One table of the options that are known. What is not in it, has a length that its option can't
 * have, or comes once too often, is passed over if it is elective and refused if it is critical
 * (RFC 7252 §5.4.1, §5.4.3, §5.4.5).
 */
#include "options.h"

#include <stdio.h>
#include <string.h>

#define CRITICAL_BIT    1 /* of an option's number (§5.4.6) */
#define PATH_IS_NOBODYS COAP_CODE(4, 4)
#define BAD_REQUEST     COAP_CODE(4, 0)
#define BAD_OPTION      COAP_CODE(4, 2)
#define NO_PROXY        COAP_CODE(5, 5)

/* --- Each option ------------------------------------------------------------------------------ */

/* Adds a part behind a separator. Not what would read as more than one part, or not at all. */
static int32_t options_join(
    char *text, size_t size, const struct cvm_coap_option *option, char separator)
{
    size_t length = strlen(text);
    if (memchr(option->value, 0, option->length) ||
        memchr(option->value, separator, option->length) || length + option->length + 2 > size)
        return -1;
    if (separator == '/' || length)
        text[length++] = separator;
    memcpy(text + length, option->value, option->length);
    text[length + option->length] = 0;
    return 0;
}

static uint8_t take_path(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    return options_join(options->path, sizeof options->path, option, '/') ? PATH_IS_NOBODYS : 0;
}

static uint8_t take_query(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    return options_join(options->query, sizeof options->query, option, '&') ? BAD_OPTION : 0;
}

static uint8_t take_content_format(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->content_format = cvm_coap_uint(option);
    return 0;
}

static uint8_t take_accept(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->accept = cvm_coap_uint(option);
    return 0;
}

/* A size of 7 is reserved (RFC 7959 §2.2). */
static uint8_t take_block1(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->block1 = cvm_coap_block_of(cvm_coap_uint(option));
    options->has_block1 = 1;
    return options->block1.szx > CVM_COAP_LARGEST_SZX ? BAD_REQUEST : 0;
}

static uint8_t take_block2(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->block2 = cvm_coap_block_of(cvm_coap_uint(option));
    options->has_block2 = 1;
    return options->block2.szx > CVM_COAP_LARGEST_SZX ? BAD_REQUEST : 0;
}

static uint8_t take_size1(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->size1 = cvm_coap_uint(option);
    options->has_size1 = 1;
    return 0;
}

static uint8_t take_no_response(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->no_response = cvm_coap_uint(option);
    return 0;
}

static uint8_t take_echo(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    memcpy(options->echo, option->value, option->length);
    options->echo_length = option->length;
    return 0;
}

static uint8_t take_request_tag(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    if (option->length)
        memcpy(options->request_tag, option->value, option->length);
    options->request_tag_length = option->length;
    options->has_request_tag = 1;
    return 0;
}

static uint8_t refuse_proxy(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    (void)options;
    (void)option;
    return NO_PROXY;
}

/* What tells the server who it is, or a proxy how far: nothing to do with it. */
static uint8_t pass_over(struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    (void)options;
    (void)option;
    return 0;
}

/* --- The table -------------------------------------------------------------------------------- */

static const struct known_option {
    uint16_t number;
    uint8_t least, most; /* bytes of its value */
    uint8_t may_repeat;
    const char *name;
    uint8_t (*take)(struct cvm_coap_options *options, const struct cvm_coap_option *option);
} KNOWN[] = {
    {COAP_URI_HOST, 1, 255, 0, "Uri-Host", pass_over},
    {COAP_URI_PORT, 0, 2, 0, "Uri-Port", pass_over},
    {COAP_URI_PATH, 0, 255, 1, "Uri-Path", take_path},
    {COAP_CONTENT_FORMAT, 0, 2, 0, "Content-Format", take_content_format},
    {COAP_URI_QUERY, 0, 255, 1, "Uri-Query", take_query},
    {COAP_HOP_LIMIT, 1, 1, 0, "Hop-Limit", pass_over},
    {COAP_ACCEPT, 0, 2, 0, "Accept", take_accept},
    {COAP_BLOCK2, 0, 3, 0, "Block2", take_block2},
    {COAP_BLOCK1, 0, 3, 0, "Block1", take_block1},
    {COAP_SIZE2, 0, 4, 0, "Size2", pass_over},
    {COAP_PROXY_URI, 1, 255, 1, "Proxy-Uri", refuse_proxy},
    {COAP_PROXY_SCHEME, 1, 255, 1, "Proxy-Scheme", refuse_proxy},
    {COAP_SIZE1, 0, 4, 0, "Size1", take_size1},
    {COAP_ECHO, 1, CVM_COAP_LONGEST_ECHO, 0, "Echo", take_echo},
    {COAP_NO_RESPONSE, 0, 1, 0, "No-Response", take_no_response},
    {COAP_REQUEST_TAG, 0, CVM_COAP_LONGEST_REQUEST_TAG, 0, "Request-Tag", take_request_tag},
};

static const struct known_option *option_known(
    const struct cvm_coap_option *option, uint32_t last_number)
{
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (KNOWN[i].number == option->number)
            return option->length >= KNOWN[i].least && option->length <= KNOWN[i].most &&
                           (KNOWN[i].may_repeat || option->number != last_number)
                       ? &KNOWN[i]
                       : NULL;
    return NULL;
}

uint8_t cvm_coap_read_options(
    struct cvm_coap_options *options, const struct cvm_coap_message *message, const char **why)
{
    struct cvm_coap_walk walk = {.message = message};
    struct cvm_coap_option option;
    uint32_t last_number = UINT32_MAX;
    *options = (struct cvm_coap_options){
        .content_format = CVM_COAP_NO_FORMAT, .accept = CVM_COAP_NO_FORMAT};
    *why = NULL;
    while (cvm_coap_next_option(&walk, &option)) {
        const struct known_option *known = option_known(&option, last_number);
        uint8_t code = known                          ? known->take(options, &option)
                       : option.number & CRITICAL_BIT ? BAD_OPTION
                                                      : 0;
        last_number = option.number;
        if (code) {
            *why = known ? known->name : "an option";
            return code;
        }
    }
    if (!*options->path)
        (void)snprintf(options->path, sizeof options->path, "/");
    return 0;
}

/* A bit for each class: 2 for 2.xx, 8 for 4.xx, 16 for 5.xx. */
int32_t cvm_coap_is_unwanted(const struct cvm_coap_options *options, uint8_t code)
{
    return (options->no_response >> (COAP_CLASS(code) - 1) & 1) != 0;
}
