/* What a worker does with the sockets that it listens on: it accepts connections. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <unistd.h>

#include "base/compat.h"
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

/* --- Starting and draining -------------------------------------------------------------------- */

static void stop_accepting(struct worker *worker)
{
    for (uint32_t i = 0; i < CVM_MOST_ADDRESSES; i++) {
        cvm_watch_free(worker->watches[i]);
        worker->watches[i] = NULL;
    }
    cvm_timer_free(worker->backoff);
    worker->backoff = NULL;
}

static void worker_drain(struct cvm_worker *base)
{
    struct worker *worker = CVM_CONTAINER(base, struct worker, base);
    accept_last(worker); /* they may have sent a request */
    stop_accepting(worker);
    for (uint32_t i = 0; i < worker->server->listener.fd_count; i++)
        (void)shutdown(
            worker->server->listener.fds[i], SHUT_RD); /* who comes now is refused at once */
    for (struct connection *connection = worker->connections, *next; connection;
         connection = next) {
        next = cvm_connection_next(connection);
        cvm_connection_drain(connection);
    }
}

/* 0, or -1 without memory. */
static int32_t begin_accepting(struct worker *worker)
{
    const struct cvm_listener *listener = &worker->server->listener;
    worker->backoff = cvm_timer_new(worker->base.loop, accept_again, worker);
    if (!worker->backoff)
        return -1;
    for (uint32_t i = 0; i < listener->fd_count; i++) {
        worker->watches[i] =
            cvm_watch_new(worker->base.loop, listener->fds[i], listener_ready, worker);
        if (!worker->watches[i])
            return -1;
    }
    watch_all(worker, CVM_READABLE);
    return 0;
}

int32_t cvm_http_worker_start(struct worker *worker, struct server *server)
{
    worker->server = server;
    if (cvm_worker_init(&worker->base, &server->running, worker_drain))
        return -1;
    if (begin_accepting(worker) || cvm_worker_start(&worker->base)) {
        stop_accepting(worker);
        cvm_worker_cancel(&worker->base);
        return -1;
    }
    return 0;
}
