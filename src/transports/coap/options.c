/*
 * One table of the options that are known. What is not in it, has a length that its option can't
 * have, or comes once too often, is passed over if it is elective and refused if it is critical
 * (RFC 7252 §5.4.1, §5.4.3, §5.4.5).
 */
#include "options.h"

#include <string.h>

#define CRITICAL_BIT    1 /* of an option's number (§5.4.6) */
#define PATH_IS_NOBODYS COAP_CODE(4, 4)
#define BAD_REQUEST     COAP_CODE(4, 0)
#define BAD_OPTION      COAP_CODE(4, 2)
#define NO_PROXY        COAP_CODE(5, 5)

/* --- Each option ------------------------------------------------------------------------------ */

/* Adds a part, and a separator before it. 0, or -1 for what would read as two parts, or has no
 * room. */
static int32_t options_join(
    char *text, size_t size, const struct cvm_coap_option *option, char separator, int32_t is_first)
{
    size_t length = strlen(text), gap = is_first ? 0 : 1;
    if (memchr(option->value, 0, option->length) || length + gap + option->length + 1 > size ||
        memchr(option->value, separator, option->length))
        return -1;
    text[length] = separator;
    memcpy(text + length + gap, option->value, option->length);
    text[length + gap + option->length] = 0;
    return 0;
}

static uint8_t options_take_path(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    return options_join(options->path, sizeof options->path, option, '/', 0) ? PATH_IS_NOBODYS : 0;
}

static uint8_t options_take_query(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    int32_t is_first = !options->has_query;
    options->has_query = 1;
    return options_join(options->query, sizeof options->query, option, '&', is_first) ? BAD_REQUEST
                                                                                      : 0;
}

static uint8_t options_take_content_format(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->content_format = cvm_coap_uint(option);
    return 0;
}

static uint8_t options_take_accept(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->accept = cvm_coap_uint(option);
    return 0;
}

/* A size of 7 is reserved (RFC 7959 §2.2). */
static uint8_t options_set_block(
    struct cvm_coap_block *block, int32_t *has_block, const struct cvm_coap_option *option)
{
    *block = cvm_coap_block_of(cvm_coap_uint(option));
    *has_block = 1;
    return block->szx > CVM_COAP_LARGEST_SZX ? BAD_REQUEST : 0;
}

static uint8_t options_take_block1(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    return options_set_block(&options->block1, &options->has_block1, option);
}

static uint8_t options_take_block2(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    return options_set_block(&options->block2, &options->has_block2, option);
}

static uint8_t options_take_size1(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->size1 = cvm_coap_uint(option);
    options->has_size1 = 1;
    return 0;
}

static uint8_t options_take_no_response(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    options->no_response = cvm_coap_uint(option);
    return 0;
}

static uint8_t options_take_echo(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    memcpy(options->echo, option->value, option->length);
    options->echo_length = option->length;
    return 0;
}

/* What has more of them than there is room for can't be told apart from others. */
static uint8_t options_take_request_tag(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    uint8_t *at = options->request_tags + options->request_tags_length;
    if (options->request_tags_length + 1 + option->length > sizeof options->request_tags)
        return BAD_OPTION;
    *at = (uint8_t)option->length;
    memcpy(at + 1, option->value, option->length);
    options->request_tags_length += 1 + option->length;
    return 0;
}

/* 0 has no more hops to go, and should not have come (RFC 8768 §3). */
static uint8_t options_take_hop_limit(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    (void)options;
    return cvm_coap_uint(option) ? 0 : BAD_REQUEST;
}

static uint8_t options_refuse_proxy(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    (void)options;
    (void)option;
    return NO_PROXY;
}

/* What tells the server who it is, or a proxy how far: nothing to do with it. */
static uint8_t options_pass_over(
    struct cvm_coap_options *options, const struct cvm_coap_option *option)
{
    (void)options;
    (void)option;
    return 0;
}

/* --- The table -------------------------------------------------------------------------------- */

static const struct known_option {
    uint16_t number;
    uint16_t least, most; /* bytes of its value */
    int32_t may_repeat;
    const char *name;
    uint8_t (*take)(struct cvm_coap_options *options, const struct cvm_coap_option *option);
} KNOWN[] = {
    {COAP_URI_HOST, 1, 255, 0, "Uri-Host", options_pass_over},
    {COAP_URI_PORT, 0, 2, 0, "Uri-Port", options_pass_over},
    {COAP_URI_PATH, 0, 255, 1, "Uri-Path", options_take_path},
    {COAP_CONTENT_FORMAT, 0, 2, 0, "Content-Format", options_take_content_format},
    {COAP_URI_QUERY, 0, 255, 1, "Uri-Query", options_take_query},
    {COAP_HOP_LIMIT, 1, 1, 0, "Hop-Limit", options_take_hop_limit},
    {COAP_ACCEPT, 0, 2, 0, "Accept", options_take_accept},
    {COAP_BLOCK2, 0, 3, 0, "Block2", options_take_block2},
    {COAP_BLOCK1, 0, 3, 0, "Block1", options_take_block1},
    {COAP_SIZE2, 0, 4, 0, "Size2", options_pass_over},
    {COAP_PROXY_URI, 1, 1034, 1, "Proxy-Uri", options_refuse_proxy},
    {COAP_PROXY_SCHEME, 1, 255, 1, "Proxy-Scheme", options_refuse_proxy},
    {COAP_SIZE1, 0, 4, 0, "Size1", options_take_size1},
    {COAP_ECHO, 1, CVM_COAP_LONGEST_ECHO, 0, "Echo", options_take_echo},
    {COAP_NO_RESPONSE, 0, 1, 0, "No-Response", options_take_no_response},
    {COAP_REQUEST_TAG, 0, CVM_COAP_LONGEST_REQUEST_TAG, 1, "Request-Tag", options_take_request_tag},
};

static const struct known_option *options_named(uint16_t number)
{
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (KNOWN[i].number == number)
            return &KNOWN[i];
    return NULL;
}

uint8_t cvm_coap_read_options(
    struct cvm_coap_options *options, const struct cvm_coap_message *message, const char **why)
{
    struct cvm_coap_walk walk = {.message = message};
    struct cvm_coap_option option;
    uint32_t last_number = UINT32_MAX;
    uint8_t code = 0;
    *options = (struct cvm_coap_options){
        .content_format = CVM_COAP_NO_FORMAT, .accept = CVM_COAP_NO_FORMAT};
    *why = NULL;
    while (!code && cvm_coap_next_option(&walk, &option)) {
        const struct known_option *known = options_named(option.number);
        if (known && option.length >= known->least && option.length <= known->most &&
            (known->may_repeat || option.number != last_number))
            code = known->take(options, &option);
        else if (option.number & CRITICAL_BIT)
            code = BAD_OPTION;
        if (code)
            *why = known ? known->name : "an option that is not known";
        last_number = option.number;
    }
    if (!*options->path)
        *options->path = '/';
    return code;
}

/* A bit for each class: 2 for 2.xx, 8 for 4.xx, 16 for 5.xx. */
int32_t cvm_coap_is_unwanted(const struct cvm_coap_options *options, uint8_t code)
{
    return COAP_CLASS(code) && (options->no_response >> (COAP_CLASS(code) - 1) & 1) != 0;
}
