/* The local platform inside. */
#ifndef CVM_LOCAL_PLATFORM_H
#define CVM_LOCAL_PLATFORM_H

#include <stdatomic.h>

#include "ca.h"
#include "cvm/plugin.h"

/* An operation that waits for a CRL. */
struct waiting {
    struct waiting *next;
    cvm_op_t *op;
};

/* What an issuer whose key is not here has revoked. */
struct foreign {
    char issuer[41];
    uint32_t rows;
};
#define MOST_FOREIGN 8

struct look;
struct publication;

struct platform {
    const cvm_host_t *host;
    cvm_context_t *context;
    char *folder;
    struct ca *ca;
    char *endpoint, *root_ca;
    int64_t root_ca_ends_ms;       /* mqtt.root_ca's; 0 without one */
    struct look *look, *last_look; /* that is under way, and what was found before; look.c */
    /* Publishing (publish.c): */
    struct waiting *waiting;   /* for the next CRL */
    struct waiting *reloading; /* until the publication is done: it works with the CA as it is */
    struct publication *publication;
    cvm_op_t *closing;                    /* likewise */
    atomic_int must_end;                  /* what waits in a thread is cut short */
    cvm_timer_t *check;                   /* whether a new CRL is due; NULL: nobody looks */
    int32_t must_write;                   /* another process's CRL will not do */
    struct foreign foreign[MOST_FOREIGN]; /* as the last CRL left them out */
    uint32_t foreign_count;
};

/* Puts op into a list; without memory it completes, and -1 is returned. */
int32_t cvm_publish_wait(struct platform *platform, struct waiting **list, cvm_op_t *op);
/* Completes op when a CRL that was begun after this call is on disk. */
void cvm_publish(struct platform *platform, cvm_op_t *op);
/* The same for all of a list, which is taken. */
void cvm_publish_all(struct platform *platform, struct waiting *waiting);
/* Completes all of a list with that answer, and frees it. */
void cvm_publish_answer(
    struct platform *platform, struct waiting *waiting, cvm_answer_t answer, const char *text);
/* Publishes what is missing or ends soon, now and from time to time. 0, or -1 without memory. */
int32_t cvm_publish_when_due(struct platform *platform);
/* platform.c: what waited for the publication to end. */
void cvm_platform_go_on(struct platform *platform);

#endif
