/* Keys to sign with, from where AWS's SDKs look. They are refreshed before they expire; the last
 * good ones are used until they do; one refresh is for all that wait. */
#ifndef CVM_AWS_CREDENTIALS_H
#define CVM_AWS_CREDENTIALS_H

#include "http.h"
#include "sign.h"

struct aws_credentials;

/* Who waits for keys. Its caller's memory; kept until it was told. */
struct aws_waiter {
    struct aws_waiter *next;
    /* keys: valid inside the call; NULL: there are none, and why. */
    void (*told)(struct aws_waiter *waiter, const struct aws_keys *keys, const char *why);
};

/* NULL without memory. */
struct aws_credentials *cvm_aws_credentials_new(
    const cvm_host_t *host, cvm_context_t *context, struct aws_http *http);
/* Nobody may wait any more. NULL is fine. */
void cvm_aws_credentials_free(struct aws_credentials *credentials);
/* Tells the waiter: at once if there are keys, else later. */
void cvm_aws_credentials_ask(struct aws_credentials *credentials, struct aws_waiter *waiter);
/* It waits no longer. */
void cvm_aws_credentials_leave(struct aws_credentials *credentials, struct aws_waiter *waiter);
/* AWS says that the keys of that number have expired: the next who asks gets others. */
void cvm_aws_credentials_expire(struct aws_credentials *credentials, uint32_t number);

#endif
