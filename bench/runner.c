/* Starts requests on free connections, follows their events, and counts what becomes of them. */
#include "runner.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S        UINT64_C(1000000000)
#define EVENTS_AT_ONCE  64
#define LONGEST_WAIT_MS 100
/* What servers do after the last answer, such as closing, belongs to the requests too. */
#define SETTLE_NS (NS_PER_S / 20)
#define HOLD_NS   (2 * NS_PER_S)
#define HTTP_OK   200

static volatile sig_atomic_t stopped;

void runner_stop(void)
{
    stopped = 1;
}

/* Requests. */

static int write_body(const struct runner *runner, uint64_t number, char *body, size_t size)
{
    const char *csr = csr_pool_get(runner->csrs, number);
    struct device device;

    devices_get(runner->devices, runner->options->first + number, &device);
    return snprintf(body, size, "{\"device_uid\": \"%s\", \"device_token\": \"%s\"%s%s%s}",
        device.uid, device.token, csr ? ", \"csr\": \"" : "", csr ? csr : "", csr ? "\"" : "");
}

static void write_request(const struct runner *runner, uint64_t number, struct connection *to)
{
    const struct target *target = &runner->target;
    const char *connection = runner->options->kept ? "" : "Connection: close\r\n";
    char body[REQUEST_MAX / 2];
    int length = 0;

    if (runner->options->get) {
        length = snprintf(to->request, REQUEST_MAX, "GET %s HTTP/1.1\r\nHost: %s:%s\r\n%s\r\n",
            target->path, target->host, target->port, connection);
    } else {
        int body_length = write_body(runner, number, body, sizeof body);

        length = snprintf(to->request, REQUEST_MAX,
            "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
            "Content-Length: %d\r\n%s\r\n%s",
            target->path, target->host, target->port, body_length, connection, body);
    }
    to->request_length = (size_t)length;
}

/* What becomes of them. */

static void count_answer(struct runner *runner, const struct connection *connection)
{
    struct results *results = runner->results;
    int status = connection->answer.status;

    if (status == HTTP_OK && !runner->options->get && !answer_is_success(&connection->answer)) {
        results->failures[FAILURE_BAD_ANSWER]++;
        return;
    }
    results->by_status[status]++;
    if (status == HTTP_OK)
        results_add_ok(results, now_ns() - connection->started_ns);
}

static void release(struct runner *runner, struct connection *connection)
{
    connection->busy = false;
    runner->free[runner->free_count++] = connection;
}

static void fail(struct runner *runner, struct connection *connection, enum failure failure)
{
    runner->results->failures[failure]++;
    connection_close(connection);
    release(runner, connection);
}

static void follow(struct runner *runner, struct connection *connection, enum progress progress)
{
    switch (progress) {
    case PROGRESS_WAIT:
        return;
    case PROGRESS_DONE:
        count_answer(runner, connection);
        if (!runner->options->kept || connection->answer.closes)
            connection_close(connection);
        release(runner, connection);
        return;
    case PROGRESS_FAILED:
        fail(runner, connection, connection->failure);
        return;
    case PROGRESS_IDLE_CLOSED:
        connection_close(connection);
        return;
    }
}

/* When requests start. */

static uint64_t due_ns(const struct runner *runner, uint64_t now)
{
    uint64_t rate = runner->options->rate;

    return rate > 0 ? runner->begin_ns + runner->started * NS_PER_S / rate : now;
}

static bool may_start(const struct runner *runner, uint64_t now)
{
    return !stopped && (runner->limit == 0 || runner->started < runner->limit) &&
           (runner->end_ns == 0 || now < runner->end_ns);
}

static void start_one(struct runner *runner, uint64_t due)
{
    struct connection *connection = runner->free[--runner->free_count];

    connection->busy = true;
    connection->started_ns = due;
    write_request(runner, runner->used_devices++, connection);
    runner->started++;
    runner->results->requests++;
    if (connection->state == CONNECTION_IDLE) {
        follow(runner, connection, connection_send(connection));
    } else {
        runner->results->connections++;
        follow(runner, connection, connection_open(connection, &runner->target, runner->epoll));
    }
}

static void start_due(struct runner *runner)
{
    uint64_t now = now_ns();

    while (runner->free_count > 0 && may_start(runner, now) && due_ns(runner, now) <= now) {
        start_one(runner, due_ns(runner, now));
        now = now_ns();
    }
}

/* The loop. */

/* epoll counts milliseconds, which is too coarse for a rate. */
static void arm_timer(const struct runner *runner)
{
    uint64_t due = due_ns(runner, 0);
    struct itimerspec time = {
        .it_value = {.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)},
    };

    if (runner->options->rate > 0 && runner->free_count > 0)
        (void)timerfd_settime(runner->timer, TFD_TIMER_ABSTIME, &time, NULL);
}

/* An event without a connection is the timer's: it is watched by edges, and start_due does what it
 * rings for. */
static void follow_events(struct runner *runner)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(runner->epoll, events, EVENTS_AT_ONCE, LONGEST_WAIT_MS);

    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;

        if (connection)
            follow(runner, connection, connection_advance(connection));
    }
}

static void sweep_timeouts(struct runner *runner)
{
    uint64_t now = now_ns();
    uint64_t timeout_ns = runner->options->timeout * NS_PER_S;

    if (now - runner->swept_ns < NS_PER_S)
        return;
    runner->swept_ns = now;
    for (uint64_t i = 0; i < runner->connection_count; i++) {
        struct connection *connection = &runner->connections[i];

        if (connection->busy && now - connection->started_ns > timeout_ns)
            fail(runner, connection, FAILURE_TIMEOUT);
    }
}

static uint64_t busy_count(const struct runner *runner)
{
    return runner->connection_count - runner->free_count;
}

/* Goes on with events, but starts nothing. */
static void settle(struct runner *runner, uint64_t duration_ns)
{
    uint64_t end = now_ns() + duration_ns;

    while (now_ns() < end && !stopped)
        follow_events(runner);
}

static void begin_phase(
    struct runner *runner, uint64_t limit, uint64_t seconds, struct results *results)
{
    runner->results = results;
    runner->started = 0;
    runner->limit = limit;
    runner->begin_ns = now_ns();
    runner->end_ns = seconds > 0 ? runner->begin_ns + seconds * NS_PER_S : 0;
    runner->swept_ns = runner->begin_ns;
}

void runner_run(struct runner *runner, uint64_t limit, uint64_t seconds, struct results *results)
{
    uint64_t cpu_before = own_cpu_ns();
    uint64_t tickets_before = runner->target.tickets;

    begin_phase(runner, limit, seconds, results);
    start_due(runner);
    while (busy_count(runner) > 0 || may_start(runner, now_ns())) {
        arm_timer(runner);
        follow_events(runner);
        sweep_timeouts(runner);
        start_due(runner);
    }
    results->elapsed_ns += now_ns() - runner->begin_ns;
    results->own_cpu_ns += own_cpu_ns() - cpu_before;
    settle(runner, SETTLE_NS);
    results->tickets += runner->target.tickets - tickets_before;
}

/* Holding. */

static bool read_servers(const struct runner *runner, struct usage *usage)
{
    return usage_read(usage, runner->options->server_pids, runner->options->server_pid_count);
}

static void close_all(struct runner *runner)
{
    for (uint64_t i = 0; i < runner->connection_count; i++)
        connection_close(&runner->connections[i]);
}

/* One after the other, so that no burst leaves memory behind that idle connections don't need. */
static void open_idle(struct runner *runner, struct connection *connection)
{
    uint64_t end = now_ns() + runner->options->timeout * NS_PER_S;

    connection->request_length = 0;
    if (connection_open(connection, &runner->target, runner->epoll) == PROGRESS_FAILED)
        connection_close(connection);
    while (connection->state != CONNECTION_IDLE && connection->state != CONNECTION_CLOSED) {
        struct epoll_event events[EVENTS_AT_ONCE];
        int count = epoll_wait(runner->epoll, events, EVENTS_AT_ONCE, LONGEST_WAIT_MS);

        for (int i = 0; i < count; i++) {
            struct connection *ready = events[i].data.ptr;

            if (ready && connection_advance(ready) >= PROGRESS_FAILED)
                connection_close(ready);
        }
        if (now_ns() > end || stopped)
            connection_close(connection);
    }
}

static uint64_t idle_count(const struct runner *runner)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < runner->connection_count; i++)
        count += runner->connections[i].state == CONNECTION_IDLE;
    return count;
}

bool runner_hold(struct runner *runner, struct hold_results *results)
{
    close_all(runner);
    settle(runner, SETTLE_NS);
    if (!read_servers(runner, &results->before))
        return false;
    for (uint64_t i = 0; i < runner->connection_count; i++)
        open_idle(runner, &runner->connections[i]);
    settle(runner, HOLD_NS);
    results->held = idle_count(runner);
    results->lost = runner->connection_count - results->held;
    return read_servers(runner, &results->after);
}

/* Set-up. */

static bool make_connections(struct runner *runner)
{
    uint64_t count = runner->options->hold > 0 ? runner->options->hold : runner->options->in_flight;

    runner->connections = calloc(count, sizeof *runner->connections);
    runner->free = calloc(count, sizeof(struct connection *));
    if (!runner->connections || !runner->free)
        return false;
    runner->connection_count = count;
    for (uint64_t i = 0; i < count; i++)
        release(runner, &runner->connections[i]);
    return true;
}

static bool make_timer(struct runner *runner)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

    runner->epoll = epoll_create1(EPOLL_CLOEXEC);
    runner->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return runner->epoll >= 0 && runner->timer >= 0 &&
           epoll_ctl(runner->epoll, EPOLL_CTL_ADD, runner->timer, &event) == 0;
}

bool runner_init(struct runner *runner, const struct options *options,
    const struct devices *devices, const struct csr_pool *csrs)
{
    *runner = (struct runner){
        .options = options, .devices = devices, .csrs = csrs, .epoll = -1, .timer = -1};
    if (!target_init(&runner->target, options))
        return false;
    if (!make_timer(runner) || !make_connections(runner)) {
        (void)fprintf(stderr, "cvm-load: can't begin: %s\n", strerror(errno));
        return false;
    }
    return true;
}

void runner_free(struct runner *runner)
{
    close_all(runner);
    free(runner->connections);
    free(runner->free);
    target_free(&runner->target);
    if (runner->timer >= 0)
        (void)close(runner->timer);
    if (runner->epoll >= 0)
        (void)close(runner->epoll);
}
