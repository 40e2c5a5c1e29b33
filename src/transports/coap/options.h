/* What a request's options say (RFC 7252 §5.10, RFC 7959, RFC 9175, RFC 7967, RFC 8768). */
#ifndef CVM_COAP_OPTIONS_H
#define CVM_COAP_OPTIONS_H

#include "block.h"
#include "message.h"

enum cvm_coap_option_number {
    COAP_URI_HOST = 3,
    COAP_URI_PORT = 7,
    COAP_URI_PATH = 11,
    COAP_CONTENT_FORMAT = 12,
    COAP_URI_QUERY = 15,
    COAP_HOP_LIMIT = 16,
    COAP_ACCEPT = 17,
    COAP_BLOCK2 = 23,
    COAP_BLOCK1 = 27,
    COAP_SIZE2 = 28,
    COAP_PROXY_URI = 35,
    COAP_PROXY_SCHEME = 39,
    COAP_SIZE1 = 60,
    COAP_ECHO = 252,
    COAP_NO_RESPONSE = 258,
    COAP_REQUEST_TAG = 292
};

#define CVM_COAP_LONGEST_PATH        255
#define CVM_COAP_LONGEST_QUERY       255
#define CVM_COAP_LONGEST_ECHO        40
#define CVM_COAP_LONGEST_REQUEST_TAG 8
#define CVM_COAP_MOST_REQUEST_TAGS   4
#define CVM_COAP_NO_FORMAT           UINT32_MAX

struct cvm_coap_options {
    char path[CVM_COAP_LONGEST_PATH + 1];   /* "/registration"; "/" if there is none */
    char query[CVM_COAP_LONGEST_QUERY + 1]; /* its parts, with & between them */
    uint32_t content_format, accept;        /* CVM_COAP_NO_FORMAT: none */
    struct cvm_coap_block block1, block2;
    int32_t has_query, has_block1, has_block2, has_size1;
    uint32_t size1;
    uint32_t no_response; /* classes of responses that are not wanted, a bit each (RFC 7967) */
    uint8_t echo[CVM_COAP_LONGEST_ECHO];
    size_t echo_length;
    /* The list of Request-Tags, each behind its length: two requests are of one operation only if
     * their lists are the same (RFC 9175 §3.3). */
    uint8_t request_tags[CVM_COAP_MOST_REQUEST_TAGS * (1 + CVM_COAP_LONGEST_REQUEST_TAG)];
    size_t request_tags_length;
};

/* Reads the options of a request. Returns 0, or the code of the error that answers it, with the
 * option's name in *why: 4.02 for one that is not known, 4.00 for one that makes no sense, 4.04 for
 * a path that nobody can have, 5.05 for what a proxy would do. A NON is not answered 4.02, but
 * ignored (RFC 7252 §5.4.1). */
uint8_t cvm_coap_read_options(
    struct cvm_coap_options *options, const struct cvm_coap_message *message, const char **why);
/* Returns 1 if a response of that code is not wanted. */
int32_t cvm_coap_is_unwanted(const struct cvm_coap_options *options, uint8_t code);

#endif
