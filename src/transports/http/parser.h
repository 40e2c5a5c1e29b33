/* One HTTP/1.1 request after another from a connection's bytes: llhttp, and the rules that it
 * leaves to its user. Knows neither sockets nor paths. */
#ifndef CVM_HTTP_PARSER_H
#define CVM_HTTP_PARSER_H

#include <stddef.h>
#include <stdint.h>

#include <llhttp.h>

#define CVM_LARGEST_HEAD 16384
#define CVM_LARGEST_BODY 8192
/* Of all bytes, also those that mean nothing: spaces, leading zeros, the framing of small chunks.
 */
#define CVM_LARGEST_REQUEST (5 * CVM_LARGEST_HEAD)

struct cvm_parser {
    llhttp_t llhttp;
    void (*on_head)(struct cvm_parser *parser); /* may refuse: set refusal */
    void *owner;
    const char *forwarded_name; /* of the header that proxies write, in lower case */
    /* The request, valid from on_head on, but for media_type and accept, which are as far as they
     * came; the body from the request's end on. */
    char path[256]; /* without the query, and without http://HOST of the absolute form */
    char media_type[128], accept[128];
    char forwarded[256]; /* the proxies' header; the end of it, if it is longer */
    const char *method;
    int32_t expects_continue, has_body, keep_alive, is_head;
    uint8_t *body;
    size_t body_length;
    /* Why it is refused, an error's stable name; the connection must close then. */
    const char *refusal;
    const char *message; /* what is wrong with it, or NULL */
    /* While the head is read: */
    int32_t in_trailers, value_is_cut;
    uint32_t taken, head_length, hosts;
    char name[32], value[256];
    size_t name_length, value_length;
};

enum cvm_parsed {
    PARSED_MORE,    /* all bytes are used, and more are wanted */
    PARSED_REQUEST, /* a request is complete; *used bytes were its */
    PARSED_REFUSED  /* refusal says why */
};

/* Ready for a connection's first byte. forwarded_name stays the caller's. */
void cvm_parser_init(struct cvm_parser *parser, const char *forwarded_name,
    void (*on_head)(struct cvm_parser *parser), void *owner);
enum cvm_parsed cvm_parser_feed(
    struct cvm_parser *parser, const char *bytes, size_t length, size_t *used);
/* Ready for the connection's next request. */
void cvm_parser_next(struct cvm_parser *parser);
/* Wipes and frees the body. */
void cvm_parser_clear(struct cvm_parser *parser);

#endif
