/* Workers: threads with a loop, that accept connections and serve them. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/thread.h"
#include "core/throttle.h"
#include "server.h"

#define BACKOFF_MS   100 /* when there are no descriptors left */
#define MOST_ACCEPTS 64  /* in a row */

/* --- Accepting -------------------------------------------------------------------------------- */

static void watch_all(struct worker *worker, uint32_t events)
{
    for (uint32_t i = 0; i < worker->server->listener.fd_count; i++)
        cvm_watch_set(worker->watches[i], events);
}

static void accept_again(void *argument)
{
    watch_all(argument, CVM_READABLE);
}

/* It is said once, not ten times a second; and whoever makes them go and come is kept quiet. */
static void wait_for_descriptors(struct worker *worker)
{
    cvm_t *cvm = worker->server->listener.cvm;
    if (!worker->is_starved &&
        cvm_throttle_takes(cvm_throttle_of(cvm), LOG_WARNING, "", "no descriptor", ""))
        cvm_log_message(cvm_log_of(cvm), LOG_WARNING, "no descriptor for a connection; waiting");
    worker->is_starved = 1;
    watch_all(worker, 0);
    cvm_timer_start(worker->backoff, BACKOFF_MS);
}

/* 1 if more may be waiting. */
static int32_t accept_some(struct worker *worker, int listener)
{
    int on = 1;
    for (uint32_t i = 0; i < MOST_ACCEPTS; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int fd = cvm_accept(listener, (struct sockaddr *)&address, &size);
        if (fd >= 0) {
            worker->is_starved = 0;
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            cvm_connection_accept(worker, fd, &address);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            wait_for_descriptors(worker);
            return 0;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

static void listener_ready(void *argument, uint32_t events)
{
    struct worker *worker = argument;
    (void)events;
    for (uint32_t i = 0; i < worker->server->listener.fd_count; i++)
        (void)accept_some(worker, worker->server->listener.fds[i]);
}

/* Those that wait, and no more than can wait at a time: others may keep coming. */
static void accept_last(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->server->listener.fd_count; i++)
        for (uint32_t taken = 0; taken <= CVM_BACKLOG; taken += MOST_ACCEPTS)
            if (!accept_some(worker, worker->server->listener.fds[i]))
                break;
}

/* --- Ending ----------------------------------------------------------------------------------- */

/* On the instance's loop: a worker's thread is over. */
static void ended(struct cvm_mail *mail)
{
    struct worker *worker = CVM_CONTAINER(mail, struct worker, ended);
    struct server *server = worker->server;
    (void)pthread_join(worker->thread, NULL);
    if (--server->running == 0)
        server->drained(server->drained_argument);
}

static void loop_closed(void *argument)
{
    (void)argument;
}

static void stop_accepting(struct worker *worker)
{
    for (uint32_t i = 0; i < CVM_MOST_ADDRESSES; i++) {
        cvm_watch_free(worker->watches[i]);
        worker->watches[i] = NULL;
    }
    cvm_timer_free(worker->backoff);
    worker->backoff = NULL;
}

void cvm_worker_left(struct worker *worker)
{
    if (!worker->is_draining || worker->connections || worker->exchanges || worker->evictions ||
        worker->is_closing)
        return;
    worker->is_closing = 1;
    cvm_loop_close(worker->loop, loop_closed, worker);
}

static void drain(struct cvm_mail *mail)
{
    struct worker *worker = CVM_CONTAINER(mail, struct worker, drain);
    accept_last(worker); /* they may have sent a request */
    stop_accepting(worker);
    for (uint32_t i = 0; i < worker->server->listener.fd_count; i++)
        (void)shutdown(
            worker->server->listener.fds[i], SHUT_RD); /* who comes now is refused at once */
    worker->is_draining = 1;
    for (struct connection *connection = worker->connections, *next; connection;
         connection = next) {
        next = cvm_connection_next(connection);
        cvm_connection_drain(connection);
    }
    cvm_worker_left(worker);
}

void cvm_worker_drain(struct worker *worker)
{
    worker->drain.open = drain;
    cvm_loop_post(worker->loop, &worker->drain);
}

/* --- Starting --------------------------------------------------------------------------------- */

static void *run(void *argument)
{
    struct worker *worker = argument;
    cvm_loop_run(worker->loop);
    worker->ended.open = ended;
    cvm_loop_post(cvm_loop_of(worker->server->listener.cvm), &worker->ended);
    return NULL;
}

int32_t cvm_worker_start(struct worker *worker, struct server *server)
{
    worker->server = server;
    worker->loop = cvm_loop_new(NULL);
    if (!worker->loop)
        return -1;
    worker->backoff = cvm_timer_new(worker->loop, accept_again, worker);
    int32_t failed = !worker->backoff;
    for (uint32_t i = 0; i < server->listener.fd_count && !failed; i++) {
        worker->watches[i] =
            cvm_watch_new(worker->loop, server->listener.fds[i], listener_ready, worker);
        failed = !worker->watches[i];
    }
    if (!failed) {
        watch_all(worker, CVM_READABLE);
        failed = cvm_thread_start(&worker->thread, run, worker);
    }
    if (failed) {
        stop_accepting(worker);
        worker->is_closing = 1;
        cvm_loop_close(worker->loop, loop_closed, worker);
        cvm_loop_run(worker->loop);
    }
    return failed ? -1 : 0;
}
