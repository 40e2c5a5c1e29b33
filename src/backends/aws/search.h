/* One look for keys: the places are asked one after the other, in the SDKs' order, until one has
 * some. */
#ifndef CVM_AWS_SEARCH_H
#define CVM_AWS_SEARCH_H

#include "http.h"
#include "sign.h"

struct aws_provider;

struct aws_search {
    const cvm_host_t *host;
    cvm_context_t *context;
    struct aws_http *http;
    /* Keys, which are the callee's to clear; or why there are none. */
    void (*ended)(struct aws_search *search, struct aws_keys *keys, const char *why);
    /* The way: */
    const struct aws_provider *provider;
    struct aws_exchange *exchange;
    char imds_token[128];
};

/* Begins; ended is called once, perhaps at once. */
void cvm_aws_search_begin(struct aws_search *search);
/* Ends it; ended is not called. */
void cvm_aws_search_cancel(struct aws_search *search);

#endif
