/* cvm_t: what an instance is made of. Its life is in instance.c, its backends' side in host.c. */
#ifndef CVM_CORE_INSTANCE_H
#define CVM_CORE_INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "conf.h"
#include "cvm/plugin.h"
#include "limiter.h"
#include "log.h"
#include "loop.h"
#include "metrics.h"
#include "op.h"
#include "threads.h"
#include "throttle.h"
#include "trusted_clock.h"

struct registration;
struct due;
struct cvm_health;
struct cvm_documents;
struct cvm_reconciler;
struct cvm_transport;

enum cvm_state {
    STATE_NEW,
    STATE_COPIED,
    STATE_STARTING,
    STATE_READY,
    STATE_STOPPING,
    STATE_STOPPED
};

/* A store or platform as the instance holds it; its backend has it as its context. */
struct cvm_context_s {
    cvm_t *cvm;
    char kind[32]; /* "file", a metric's label */
    void *self;
    int32_t is_open, is_closed;
    struct cvm_handle *handles; /* watches and timers that it has; backend/handles.c */
};

/* Done once, later, on the loop. */
struct cvm_waiter {
    cvm_done_cb callback;
    void *user_data;
};

#define CVM_MOST_LISTENERS       16
#define CVM_SUSPENDING           256
#define CVM_REGISTRATION_BUCKETS 1024

struct cvm_s {
    pid_t process;          /* that made it; see entry.h */
    _Atomic(void *) thread; /* that runs it; NULL before the first turn, and after the last */
    struct cvm_loop *loop;  /* gone when is_closed */
    int32_t has_own_loop;
    pthread_mutex_t post_lock; /* of the next three */
    int32_t is_shut;           /* nothing more can be posted by others */
    int32_t is_freed;          /* by the caller: goes when it has ended */
    int32_t has_ended;         /* the thread that ran it is done with it */
    struct cvm_mail binding, starting, closing, freeing, settled;
    struct cvm_settling *settling; /* who waits until nothing runs; instance/settle.c */
    int32_t is_settle_posted;
    struct cvm_threads *threads, *key_makers; /* the backends'; for RSA keys */
    cvm_conf_t *conf;
    struct cvm_log *log, *audit;
    char *actor[3]; /* who acts, for the audit: user, its id, command; audit.c */
    struct cvm_throttle *log_throttle, *audit_throttle; /* of what strangers can have written */
    struct cvm_metrics *metrics;
    struct cvm_limiter *limiter;

    struct cvm_context_s store_context, platform_context;
    cvm_store_ops_t store;
    cvm_platform_ops_t platform;

    enum cvm_state state;
    uint32_t how;                  /* CVM_OPEN_... */
    cvm_op_t opening, closings[2]; /* of the backends; the latter by enum cvm_side */
    struct cvm_timer *stop_timer;
    uint32_t start_step;
    struct cvm_waiter started, stopped;
    struct cvm_trusted_clock clock;
    struct cvm_health *health;
    struct cvm_documents *documents;
    int32_t is_told;                        /* the log has said that a server started */
    int32_t has_devices;                    /* one was seen in the store */
    struct due *suspending[CVM_SUSPENDING]; /* that run, by their devices; due.c */
    int32_t is_deferred;                    /* verbs are done once they are recorded */
    int32_t is_cut;                         /* the backends were told to close while they work */
    int32_t is_closed;                      /* the loop is */
    uint32_t running;                       /* what must end before it closes */

    struct registration *registrations[CVM_REGISTRATION_BUCKETS]; /* by their ids */
    uint32_t registration_count;
    uint64_t last_id;
    struct cvm_reconciler *reconciler;

    struct cvm_transport *transports[CVM_MOST_LISTENERS];
    uint32_t transport_count;
};

/* 1 while requests are taken. */
int32_t cvm_is_started(const cvm_t *cvm);

/* The platform has effects outside the store. */
static inline int32_t cvm_is_outside(const cvm_t *cvm)
{
    return (cvm->platform.flags & CVM_PLATFORM_OUTSIDE_EFFECTS) != 0;
}

/* A wrong path is more likely than a fleet of none. */
#define CVM_NO_DEVICES "there is no device in the store: is it the right one?"

/* Something runs that must end before the instance closes. */
void cvm_hold(cvm_t *cvm);
void cvm_release(cvm_t *cvm);

/* Has function(argument) called on the loop. Any thread. is_own: not a function of the program's.
 * 0, or -1 without memory, 1 if the instance has ended. */
int32_t cvm_instance_post(
    cvm_t *cvm, void (*function)(void *argument), void *argument, int32_t is_own);

/* instance/settle.c: nothing runs, as it seems; and tells all who wait for that. */
/* Why a backend did not open, or was not made; NULL if it was. */
cvm_error_t *cvm_open_error(const cvm_op_t *op);
void cvm_settle_soon(cvm_t *cvm);
void cvm_settle_tell(cvm_t *cvm);

/* listeners.c. Each transport that is drained is held until then; close is for drained ones. */
void cvm_listeners_drain(cvm_t *cvm);
void cvm_listeners_close(cvm_t *cvm);
/* The first error. */
cvm_error_t *cvm_listeners_reload(cvm_t *cvm);

/* The host's table, the same for all; see plugin.h. */
extern const cvm_host_t CVM_HOST;
/* Finds and creates the backend that conf names. */
cvm_error_t *cvm_host_create_backends(cvm_t *cvm);

#endif
