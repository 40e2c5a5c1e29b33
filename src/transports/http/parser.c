/* The parser. Strict: what can be read in two ways is refused (RFC 9112 §6.3, §11.2). */
#include "parser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#define HAS_ON_PROTOCOL                                                                            \
    (LLHTTP_VERSION_MAJOR > 9 || (LLHTTP_VERSION_MAJOR == 9 && LLHTTP_VERSION_MINOR >= 3))

static struct cvm_parser *of(llhttp_t *llhttp)
{
    return llhttp->data;
}

/* Stops llhttp; the reason is kept. */
static int refuse(struct cvm_parser *parser, const char *refusal, const char *message)
{
    if (!parser->refusal) {
        parser->refusal = refusal;
        parser->message = message;
    }
    return HPE_USER;
}

/* Appends to text, which stays ended by NUL. 0, or -1 when it is full. */
static int32_t append(char *text, size_t size, size_t *used, const char *at, size_t length)
{
    if (length >= size - *used)
        return -1;
    memcpy(text + *used, at, length);
    *used += length;
    text[*used] = 0;
    return 0;
}

static int count_head(struct cvm_parser *parser, size_t length)
{
    parser->head_length += (uint32_t)length;
    if (parser->head_length <= CVM_LARGEST_HEAD)
        return 0;
    return parser->in_trailers
               ? refuse(parser, "too_large", "what is around the body is larger than 16 KiB")
               : refuse(parser, "head_too_large", NULL);
}

/* --- The request line ------------------------------------------------------------------------- */

static int on_url(llhttp_t *llhttp, const char *at, size_t length)
{
    struct cvm_parser *parser = of(llhttp);
    size_t used = strlen(parser->path);
    if (!used && /* the rest of the line, and the empty line that ends the head */
        count_head(parser, strlen(llhttp_method_name((llhttp_method_t)llhttp->method)) +
                               sizeof "  HTTP/1.1\r\n\r\n" - 1))
        return HPE_USER;
    if (append(parser->path, sizeof parser->path, &used, at, length))
        return refuse(parser, "uri_too_long", NULL);
    return count_head(parser, length);
}

#if HAS_ON_PROTOCOL
/* llhttp takes RTSP and ICE for some methods. The name may come in pieces. */
static int on_protocol(llhttp_t *llhttp, const char *at, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (at[i] != 'H' && at[i] != 'T' && at[i] != 'P')
            return refuse(of(llhttp), "invalid_request", "only HTTP is known");
    return 0;
}
#endif

/* --- Headers ---------------------------------------------------------------------------------- */

static int on_header_field(llhttp_t *llhttp, const char *at, size_t length)
{
    struct cvm_parser *parser = of(llhttp);
    if (append(parser->name, sizeof parser->name, &parser->name_length, at, length)) {
        parser->name_length = sizeof parser->name - 1; /* none of ours, however it begins */
        parser->name[0] = 0;
    }
    return count_head(parser, length);
}

/* Of a value that is too long its end is kept: that is what take_forwarded needs. */
static void append_value(struct cvm_parser *parser, const char *at, size_t length)
{
    const size_t most = sizeof parser->value - 1;
    if (length > most) {
        at += length - most;
        length = most;
        parser->value_is_cut = 1;
    }
    if (length > most - parser->value_length) {
        size_t kept = most - length;
        memmove(parser->value, parser->value + parser->value_length - kept, kept);
        parser->value_length = kept;
        parser->value_is_cut = 1;
    }
    (void)append(parser->value, sizeof parser->value, &parser->value_length, at, length);
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t length)
{
    struct cvm_parser *parser = of(llhttp);
    append_value(parser, at, length);
    return count_head(parser, length);
}

static int take_media_type(struct cvm_parser *parser)
{
    if (*parser->media_type)
        return refuse(parser, "invalid_request", "there are two media types");
    /* What is too long has a media type that nothing takes. */
    (void)snprintf(parser->media_type, sizeof parser->media_type, "%.127s",
        parser->value_is_cut ? "?" : parser->value);
    return 0;
}

/* Several lines are one list; an element that does not fit whole is not asked for, nor are those
 * behind it. */
static void take_accept(struct cvm_parser *parser)
{
    size_t used = strlen(parser->accept), room = sizeof parser->accept - used - 1;
    const char *value = parser->value;
    if (parser->value_is_cut || strlen(value) + (used != 0) > room)
        return;
    (void)snprintf(parser->accept + used, room + 1, "%s%s", used ? "," : "", value);
}

/* Several lines are one list. Only its end can be believed: a trusted proxy wrote it. */
static void take_forwarded(struct cvm_parser *parser)
{
    char *list = parser->forwarded;
    const char *value = parser->value;
    if (parser->value_is_cut) /* begin with a whole address, or with none */
        value += strcspn(value, ",");
    size_t used = strlen(list), length = strlen(value);
    if (parser->value_is_cut || used + length + 2 > sizeof parser->forwarded)
        used = 0;
    if (used)
        list[used++] = ',';
    memcpy(list + used, value, length + 1);
}

static int take_header(struct cvm_parser *parser)
{
    if (strcasecmp(parser->name, "host") == 0)
        parser->hosts++;
    else if (strcasecmp(parser->name, "content-type") == 0)
        return take_media_type(parser);
    else if (strcasecmp(parser->name, "accept") == 0)
        take_accept(parser);
    else if (strcasecmp(parser->name, parser->forwarded_name) == 0)
        take_forwarded(parser);
    else if (strcasecmp(parser->name, "expect") == 0)
        parser->expects_continue = strcasecmp(parser->value, "100-continue") == 0;
    else if (strcasecmp(parser->name, "transfer-encoding") == 0 &&
             (parser->value_is_cut || strcasecmp(parser->value, "chunked") != 0))
        return refuse(parser, "invalid_request", "only the transfer coding chunked is known");
    return 0;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    struct cvm_parser *parser = of(llhttp);
    int failed = parser->in_trailers ? 0 : take_header(parser);
    parser->name_length = parser->value_length = 0;
    parser->value_is_cut = 0;
    parser->name[0] = parser->value[0] = 0;
    return failed ? failed : count_head(parser, 4); /* colon, space, line end */
}

/* What llhttp leaves to its user. */
static int check_head(struct cvm_parser *parser)
{
    const llhttp_t *llhttp = &parser->llhttp;
    if (llhttp->http_major != 1 || llhttp->http_minor > 1)
        return refuse(parser, "invalid_request", "only HTTP/1.0 and HTTP/1.1 are known");
    if (parser->hosts > 1 || (llhttp->http_minor == 1 && parser->hosts == 0))
        return refuse(parser, "invalid_request", "exactly one Host is needed");
    if (llhttp->http_minor == 0 && llhttp->flags & F_TRANSFER_ENCODING)
        return refuse(parser, "invalid_request", "HTTP/1.0 has no Transfer-Encoding");
    if (llhttp->flags & F_CONTENT_LENGTH && llhttp->content_length > CVM_LARGEST_BODY)
        return refuse(parser, "too_large", "the body is larger than 8 KiB");
    return 0;
}

/* The absolute form is served like the usual one (RFC 9112 §3.2.2). */
static void reduce_to_path(char *target)
{
    static const char *const SCHEMES[] = {"http://", "https://"};
    target[strcspn(target, "?#")] = 0;
    for (size_t i = 0; i < 2; i++) {
        size_t length = strlen(SCHEMES[i]);
        if (strncasecmp(target, SCHEMES[i], length) != 0)
            continue;
        const char *path = target + length;
        path += strcspn(path, "/");
        memmove(target, path, strlen(path) + 1);
        return;
    }
}

static int on_headers_complete(llhttp_t *llhttp)
{
    struct cvm_parser *parser = of(llhttp);
    parser->method = llhttp_method_name((llhttp_method_t)llhttp->method);
    parser->is_head = llhttp->method == HTTP_HEAD;
    reduce_to_path(parser->path);
    if (check_head(parser))
        return HPE_USER;
    parser->has_body = llhttp->flags & F_CHUNKED || llhttp->content_length > 0;
    if (llhttp->http_minor == 0)
        parser->expects_continue = 0; /* RFC 9110 §10.1.1 */
    parser->keep_alive = llhttp->http_minor == 1 && llhttp_should_keep_alive(llhttp);
    parser->in_trailers = 1;
    llhttp->upgrade = 0; /* an Upgrade is ignored (RFC 9110 §7.8) */
    parser->on_head(parser);
    return parser->refusal ? HPE_USER : 0;
}

/* --- The body --------------------------------------------------------------------------------- */

static int on_body(llhttp_t *llhttp, const char *at, size_t length)
{
    struct cvm_parser *parser = of(llhttp);
    if (length > CVM_LARGEST_BODY - parser->body_length)
        return refuse(parser, "too_large", "the body is larger than 8 KiB");
    if (!parser->body) {
        parser->body = malloc(CVM_LARGEST_BODY);
        if (!parser->body)
            return refuse(parser, "overloaded", NULL);
    }
    memcpy(parser->body + parser->body_length, at, length);
    parser->body_length += length;
    return 0;
}

static int on_chunk_extension(llhttp_t *llhttp, const char *at, size_t length)
{
    (void)at;
    return count_head(of(llhttp), length);
}

static int on_chunk_header(llhttp_t *llhttp)
{
    struct cvm_parser *parser = of(llhttp);
    if (llhttp->content_length > CVM_LARGEST_BODY)
        return refuse(parser, "too_large", "the body is larger than 8 KiB");
    return count_head(parser, 1); /* chunks of a byte each are no way to go on for ever */
}

static int on_message_complete(llhttp_t *llhttp)
{
    (void)llhttp;
    return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {
    .on_url = on_url,
#if HAS_ON_PROTOCOL
    .on_protocol = on_protocol,
#endif
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_header,
    .on_chunk_extension_name = on_chunk_extension,
    .on_chunk_extension_value = on_chunk_extension,
    .on_message_complete = on_message_complete,
};

/* --- The API ---------------------------------------------------------------------------------- */

void cvm_parser_init(struct cvm_parser *parser, const char *forwarded_name,
    void (*on_head)(struct cvm_parser *parser), void *owner)
{
    memset(parser, 0, sizeof *parser);
    parser->forwarded_name = forwarded_name;
    llhttp_init(&parser->llhttp, HTTP_REQUEST, &SETTINGS);
    parser->llhttp.data = parser;
    parser->on_head = on_head;
    parser->owner = owner;
}

enum cvm_parsed cvm_parser_feed(
    struct cvm_parser *parser, const char *bytes, size_t length, size_t *used)
{
    size_t room = CVM_LARGEST_REQUEST - parser->taken, taken = length < room ? length : room;
    *used = taken;
    llhttp_errno_t rc = llhttp_execute(&parser->llhttp, bytes, taken);
    parser->taken += (uint32_t)taken;
    if (rc == HPE_OK && taken == length)
        return PARSED_MORE;
    if (rc == HPE_OK)
        (void)refuse(parser, "too_large", "the request is too large");
    if (rc == HPE_PAUSED) {
        *used = (size_t)(llhttp_get_error_pos(&parser->llhttp) - bytes);
        return PARSED_REQUEST;
    }
    (void)refuse(parser, "invalid_request", "not a valid HTTP/1.1 request");
    return PARSED_REFUSED;
}

void cvm_parser_clear(struct cvm_parser *parser)
{
    if (parser->body)
        OPENSSL_cleanse(parser->body, parser->body_length);
    free(parser->body);
    parser->body = NULL;
}

void cvm_parser_next(struct cvm_parser *parser)
{
    llhttp_t llhttp = parser->llhttp;
    void (*on_head)(struct cvm_parser *) = parser->on_head;
    void *owner = parser->owner;
    const char *forwarded_name = parser->forwarded_name;
    cvm_parser_clear(parser);
    memset(parser, 0, sizeof *parser);
    parser->llhttp = llhttp;
    parser->on_head = on_head;
    parser->owner = owner;
    parser->forwarded_name = forwarded_name;
    llhttp_resume(&parser->llhttp);
}
