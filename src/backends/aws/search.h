/* One look for keys: the places are asked one after the other, in the SDKs' order, until one has
 * some. */
#ifndef CVM_AWS_SEARCH_H
#define CVM_AWS_SEARCH_H

#include "http.h"
#include "sign.h"

/* A role that the keys that are found may assume. */
struct aws_role {
    char *arn; /* NULL: none */
    char *session, *external_id;
    int32_t is_tried; /* what was found are the keys to assume it with */
};

struct aws_search {
    const cvm_host_t *host;
    cvm_context_t *context;
    struct aws_http *http;
    /* Keys, which are the callee's to clear; or why there are none. */
    void (*ended)(struct aws_search *search, struct aws_keys *keys, const char *why);
    /* The way: */
    uint32_t place; /* that is asked */
    struct aws_exchange *exchange;
    struct aws_role role;
    struct aws_signer signer; /* for the request that assumes it */
    char metadata_token[128];
};

/* Begins; ended is called once, perhaps at once. */
void cvm_aws_search_begin(struct aws_search *search);
/* Ends it; ended is not called. Frees what it holds. */
void cvm_aws_search_cancel(struct aws_search *search);

/* --- For the places: each calls one of these three, once, perhaps later ------------------------
 */

/* It has keys. token may be NULL; expires_ms: 0 for never. */
void cvm_aws_search_found(struct aws_search *search, const char *id, const char *secret,
    const char *token, int64_t expires_ms);
/* Nothing is set up there. */
void cvm_aws_search_pass(struct aws_search *search);
/* Something is, and does not work: no other place is asked, its keys would be somebody else's. */
void cvm_aws_search_fail(struct aws_search *search, const char *what, const char *why);

/* Sends a request by plain HTTP or HTTPS; done is called with the search. body: "" for one without,
 * NULL for a GET. */
void cvm_aws_search_send(
    struct aws_search *search, const struct aws_http_request *request, aws_http_done done);

/* The places. */
void cvm_aws_ask_environment(struct aws_search *search);  /* search.c */
void cvm_aws_ask_profile(struct aws_search *search);      /* from_profile.c */
void cvm_aws_ask_web_identity(struct aws_search *search); /* from_role.c */
void cvm_aws_ask_container(struct aws_search *search);    /* from_metadata.c */
void cvm_aws_ask_instance(struct aws_search *search);

/* from_role.c: has the keys assume search->role; the search goes on with what STS answers. */
void cvm_aws_assume_role(struct aws_search *search, const struct aws_keys *keys);

/* Milliseconds since 1970 of RFC 3339's "2026-01-31T12:00:00Z"; 0 if it is none. */
int64_t cvm_aws_time(const char *text);

#endif
