/* Threads with a loop, from their start until they are drained. */
#include "transports/common/worker.h"

#include <stddef.h>

#include "base/thread.h"
#include "core/transport.h"

static void worker_loop_closed(void *argument)
{
    (void)argument;
}

void cvm_worker_cancel(struct cvm_worker *worker)
{
    cvm_loop_close(worker->loop, worker_loop_closed, NULL);
    cvm_loop_run(worker->loop);
}

/* --- Starting --------------------------------------------------------------------------------- */

int32_t cvm_worker_init(struct cvm_worker *worker, struct cvm_workers *workers,
    void (*drain)(struct cvm_worker *worker))
{
    worker->workers = workers;
    worker->drain = drain;
    worker->held = 1; /* until it drains */
    worker->loop = cvm_loop_new(NULL);
    return worker->loop ? 0 : -1;
}

/* On the instance's loop: a worker's thread is over. */
static void worker_ended(struct cvm_mail *mail)
{
    struct cvm_worker *worker = CVM_CONTAINER(mail, struct cvm_worker, ended);
    struct cvm_workers *workers = worker->workers;
    (void)pthread_join(worker->thread, NULL);
    if (--workers->count == 0)
        workers->drained(workers->drained_argument);
}

static void *worker_run(void *argument)
{
    struct cvm_worker *worker = argument;
    cvm_loop_run(worker->loop);
    worker->ended.open = worker_ended;
    cvm_loop_post(cvm_loop_of(worker->workers->cvm), &worker->ended);
    return NULL;
}

int32_t cvm_worker_start(struct cvm_worker *worker)
{
    struct cvm_workers *workers = worker->workers;
    if (cvm_thread_start(&worker->thread, worker_run, worker))
        return -1;
    worker->next = workers->first;
    workers->first = worker;
    workers->count++;
    return 0;
}

/* --- Ending ----------------------------------------------------------------------------------- */

void cvm_worker_hold(struct cvm_worker *worker)
{
    worker->held++;
}

void cvm_worker_release(struct cvm_worker *worker)
{
    if (--worker->held == 0)
        cvm_loop_close(worker->loop, worker_loop_closed, NULL);
}

static void worker_draining(struct cvm_mail *mail)
{
    struct cvm_worker *worker = CVM_CONTAINER(mail, struct cvm_worker, draining);
    worker->is_draining = 1;
    worker->drain(worker);
    cvm_worker_release(worker);
}

void cvm_workers_drain(struct cvm_workers *workers, void (*drained)(void *argument), void *argument)
{
    workers->drained = drained;
    workers->drained_argument = argument;
    for (struct cvm_worker *worker = workers->first; worker; worker = worker->next) {
        worker->draining.open = worker_draining;
        cvm_loop_post(worker->loop, &worker->draining);
    }
}
