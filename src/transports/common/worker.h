/* Workers: threads with a loop each, on which a transport serves. One is a member of what the
 * transport has for each of them. */
#ifndef CVM_TRANSPORTS_WORKER_H
#define CVM_TRANSPORTS_WORKER_H

#include <pthread.h>
#include <stdint.h>

#include "core/loop.h"
#include "cvm/cvm.h"

/* Those of one listener, on the instance's loop. */
struct cvm_workers {
    cvm_t *cvm;
    struct cvm_worker *first;
    uint32_t count; /* that run */
    void (*drained)(void *argument);
    void *drained_argument;
};

struct cvm_worker {
    struct cvm_workers *workers;
    struct cvm_worker *next;
    struct cvm_loop *loop;
    pthread_t thread;
    void (*drain)(struct cvm_worker *worker);
    int32_t is_draining;
    uint32_t held; /* on its loop: what it still has to do */
    struct cvm_mail draining, ended;
};

/* Makes its loop, for what is to happen there before it starts. drain, on the loop: it takes
 * nothing new any more, and ends once it is not held. 0, or -1 without memory or descriptors. */
int32_t cvm_worker_init(struct cvm_worker *worker, struct cvm_workers *workers,
    void (*drain)(struct cvm_worker *worker));
/* Starts its thread. 0, or -1 if there is none. */
int32_t cvm_worker_start(struct cvm_worker *worker);
/* Instead, when nothing is left on its loop. */
void cvm_worker_cancel(struct cvm_worker *worker);

/* On its loop, in pairs: it does not end in between. A release comes last: the worker may be gone.
 */
void cvm_worker_hold(struct cvm_worker *worker);
void cvm_worker_release(struct cvm_worker *worker);

/* On the instance's loop: all of them take nothing new, and drained(argument) comes there when the
 * last has ended. There is at least one. */
void cvm_workers_drain(
    struct cvm_workers *workers, void (*drained)(void *argument), void *argument);

#endif
