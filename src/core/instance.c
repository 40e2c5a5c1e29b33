/* The life of an instance: new, started, stopping, stopped. */
#include "instance.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit.h"
#include "backend/handles.h"
#include "base/at_exit.h"
#include "base/crypto.h"
#include "call.h"
#include "copy/copy.h"
#include "entry.h"
#include "health.h"
#include "instance/documents.h"
#include "reconcile.h"
#include "thing.h"

enum { DELIVER_THREAD, DELIVER_LOOP }; /* as log.deliver's choices */

#define MOST_KEYS_WAITING 32    /* 0.2 s of CPU each: no request waits in vain */
#define STOP_GRACE_MS     5000  /* beyond request.deadline */
#define STOP_TOLD_MS      10000 /* how often a stop says that it waits still */

#define TEXT_OF(number)  TEXT_OF_(number)
#define TEXT_OF_(number) #number
#define VERSION                                                                                    \
    TEXT_OF(CVM_VERSION_MAJOR) "." TEXT_OF(CVM_VERSION_MINOR) "." TEXT_OF(CVM_VERSION_PATCH)

const char *cvm_version(void)
{
    return VERSION;
}

int32_t cvm_version_number(void)
{
    return CVM_VERSION_NUMBER;
}

static int32_t instance_stop(cvm_t *cvm, cvm_done_cb callback, void *user_data);

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
    cvm_documents_free(cvm->documents);
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

/* No plugin has such a property. */
static void tell_unknown_variables(cvm_t *cvm)
{
    const char *name;
    for (uint32_t i = 0; (name = cvm_conf_unknown_variable(cvm->conf, i)); i++)
        cvm_log_message(
            cvm->log, LOG_WARNING, "the variable CVM_%s names no property; it is ignored", name);
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

static void deliver_logs_on(cvm_t *cvm, struct cvm_loop *loop)
{
    cvm_log_deliver_on(cvm->log, loop, cvm->metrics);
    cvm_log_deliver_on(cvm->audit, loop, cvm->metrics);
}

static cvm_error_t *make_parts(cvm_t *cvm, struct uv_loop_s *loop)
{
    cvm->loop = cvm_loop_new(loop);
    cvm->metrics = cvm_metrics_new();
    cvm->limiter = cvm_limiter_new(cvm_conf_own_number(cvm->conf, "limit.failures_per_address"));
    cvm->reconciler = cvm_reconciler_new(cvm);
    cvm->health = cvm_health_new(cvm);
    cvm->documents = cvm_documents_new();
    cvm->threads = cvm->loop ? cvm_threads_new(cvm->loop, UINT32_MAX) : NULL;
    cvm->key_makers = cvm->loop ? cvm_threads_new(cvm->loop, MOST_KEYS_WAITING) : NULL;
    if (!cvm->loop || !cvm->metrics || !cvm->limiter || !cvm->reconciler || !cvm->health ||
        !cvm->documents || !cvm->threads || !cvm->key_makers || make_throttles(cvm))
        return cvm_error_out_of_memory();
    if (cvm_conf_own_number(cvm->conf, "log.deliver") == DELIVER_LOOP)
        deliver_logs_on(cvm, cvm->loop);
    const char *version = VERSION;
    cvm_metrics_set(cvm->metrics, METRIC_BUILD_INFO, &version, 1);
    cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, 0);
    cvm_error_t *error = cvm_host_create_backends(cvm);
    return error ? error : cvm_thing_check_format(cvm);
}

/* The thread that ran it is done with it: whoever frees it from now on does so himself. */
static void instance_end(cvm_t *cvm)
{
    (void)pthread_mutex_lock(&cvm->post_lock);
    cvm->has_ended = 1;
    int32_t must_free = cvm->is_freed;
    atomic_store(&cvm->thread, NULL);
    (void)pthread_mutex_unlock(&cvm->post_lock);
    if (must_free)
        instance_free(cvm);
}

static void loop_closed(void *argument)
{
    cvm_t *cvm = argument;
    struct cvm_waiter stopped = cvm->stopped;
    cvm->is_closed = 1;
    if (stopped.callback)
        CVM_CALL_OUT(stopped.callback(stopped.user_data, NULL)); /* which may free the instance */
    if (!cvm->has_own_loop)
        instance_end(cvm);
}

/* Runs what an own loop has left to do, to its end. */
static void run_to_end(cvm_t *cvm)
{
    cvm_bind_thread(cvm);
    cvm_loop_run(cvm->loop);
    instance_end(cvm);
}

static cvm_error_t *instance_new(const cvm_conf_t *conf, struct uv_loop_s *loop, cvm_t **result)
{
    *result = NULL;
    cvm_t *cvm = cvm_crypto_init() || cvm_at_exit_init() ? NULL : calloc(1, sizeof *cvm);
    if (!cvm)
        return cvm_error_out_of_memory();
    (void)pthread_mutex_init(&cvm->post_lock, NULL); /* can't fail with default attributes */
    cvm->process = getpid();
    cvm->has_own_loop = !loop;
    cvm->conf = cvm_conf_copy(conf);
    cvm_error_t *error = cvm->conf ? cvm_conf_settle(cvm->conf) : cvm_error_out_of_memory();
    if (!error)
        error = open_logs(cvm);
    if (!error) {
        tell_unknown_variables(cvm);
        error = make_parts(cvm, loop);
    }
    if (error) {
        cvm_free(cvm);
        return error;
    }
    *result = cvm;
    return NULL;
}

static void bind_by_mail(struct cvm_mail *mail)
{
    cvm_bind_thread(CVM_CONTAINER(mail, cvm_t, binding));
}

/* Whoever runs the caller's loop is known when it has its first turn. */
cvm_error_t *cvm_new_on_uv(const cvm_conf_t *conf, struct uv_loop_s *loop, cvm_t **cvm)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf && loop && cvm);
    if (!error)
        error = instance_new(conf, loop, cvm);
    if (!error && *cvm) {
        (*cvm)->binding.open = bind_by_mail;
        cvm_loop_post((*cvm)->loop, &(*cvm)->binding);
    }
    return error;
}

cvm_error_t *cvm_new(const cvm_conf_t *conf, cvm_t **cvm)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf && cvm);
    return error ? error : instance_new(conf, NULL, cvm);
}

/* In a child of fork(): whatever threads of the parent's may have been working with stays as it is,
 * and so do descriptors and locks, which are the parent's too. */
static void instance_forget(cvm_t *cvm)
{
    cvm_conf_free(cvm->conf);
    free(cvm);
}

static void free_by_mail(struct cvm_mail *mail)
{
    (void)instance_stop(CVM_CONTAINER(mail, cvm_t, freeing), NULL, NULL);
}

/* From another thread than the one that runs it: that one has to. 1 if it is so. */
static int32_t free_elsewhere(cvm_t *cvm)
{
    (void)pthread_mutex_lock(&cvm->post_lock);
    int32_t is_elsewhere = !cvm->has_ended && cvm_is_elsewhere(cvm);
    if (is_elsewhere) {
        cvm->is_freed = 1;
        cvm->freeing.open = free_by_mail;
        if (!cvm->is_shut)
            cvm_loop_post(cvm->loop, &cvm->freeing);
    }
    (void)pthread_mutex_unlock(&cvm->post_lock);
    return is_elsewhere;
}

static void free_here(cvm_t *cvm)
{
    if (!cvm->loop || cvm->has_ended) {
        instance_free(cvm);
        return;
    }
    int32_t is_in_event = cvm_loop_is_in_event(cvm->loop);
    (void)pthread_mutex_lock(&cvm->post_lock);
    cvm->is_freed = 1;
    (void)pthread_mutex_unlock(&cvm->post_lock);
    (void)instance_stop(cvm, NULL, NULL);  /* it may be stopping already */
    if (cvm->has_own_loop && !is_in_event) /* else whoever runs it ends it */
        run_to_end(cvm);
}

void cvm_free(cvm_t *cvm)
{
    if (!cvm)
        return;
    if (cvm->process != getpid())
        instance_forget(cvm);
    else if (!free_elsewhere(cvm))
        free_here(cvm);
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
    cvm_settle_tell(cvm);
    deliver_logs_on(cvm, NULL); /* what was sent before is opened in this turn still */
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
    cvm_handles_clear(
        op->side == SIDE_STORE ? &op->cvm->store_context : &op->cvm->platform_context);
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
static void cut_short(cvm_t *cvm)
{
    cvm->is_cut = 1;
    cvm_log_message(cvm->log, LOG_WARNING,
        "%u operations did not end in time: closing the platform and the store", cvm->running);
    (void)close_platform(cvm);
    (void)close_store(cvm);
}

/* What works with its memory can't be left behind: a stop takes as long as the backends do. */
static void stop_takes_long(void *argument)
{
    cvm_t *cvm = argument;
    cvm_timer_start(cvm->stop_timer, STOP_TOLD_MS);
    if (cvm->is_cut)
        cvm_log_message(cvm->log, LOG_WARNING,
            "stopping: waiting for the platform and the store still, %u operations run",
            cvm->running);
    else
        cut_short(cvm);
}

void cvm_release(cvm_t *cvm)
{
    if (--cvm->running)
        return;
    cvm_settle_soon(cvm);
    if (cvm->state == STATE_STOPPING)
        close_next(cvm);
}

/* --- Start ------------------------------------------------------------------------------------ */

static void tell_started(cvm_t *cvm, cvm_error_t *error)
{
    char text[160];
    (void)snprintf(text, sizeof text, "started: cvm %s, store %s, platform %s", VERSION,
        cvm->store_context.kind, cvm->platform_context.kind);
    if (cvm->state == STATE_STARTING && !error) {
        cvm->is_told = (cvm->how & CVM_OPEN_RECONCILE) != 0;
        log_life(cvm, text);
    }
    if (cvm->state == STATE_STARTING)
        cvm->state = error ? STATE_NEW : STATE_READY;
    else if (!error)
        error = cvm_error_new(REASON_unavailable, "the instance stops");
    CVM_CALL_OUT(cvm->started.callback(cvm->started.user_data, error));
    cvm_error_free(error);
}

cvm_error_t *cvm_open_error(const cvm_op_t *op)
{
    if (op->answer == CVM_ANSWER_OK)
        return NULL;
    const char *property = op->side == SIDE_STORE ? "store" : "platform";
    enum cvm_reason reason = cvm_op_reason(op);
    if (op->answer == CVM_ANSWER_INVALID)
        reason = REASON_configuration;
    else if (op->answer == CVM_ANSWER_CONFLICT)
        reason = REASON_in_use;
    return cvm_error_about(cvm_error_new(reason, "%s: %s", property, op->text), property);
}

static void start_next(cvm_t *cvm);

static void opened(cvm_op_t *op)
{
    cvm_t *cvm = op->cvm;
    if (op->answer != CVM_ANSWER_OK) {
        tell_started(cvm, cvm_open_error(op));
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
    cvm->store.open(cvm->store_context.self, &cvm->opening, cvm->how);
}

static void open_platform(cvm_t *cvm)
{
    if (cvm->platform_context.is_open) {
        start_next(cvm);
        return;
    }
    cvm_op_start(&cvm->opening, cvm, SIDE_PLATFORM, "open", opened);
    cvm->platform.open(cvm->platform_context.self, &cvm->opening, cvm->how);
}

static void got_mark(cvm_op_t *op)
{
    cvm_clock_take_mark(op->cvm, op);
    if (op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_NOT_FOUND)
        start_next(op->cvm);
    else
        tell_started(op->cvm, cvm_open_error(op));
}

static void got_clock(cvm_op_t *op)
{
    cvm_store_clock_take(op->cvm, op);
    start_next(op->cvm);
}

/* Without its answer the machine's own holds until the next try. */
static void ask_clock(cvm_t *cvm)
{
    if (cvm->store.now && !cvm_store_clock_is_known(cvm))
        cvm_store_now(cvm, &cvm->opening, got_clock);
    else
        start_next(cvm);
}

/* What is half in there is not to be worked with: it would be overwritten, or what it lacks
 * refused. */
static void got_copy_mark(cvm_op_t *op)
{
    if (op->cvm->store.now)
        cvm_store_clock_take(op->cvm, op); /* if it says that too */
    if (op->answer == CVM_ANSWER_NOT_FOUND)
        start_next(op->cvm);
    else if (op->answer == CVM_ANSWER_OK)
        tell_started(op->cvm, cvm_error_configuration("store",
                                  "store: a copy into it, begun %.40s, is not complete: finish it "
                                  "by `cvm store copy --finish`",
                                  op->outs[CVM_OUT_VALUE]));
    else
        tell_started(op->cvm, cvm_open_error(op));
}

static void look_for_copy(cvm_t *cvm)
{
    cvm_store_meta_get(cvm, &cvm->opening, COPY_MARK, got_copy_mark);
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

/* Nobody asks a command whether it is ready. */
static void look_for_devices(cvm_t *cvm)
{
    if (!cvm->how)
        start_next(cvm);
    else
        cvm_store_scan(cvm, &cvm->opening, CVM_SCAN_DEVICES, "", 0, 1, looked_for_devices);
}

static void begin_to_reconcile(cvm_t *cvm)
{
    if (cvm->how & CVM_OPEN_RECONCILE && (cvm_reconcile_start(cvm) || cvm_store_clock_start(cvm)))
        tell_started(cvm, cvm_error_out_of_memory());
    else
        start_next(cvm);
}

/* The store first: the platform works with it, and with a clock that the mark judges. */
static void (*const STARTS[])(cvm_t *cvm) = {open_store, look_for_copy, ask_clock, read_mark,
    look_for_devices, open_platform, begin_to_reconcile};
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

static cvm_error_t *start(cvm_t *cvm, uint32_t how, cvm_done_cb callback, void *user_data)
{
    if (cvm->state != STATE_NEW)
        return cvm_error_new(REASON_conflict, "the instance was %s already",
            cvm->state < STATE_STOPPING ? "started" : "stopped");
    cvm->state = STATE_STARTING;
    cvm->how = how;
    cvm->started = (struct cvm_waiter){callback, user_data};
    cvm->starting.open = start_first;
    cvm->start_step = 0;
    cvm_hold(cvm);
    cvm_loop_post(cvm->loop, &cvm->starting);
    return NULL;
}

cvm_error_t *cvm_start(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    return error ? error : start(cvm, CVM_OPEN_SERVER, callback, user_data);
}

cvm_error_t *cvm_start_command(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    return error ? error : start(cvm, 0, callback, user_data);
}

int32_t cvm_is_started(const cvm_t *cvm)
{
    return cvm->state == STATE_READY;
}

int32_t cvm_is_ready(const cvm_t *cvm)
{
    return cvm_may_enter(cvm) && cvm_is_started(cvm);
}

/* --- Stop ------------------------------------------------------------------------------------- */

static int32_t instance_stop(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    if (cvm->state >= STATE_STOPPING)
        return -1;
    cvm->stopped = (struct cvm_waiter){callback, user_data};
    char text[80];
    (void)snprintf(text, sizeof text,
        "stopping: %u registrations are in flight, and no more are taken", cvm->registration_count);
    log_life(cvm, text);
    cvm->state = STATE_STOPPING;
    cvm_hold(cvm);
    cvm_reconcile_stop(cvm);
    cvm_store_clock_stop(cvm);
    cvm->stop_timer = cvm_timer_new(cvm->loop, stop_takes_long, cvm);
    if (cvm->stop_timer) /* else it waits for as long as it takes */
        cvm_timer_start(cvm->stop_timer,
            (uint64_t)cvm_conf_own_number(cvm->conf, "request.deadline") + STOP_GRACE_MS);
    cvm_listeners_drain(cvm);
    cvm_release(cvm);
    return 0;
}

cvm_error_t *cvm_stop(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, 1);
    if (!error && instance_stop(cvm, callback, user_data))
        error = cvm_error_new(REASON_conflict, "the instance was stopped already");
    return error;
}

/* --- Loop and threads ------------------------------------------------------------------------- */

/* NULL if the instance's own loop may be run now. */
static cvm_error_t *run_entry(const cvm_t *cvm, const char *function)
{
    cvm_error_t *error = cvm_entry(cvm, function, 1);
    if (!error && !cvm->has_own_loop)
        error = cvm_error_new(REASON_conflict, "%s: the loop is the caller's", function);
    if (!error && !cvm->has_ended && cvm_loop_is_in_event(cvm->loop))
        error = cvm_error_new(
            REASON_conflict, "%s: the loop runs already, and this is a callback", function);
    return error;
}

cvm_error_t *cvm_run(cvm_t *cvm)
{
    cvm_error_t *error = run_entry(cvm, __func__);
    if (!error && !cvm->has_ended)
        run_to_end(cvm);
    return error;
}

cvm_error_t *cvm_process(cvm_t *cvm)
{
    cvm_error_t *error = run_entry(cvm, __func__);
    if (error || cvm->has_ended)
        return error;
    cvm_bind_thread(cvm);
    cvm_loop_process(cvm->loop);
    (void)pthread_mutex_lock(&cvm->post_lock);
    int32_t is_freed = cvm->is_freed;
    (void)pthread_mutex_unlock(&cvm->post_lock);
    if (cvm->is_closed)
        instance_end(cvm);
    else if (is_freed)
        run_to_end(cvm);
    return NULL;
}

int32_t cvm_fd(const cvm_t *cvm)
{
    return cvm_may_enter(cvm) && cvm->has_own_loop && !cvm->is_closed ? cvm_loop_fd(cvm->loop) : -1;
}

int32_t cvm_timeout_ms(cvm_t *cvm)
{
    if (!cvm_may_enter(cvm) || !cvm->has_own_loop)
        return -2;
    return cvm->is_closed ? -1 : cvm_loop_timeout_ms(cvm->loop);
}

struct posted {
    struct cvm_mail mail;
    void (*function)(void *argument);
    void *argument;
    int32_t is_own;
};

static void run_posted(struct cvm_mail *mail)
{
    struct posted posted = *CVM_CONTAINER(mail, struct posted, mail);
    free(CVM_CONTAINER(mail, struct posted, mail));
    if (posted.is_own)
        posted.function(posted.argument);
    else
        CVM_CALL_OUT(posted.function(posted.argument));
}

int32_t cvm_instance_post(
    cvm_t *cvm, void (*function)(void *argument), void *argument, int32_t is_own)
{
    struct posted *posted = malloc(sizeof *posted);
    if (!posted)
        return -1;
    *posted = (struct posted){{NULL, run_posted}, function, argument, is_own};
    (void)pthread_mutex_lock(&cvm->post_lock);
    int32_t is_shut = cvm->is_shut;
    if (!is_shut)
        cvm_loop_post(cvm->loop, &posted->mail);
    (void)pthread_mutex_unlock(&cvm->post_lock);
    if (is_shut)
        free(posted);
    return is_shut;
}

cvm_error_t *cvm_post(cvm_t *cvm, cvm_post_cb function, void *argument)
{
    cvm_error_t *error = cvm_entry_of_any_thread(cvm, __func__, function != NULL);
    if (error)
        return error;
    int32_t failed = cvm_instance_post(cvm, function, argument, 0);
    if (failed < 0)
        return cvm_error_out_of_memory();
    return failed ? cvm_error_new(REASON_conflict, "the instance has stopped") : NULL;
}
