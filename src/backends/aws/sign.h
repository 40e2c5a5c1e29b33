/* Signature Version 4 (AWS Signature Version 4 for API requests, AWS General Reference). libcurl
 * has one, which signs paths with other characters than A-Za-z0-9-._~/ and unsorted queries wrong.
 */
#ifndef CVM_AWS_SIGN_H
#define CVM_AWS_SIGN_H

#include <stdint.h>

#include "base/buffer.h"

#define AWS_DATE_SIZE 17 /* 20260131T120000Z */

struct aws_keys {
    char *id, *secret, *token; /* token: NULL for keys that last */
    int64_t expires_ms;        /* 0: never */
    uint32_t number;           /* credentials.c: each that are found have another one */
};

/* The signing key of a day, which is good for all requests of it. */
struct aws_signer {
    struct evp_mac_ctx_st *hmac;
    char secret_sha256[65], scope[96]; /* what the key was made of */
    uint8_t key[32];
};

struct aws_to_sign {
    const char *method, *host;
    const char *path;  /* encoded, as it is sent */
    const char *query; /* encoded and sorted by name; "" without one */
    /* Lines "name: value" that are signed beside host, x-amz-date and x-amz-security-token: names
     * in lower case. */
    const char *const *headers;
    uint32_t header_count;
    const char *body;
    size_t length;
    const char *region, *service;
    int64_t now_ms;
};

/* 0, or -1 without memory. */
int32_t cvm_aws_signer_init(struct aws_signer *signer);
void cvm_aws_signer_clear(struct aws_signer *signer);
/* Adds what goes into the header Authorization, and answers the text of x-amz-date. 0, or -1
 * without memory. */
int32_t cvm_aws_sign(struct aws_signer *signer, const struct aws_keys *keys,
    const struct aws_to_sign *request, char date[AWS_DATE_SIZE], struct cvm_buffer *authorization);
/* Adds a text with what is not unreserved (RFC 3986 §2.3) as %XX; keep_slash: "/" stays. */
void cvm_aws_encode(struct cvm_buffer *to, const char *text, int32_t keep_slash);

/* Takes copies. 0, or -1 without memory. */
int32_t cvm_aws_keys_set(
    struct aws_keys *keys, const char *id, const char *secret, const char *token);
/* Wipes and frees them. */
void cvm_aws_keys_clear(struct aws_keys *keys);

#endif
