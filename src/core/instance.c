/* The life of an instance: new, started, stopping, stopped. */
#include "instance.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/crypto.h"
#include "call.h"
#include "health.h"
#include "reconcile.h"
#include "thing.h"
#include "version.h"

#define MOST_KEYS_WAITING 32   /* 0.2 s of CPU each: no request waits in vain */
#define STOP_GRACE_MS     5000 /* beyond request.deadline */

const char *cvm_version(void)
{
    return CVM_VERSION;
}

/* --- New and free ----------------------------------------------------------------------------- */

static void instance_free(cvm_t *cvm)
{
    cvm_op_clear(&cvm->opening);
    cvm_clock_clear(cvm);
    cvm_op_clear(&cvm->closings[SIDE_STORE]);
    cvm_op_clear(&cvm->closings[SIDE_PLATFORM]);
    if (cvm->platform_context.self)
        cvm->platform.destroy(cvm->platform_context.self);
    if (cvm->store_context.self)
        cvm->store.destroy(cvm->store_context.self);
    cvm_reconciler_free(cvm->reconciler);
    cvm_health_free(cvm->health);
    cvm_actor_clear(cvm);
    cvm_threads_free(cvm->threads);
    cvm_threads_free(cvm->key_makers);
    cvm_limiter_free(cvm->limiter);
    cvm_throttle_free(cvm->log_throttle);
    cvm_throttle_free(cvm->audit_throttle);
    cvm_metrics_free(cvm->metrics);
    cvm_log_close(cvm->audit);
    cvm_log_close(cvm->log);
    cvm_conf_free(cvm->conf);
    pthread_mutex_destroy(&cvm->post_lock);
    free(cvm);
}

static cvm_error_t *open_logs(cvm_t *cvm)
{
    cvm_error_t *error = NULL;
    const char *audit = cvm_conf_own(cvm->conf, "audit.file");
    cvm->log = cvm_log_open(cvm_conf_own(cvm->conf, "log.file"), cvm_conf_log(cvm->conf),
        (enum cvm_log_level)cvm_conf_own_number(cvm->conf, "log.level"),
        (enum cvm_log_format)cvm_conf_own_number(cvm->conf, "log.format"), &error);
    if (!error && (*audit || cvm_conf_audit(cvm->conf)->callback))
        cvm->audit = cvm_log_open(audit, cvm_conf_audit(cvm->conf), LOG_INFO, LOG_JSON, &error);
    return error;
}

/* 0, or -1 without memory. */
static int32_t make_throttles(cvm_t *cvm)
{
    int64_t per_address = cvm_conf_own_number(cvm->conf, "log.refusals_per_address");
    int64_t total = cvm_conf_own_number(cvm->conf, "log.refusals");
    cvm->log_throttle = cvm_throttle_new(cvm->loop, cvm->log, per_address, total);
    cvm->audit_throttle = cvm_throttle_new(cvm->loop, cvm->audit, per_address, total);
    return cvm->log_throttle && cvm->audit_throttle ? 0 : -1;
}

static cvm_error_t *make_parts(cvm_t *cvm, struct uv_loop_s *loop)
{
    cvm->loop = cvm_loop_new(loop);
    cvm->metrics = cvm_metrics_new();
    cvm->limiter = cvm_limiter_new(cvm_conf_own_number(cvm->conf, "limit.failures_per_address"));
    cvm->reconciler = cvm_reconciler_new(cvm);
    cvm->health = cvm_health_new(cvm);
    cvm->threads = cvm->loop ? cvm_threads_new(cvm->loop, UINT32_MAX) : NULL;
    cvm->key_makers = cvm->loop ? cvm_threads_new(cvm->loop, MOST_KEYS_WAITING) : NULL;
    if (!cvm->loop || !cvm->metrics || !cvm->limiter || !cvm->reconciler || !cvm->health ||
        !cvm->threads || !cvm->key_makers || make_throttles(cvm))
        return cvm_error_out_of_memory();
    const char *version = CVM_VERSION;
    cvm_metrics_set(cvm->metrics, METRIC_BUILD_INFO, &version, 1);
    cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, 0);
    cvm_error_t *error = cvm_host_create_backends(cvm);
    return error ? error : cvm_thing_check_format(cvm);
}

static void loop_closed(void *argument)
{
    cvm_t *cvm = argument;
    struct cvm_waiter stopped = cvm->stopped;
    int32_t must_free = cvm->is_freed && !cvm->has_own_loop;
    cvm->is_closed = 1;
    if (stopped.callback)
        stopped.callback(stopped.user_data, NULL); /* which may free the instance */
    if (must_free)
        instance_free(cvm);
}

cvm_error_t *cvm_new_on_uv(const cvm_conf_t *conf, struct uv_loop_s *loop, cvm_t **result)
{
    *result = NULL;
    cvm_t *cvm = cvm_crypto_init() ? NULL : calloc(1, sizeof *cvm);
    if (!cvm)
        return cvm_error_out_of_memory();
    (void)pthread_mutex_init(&cvm->post_lock, NULL); /* can't fail with default attributes */
    cvm->has_own_loop = !loop;
    cvm->conf = cvm_conf_copy(conf);
    cvm_error_t *error = cvm->conf ? open_logs(cvm) : cvm_error_out_of_memory();
    if (!error)
        error = make_parts(cvm, loop);
    if (error) {
        cvm_free(cvm);
        return error;
    }
    *result = cvm;
    return NULL;
}

cvm_error_t *cvm_new(const cvm_conf_t *conf, cvm_t **cvm)
{
    return cvm_new_on_uv(conf, NULL, cvm);
}

void cvm_free(cvm_t *cvm)
{
    if (!cvm)
        return;
    cvm->is_freed = 1;
    if (cvm->is_closed || !cvm->loop) {
        instance_free(cvm);
        return;
    }
    cvm_error_free(cvm_stop(cvm, NULL, NULL)); /* it may be stopping already */
    if (cvm->has_own_loop) {
        cvm_loop_run(cvm->loop);
        instance_free(cvm);
    }
}

/* What the log tells of a server that has started; a command says on its own what it does. */
static void log_life(cvm_t *cvm, const char *what)
{
    if (cvm->is_told)
        cvm_log_message(cvm->log, LOG_INFO, "%s", what);
}

/* --- What must end before it closes ----------------------------------------------------------- */

void cvm_hold(cvm_t *cvm)
{
    cvm->running++;
}

static void close_loop(struct cvm_mail *mail)
{
    cvm_t *cvm = CVM_CONTAINER(mail, cvm_t, closing);
    cvm_loop_close(cvm->loop, loop_closed, cvm);
}

/* By mail: what was posted before it is run first. */
static void close_loop_soon(cvm_t *cvm)
{
    cvm->state = STATE_STOPPED;
    (void)pthread_mutex_lock(&cvm->post_lock);
    cvm->is_shut = 1;
    (void)pthread_mutex_unlock(&cvm->post_lock);
    cvm->closing.open = close_loop;
    cvm_loop_post(cvm->loop, &cvm->closing);
}

/* The release that follows goes on. */
static void side_closed(cvm_op_t *op)
{
    (void)op;
}

/* Closes one side of the instance. Returns 1 if there was something to close. */
static int32_t close_side(cvm_t *cvm, enum cvm_side side, struct cvm_context_s *context,
    void (*close)(void *self, cvm_op_t *op))
{
    if (!context->self || context->is_closed)
        return 0;
    context->is_closed = 1;
    cvm_op_t *op = &cvm->closings[side]; /* the one that opens it may hang still */
    cvm_op_start(op, cvm, side, "close", side_closed);
    close(context->self, op);
    return 1;
}

static int32_t close_platform(cvm_t *cvm)
{
    return close_side(cvm, SIDE_PLATFORM, &cvm->platform_context, cvm->platform.close);
}

static int32_t close_store(cvm_t *cvm)
{
    return close_side(cvm, SIDE_STORE, &cvm->store_context, cvm->store.close);
}

/* Nothing runs any more. */
static void close_next(cvm_t *cvm)
{
    cvm_listeners_close(cvm);
    if (close_platform(cvm) || close_store(cvm)) /* the platform, then the store it works with */
        return;
    cvm_timer_free(cvm->stop_timer);
    cvm->stop_timer = NULL;
    log_life(cvm, "stopped");
    cvm_health_stop(cvm->health);
    cvm_throttle_stop(cvm->log_throttle);
    cvm_throttle_stop(cvm->audit_throttle);
    close_loop_soon(cvm);
}

/* A backend does not complete what it was asked: its close has to. Both are closed at once, since
 * the platform may wait for the store. */
static void cut_short(void *argument)
{
    cvm_t *cvm = argument;
    cvm_log_message(cvm->log, LOG_WARNING,
        "%u operations did not end in time: closing the platform and the store", cvm->running);
    (void)close_platform(cvm);
    (void)close_store(cvm);
}

void cvm_release(cvm_t *cvm)
{
    if (--cvm->running == 0 && cvm->state == STATE_STOPPING)
        close_next(cvm);
}

/* --- Start ------------------------------------------------------------------------------------ */

static void tell_started(cvm_t *cvm, cvm_error_t *error)
{
    char text[160];
    (void)snprintf(text, sizeof text, "started: cvm %s, store %s, platform %s", CVM_VERSION,
        cvm->store_context.kind, cvm->platform_context.kind);
    if (cvm->state == STATE_STARTING && !error) {
        cvm->is_told = cvm->role == CVM_ROLE_SERVER;
        log_life(cvm, text);
    }
    if (cvm->state == STATE_STARTING)
        cvm->state = error ? STATE_NEW : STATE_READY;
    else if (!error)
        error = cvm_error_new(REASON_unavailable, "the instance stops");
    cvm->started.callback(cvm->started.user_data, error);
    cvm_error_free(error);
}

/* A backend that did not open. */
static cvm_error_t *why_not_open(const cvm_op_t *op)
{
    return cvm_error_new(
        op->answer == CVM_ANSWER_INVALID ? REASON_configuration : cvm_op_reason(op), "%s: %s",
        op->side == SIDE_STORE ? "store" : "platform", op->text);
}

static void start_next(cvm_t *cvm);

static void opened(cvm_op_t *op)
{
    cvm_t *cvm = op->cvm;
    if (op->answer != CVM_ANSWER_OK) {
        tell_started(cvm, why_not_open(op));
        return;
    }
    (op->side == SIDE_STORE ? &cvm->store_context : &cvm->platform_context)->is_open = 1;
    start_next(cvm);
}

/* What an earlier start has opened stays open. */
static void open_store(cvm_t *cvm)
{
    if (cvm->store_context.is_open) {
        start_next(cvm);
        return;
    }
    cvm_op_start(&cvm->opening, cvm, SIDE_STORE, "open", opened);
    cvm->store.open(cvm->store_context.self, &cvm->opening, cvm->role);
}

static void open_platform(cvm_t *cvm)
{
    if (cvm->platform_context.is_open) {
        start_next(cvm);
        return;
    }
    cvm_op_start(&cvm->opening, cvm, SIDE_PLATFORM, "open", opened);
    cvm->platform.open(cvm->platform_context.self, &cvm->opening, cvm->role);
}

static void got_mark(cvm_op_t *op)
{
    cvm_clock_take_mark(op->cvm, op);
    if (op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_NOT_FOUND)
        start_next(op->cvm);
    else
        tell_started(op->cvm, why_not_open(op));
}

static void read_mark(cvm_t *cvm)
{
    cvm_store_meta_get(cvm, &cvm->opening, CVM_CLOCK_MARK, got_mark);
}

static void looked_for_devices(cvm_op_t *op)
{
    op->cvm->has_devices |= op->record_count > 0; /* if it can't be had, it is asked later */
    start_next(op->cvm);
}

static void look_for_devices(cvm_t *cvm)
{
    cvm_store_scan(cvm, &cvm->opening, CVM_SCAN_DEVICES, "", 0, 1, looked_for_devices);
}

static void begin_to_reconcile(cvm_t *cvm)
{
    if (cvm->role == CVM_ROLE_SERVER && cvm_reconcile_start(cvm))
        tell_started(cvm, cvm_error_out_of_memory());
    else
        start_next(cvm);
}

/* The store first: the platform works with it, and with a clock that the mark judges. */
static void (*const STARTS[])(cvm_t *cvm) = {
    open_store, read_mark, look_for_devices, open_platform, begin_to_reconcile};
#define START_COUNT (sizeof STARTS / sizeof STARTS[0])

static void start_next(cvm_t *cvm)
{
    if (cvm->state != STATE_STARTING || cvm->start_step == START_COUNT) {
        tell_started(cvm, NULL);
        (void)cvm_clock_doubt(cvm);
    } else {
        STARTS[cvm->start_step++](cvm);
    }
}

static void start_first(struct cvm_mail *mail)
{
    cvm_t *cvm = CVM_CONTAINER(mail, cvm_t, starting);
    start_next(cvm);
    cvm_release(cvm);
}

static cvm_error_t *start(cvm_t *cvm, cvm_role_t role, cvm_done_cb callback, void *user_data)
{
    if (cvm->state != STATE_NEW)
        return cvm_error_new(REASON_conflict, "the instance was started already");
    cvm->state = STATE_STARTING;
    cvm->role = role;
    cvm->started = (struct cvm_waiter){callback, user_data};
    cvm->starting.open = start_first;
    cvm->start_step = 0;
    cvm_hold(cvm);
    cvm_loop_post(cvm->loop, &cvm->starting);
    return NULL;
}

cvm_error_t *cvm_start(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    return start(cvm, CVM_ROLE_SERVER, callback, user_data);
}

cvm_error_t *cvm_start_command(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    return start(cvm, CVM_ROLE_COMMAND, callback, user_data);
}

int32_t cvm_is_ready(const cvm_t *cvm)
{
    return cvm->state == STATE_READY;
}

/* --- Stop ------------------------------------------------------------------------------------- */

cvm_error_t *cvm_stop(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    if (cvm->state >= STATE_STOPPING)
        return cvm_error_new(REASON_conflict, "the instance was stopped already");
    cvm->stopped = (struct cvm_waiter){callback, user_data};
    char text[80];
    (void)snprintf(text, sizeof text,
        "stopping: %u registrations are in flight, and no more are taken", cvm->registration_count);
    log_life(cvm, text);
    cvm->state = STATE_STOPPING;
    cvm_hold(cvm);
    cvm_reconcile_stop(cvm);
    cvm->stop_timer = cvm_timer_new(cvm->loop, cut_short, cvm);
    if (cvm->stop_timer) /* else it waits for as long as it takes */
        cvm_timer_start(cvm->stop_timer,
            (uint64_t)cvm_conf_own_number(cvm->conf, "request.deadline") + STOP_GRACE_MS);
    cvm_listeners_drain(cvm);
    cvm_host_flush_delays(cvm);
    cvm_release(cvm);
    return NULL;
}

/* --- Loop and threads ------------------------------------------------------------------------- */

cvm_error_t *cvm_run(cvm_t *cvm)
{
    if (!cvm->has_own_loop)
        return cvm_error_new(REASON_conflict, "the loop is the caller's");
    if (!cvm->is_closed)
        cvm_loop_run(cvm->loop);
    return NULL;
}

int32_t cvm_fd(const cvm_t *cvm)
{
    return cvm->is_closed ? -1 : cvm_loop_fd(cvm->loop);
}

int32_t cvm_timeout_ms(cvm_t *cvm)
{
    return cvm->is_closed ? -1 : cvm_loop_timeout_ms(cvm->loop);
}

void cvm_process(cvm_t *cvm)
{
    if (!cvm->is_closed)
        cvm_loop_process(cvm->loop);
}

struct posted {
    struct cvm_mail mail;
    void (*function)(void *argument);
    void *argument;
};

static void run_posted(struct cvm_mail *mail)
{
    struct posted *posted = CVM_CONTAINER(mail, struct posted, mail);
    posted->function(posted->argument);
    free(posted);
}

cvm_error_t *cvm_post(cvm_t *cvm, void (*function)(void *argument), void *argument)
{
    struct posted *posted = malloc(sizeof *posted);
    if (!posted)
        return cvm_error_out_of_memory();
    *posted = (struct posted){{NULL, run_posted}, function, argument};
    (void)pthread_mutex_lock(&cvm->post_lock);
    int32_t is_shut = cvm->is_shut;
    if (!is_shut)
        cvm_loop_post(cvm->loop, &posted->mail);
    (void)pthread_mutex_unlock(&cvm->post_lock);
    if (!is_shut)
        return NULL;
    free(posted);
    return cvm_error_new(REASON_conflict, "the instance has stopped");
}
