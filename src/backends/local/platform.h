/* The local platform inside. */
#ifndef CVM_LOCAL_PLATFORM_H
#define CVM_LOCAL_PLATFORM_H

#include <stdatomic.h>

#include "base/hex.h"
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
struct sweep;

struct platform {
    const cvm_host_t *host;
    cvm_context_t *context;
    char *folder;
    struct ca *ca;
    struct ca_issuers issuers; /* all that the store's devices have, the CA's own first; none: the
                                  store was not asked yet */
    int32_t is_admitting;
    char *endpoint, *root_ca;
    int64_t root_ca_ends_ms;       /* mqtt.root_ca's; 0 without one */
    struct look *look, *last_look; /* that is under way, and what was found before; look.c */
    /* Publishing (publication.h): */
    struct waiting *waiting;   /* for the next CRL */
    struct waiting *reloading; /* until the publication is done: it works with the CA as it is */
    struct publication *publication;
    struct sweep *sweep;
    cvm_op_t *closing;                  /* until both are done */
    atomic_int must_end;                /* what waits in a thread is cut short */
    cvm_timer_t *check;                 /* NULL: this is no server */
    int64_t seen;                       /* the version of the heads that was gone by last */
    int32_t is_current;                 /* crl.pem was as they say then */
    int32_t must_retry;                 /* something failed, or lacks */
    int32_t is_changed;                 /* the CA and the properties may be others */
    int64_t checked_ms, current_ms;     /* by the monotonic clock: when all was looked at, and
                                           when crl.pem was as the heads last */
    int64_t wait_until_ms, patience_ms; /* after a failure */
    int32_t must_write;                 /* a CRL, whatever it lists */
    char failure[240];                  /* as it was told last */
    int64_t failure_told_ms;
    struct foreign foreign[MOST_FOREIGN]; /* as the last CRL left them out */
    uint32_t foreign_count, carried;
    char served[CVM_SHA256_HEX_SIZE]; /* the crl.pem that documents.c serves */
    int64_t swept_ms, swept_sequence; /* sweep.c */
    int32_t has_old_parts;
};

/* Puts op into a list; without memory it completes, and -1 is returned. */
int32_t cvm_publish_wait(struct platform *platform, struct waiting **list, cvm_op_t *op);
/* Completes op when a CRL that says what is in the store by now is on disk. */
void cvm_publish(struct platform *platform, cvm_op_t *op);
/* Completes all of a list, which is taken, when a new one is on disk. */
void cvm_publish_all(struct platform *platform, struct waiting *waiting);
/* Completes all of a list with that answer, and frees it. */
void cvm_publish_answer(
    struct platform *platform, struct waiting *waiting, cvm_answer_t answer, const char *text);
/* Follows what other servers publish, and publishes what is missing or ends soon, from now on. 0,
 * or -1 without memory. */
int32_t cvm_publish_when_due(struct platform *platform);
/* Begins for those who wait, or answers them. */
void cvm_publish_go_on(struct platform *platform);
/* No more of that; what runs is not begun anew. */
void cvm_publish_stop(struct platform *platform);
/* platform.c: what waited for a publication or a sweep to end. */
void cvm_platform_go_on(struct platform *platform);
/* Takes the issuers, which are none then. */
void cvm_platform_take_issuers(struct platform *platform, struct ca_issuers *issuers);

#endif
