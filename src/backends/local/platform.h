/* The local platform inside. */
#ifndef CVM_LOCAL_PLATFORM_H
#define CVM_LOCAL_PLATFORM_H

#include "ca.h"
#include "cvm/plugin.h"

/* An operation that waits for a CRL. */
struct waiting {
    struct waiting *next;
    cvm_op_t *op;
};

struct publication;

struct platform {
    const cvm_host_t *host;
    cvm_context_t *context;
    char *folder;
    struct ca *ca;
    char *endpoint, *root_ca;
    /* Publishing (publish.c): */
    struct waiting *waiting; /* for the next CRL */
    struct publication *publication;
    int64_t published_at_ms;
    int32_t is_scheduled;
};

/* Completes op when a CRL that was begun after this call is on disk. op may be NULL. */
void cvm_publish(struct platform *platform, cvm_op_t *op);
/* Publishes what is missing or ends soon, now and from time to time. */
void cvm_publish_when_due(struct platform *platform);

#endif
