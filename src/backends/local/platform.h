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
    int32_t must_reload; /* when the publication is done: it works with the CA as it is */
};

/* Completes op when a CRL that was begun after this call is on disk. */
void cvm_publish(struct platform *platform, cvm_op_t *op);
/* Publishes without being asked, unless a publication runs. */
void cvm_publish_now(struct platform *platform);
/* Publishes what is missing or ends soon, now and from time to time. */
void cvm_publish_when_due(struct platform *platform);
/* Reads the CA and the endpoint again (platform.c). */
void cvm_platform_reload(struct platform *platform);

#endif
