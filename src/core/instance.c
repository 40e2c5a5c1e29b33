/* The life of an instance: new, started, stopping, stopped. */
#include "instance.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"
#include "call.h"
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
    cvm_op_clear(&cvm->life);
    if (cvm->platform_context.self)
        cvm->platform.destroy(cvm->platform_context.self);
    if (cvm->store_context.self)
        cvm->store.destroy(cvm->store_context.self);
    cvm_reconciler_free(cvm->reconciler);
    cvm_threads_free(cvm->threads);
    cvm_threads_free(cvm->key_makers);
    cvm_limiter_free(cvm->limiter);
    cvm_metrics_free(cvm->metrics);
    cvm_log_close(cvm->audit);
    cvm_log_close(cvm->log);
    cvm_conf_free(cvm->conf);
    cvm_error_free(cvm->failure);
    pthread_mutex_destroy(&cvm->post_lock);
    free(cvm);
}

static cvm_error_t *open_logs(cvm_t *cvm)
{
    cvm_error_t *error = NULL;
    const char *audit = cvm_conf_get(cvm->conf, "audit.file");
    cvm->log = cvm_log_open(cvm_conf_get(cvm->conf, "log.file"), cvm_conf_log(cvm->conf),
        (enum cvm_log_level)cvm_conf_number(cvm->conf, "log.level"),
        (enum cvm_log_format)cvm_conf_number(cvm->conf, "log.format"), &error);
    if (!error && (*audit || cvm_conf_audit(cvm->conf)->callback))
        cvm->audit = cvm_log_open(audit, cvm_conf_audit(cvm->conf), LOG_INFO, LOG_JSON, &error);
    return error;
}

static cvm_error_t *make_parts(cvm_t *cvm, struct uv_loop_s *loop)
{
    cvm->loop = cvm_loop_new(loop);
    cvm->metrics = cvm_metrics_new();
    cvm->limiter = cvm_limiter_new(cvm_conf_number(cvm->conf, "limit.failures_per_address"));
    cvm->reconciler = cvm_reconciler_new(cvm);
    cvm->threads = cvm->loop ? cvm_threads_new(cvm->loop, UINT32_MAX) : NULL;
    cvm->key_makers = cvm->loop ? cvm_threads_new(cvm->loop, MOST_KEYS_WAITING) : NULL;
    if (!cvm->loop || !cvm->metrics || !cvm->limiter || !cvm->reconciler || !cvm->threads ||
        !cvm->key_makers)
        return cvm_error_out_of_memory();
    const char *version = CVM_VERSION;
    cvm_metrics_set(cvm->metrics, METRIC_BUILD_INFO, &version, 1);
    cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, 0);
    cvm_error_t *error = cvm_thing_check_format(cvm_conf_get(cvm->conf, "thing.name_format"));
    return error ? error : cvm_host_create_backends(cvm);
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
    cvm_t *cvm = calloc(1, sizeof *cvm);
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
    cvm_stop(cvm, NULL, NULL);
    if (cvm->has_own_loop) {
        cvm_loop_run(cvm->loop);
        instance_free(cvm);
    }
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

static int32_t close_next_backend(cvm_t *cvm);

/* The release that follows goes on, unless others run still. */
static void side_closed(cvm_op_t *op)
{
    if (op->cvm->is_cut_short)
        (void)close_next_backend(op->cvm);
}

/* Closes one side of the instance. Returns 1 if there was something to close. */
static int32_t close_side(cvm_t *cvm, enum cvm_side side, struct cvm_context_s *context,
    void (*close)(void *self, cvm_op_t *op))
{
    if (!context->self || context->is_closed)
        return 0;
    context->is_closed = 1;
    cvm_op_start(&cvm->life, cvm, side, "close", side_closed);
    close(context->self, &cvm->life);
    return 1;
}

/* The platform, then the store it works with. Returns 1 if there was one to close. */
static int32_t close_next_backend(cvm_t *cvm)
{
    return close_side(cvm, SIDE_PLATFORM, &cvm->platform_context, cvm->platform.close) ||
           close_side(cvm, SIDE_STORE, &cvm->store_context, cvm->store.close);
}

static void close_transports(cvm_t *cvm)
{
    while (cvm->transport_count) {
        struct cvm_transport *transport = cvm->transports[--cvm->transport_count];
        transport->ops->close(transport);
    }
}

/* Nothing runs any more. */
static void close_next(cvm_t *cvm)
{
    close_transports(cvm);
    if (close_next_backend(cvm))
        return;
    cvm_timer_free(cvm->patience);
    cvm->patience = NULL;
    close_loop_soon(cvm);
}

/* A backend does not complete what it was asked: its close has to. */
static void cut_short(void *argument)
{
    cvm_t *cvm = argument;
    cvm_log_message(cvm->log, LOG_WARNING,
        "%u operations did not end in time: closing the platform and the store", cvm->running);
    cvm->is_cut_short = 1;
    (void)close_next_backend(cvm);
}

void cvm_release(cvm_t *cvm)
{
    if (--cvm->running == 0 && cvm->state == STATE_STOPPING)
        close_next(cvm);
}

/* --- Start ------------------------------------------------------------------------------------ */

static void started(cvm_t *cvm, const cvm_op_t *op)
{
    cvm_error_t *error = NULL;
    if (op->answer != CVM_ANSWER_OK)
        error = cvm_error_new(
            op->answer == CVM_ANSWER_INVALID ? REASON_configuration : cvm_op_reason(op), "%s: %s",
            op->side == SIDE_STORE ? "store" : "platform", op->text);
    if (cvm->state == STATE_STARTING)
        cvm->state = error ? STATE_NEW : STATE_READY;
    if (cvm->state == STATE_READY && cvm->role == CVM_ROLE_SERVER)
        cvm_reconcile_start(cvm);
    cvm->started.callback(cvm->started.user_data, error);
    cvm_error_free(error);
}

static void platform_opened(cvm_op_t *op)
{
    started(op->cvm, op);
}

static void store_opened(cvm_op_t *op)
{
    cvm_t *cvm = op->cvm;
    if (op->answer != CVM_ANSWER_OK) {
        started(cvm, op);
        return;
    }
    cvm_op_start(&cvm->life, cvm, SIDE_PLATFORM, "open", platform_opened);
    cvm->platform.open(cvm->platform_context.self, &cvm->life, cvm->role);
}

static cvm_error_t *start(cvm_t *cvm, cvm_role_t role, cvm_done_cb callback, void *user_data)
{
    if (cvm->state != STATE_NEW)
        return cvm_error_new(REASON_conflict, "the instance was started already");
    cvm->state = STATE_STARTING;
    cvm->role = role;
    cvm->started = (struct cvm_waiter){callback, user_data};
    cvm_op_start(&cvm->life, cvm, SIDE_STORE, "open", store_opened);
    cvm->store.open(cvm->store_context.self, &cvm->life, role);
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

/* --- Listeners -------------------------------------------------------------------------------- */

static void closed_again(void *argument)
{
    struct cvm_transport *transport = argument;
    cvm_t *cvm = transport->cvm;
    transport->ops->close(transport);
    cvm_release(cvm);
}

/* All listeners or none. */
static cvm_error_t *listen_failed(cvm_t *cvm, cvm_error_t *error)
{
    while (cvm->transport_count) {
        struct cvm_transport *transport = cvm->transports[--cvm->transport_count];
        cvm_hold(cvm);
        transport->ops->drain(transport, closed_again, transport);
    }
    return error;
}

cvm_error_t *cvm_listen(cvm_t *cvm)
{
    if (!cvm_is_ready(cvm))
        return cvm_error_new(REASON_conflict, "the instance is not started");
    if (cvm->transport_count)
        return cvm_error_new(REASON_conflict, "the instance listens already");
    for (uint32_t i = 0; i < CVM_BUILTIN_TRANSPORT_COUNT; i++) {
        const struct cvm_transport_ops *ops = CVM_BUILTIN_TRANSPORTS[i];
        if (strcmp(cvm_conf_get(cvm->conf, ops->property), "off") == 0)
            continue;
        cvm_error_t *error = ops->open(cvm, cvm->conf, &cvm->transports[cvm->transport_count]);
        if (error)
            return listen_failed(cvm, error);
        cvm->transports[cvm->transport_count++]->cvm = cvm;
    }
    return NULL;
}

const char *cvm_listener(const cvm_t *cvm, uint32_t i)
{
    for (uint32_t t = 0; t < cvm->transport_count; t++) {
        const struct cvm_transport *transport = cvm->transports[t];
        for (uint32_t j = 0; transport->ops->listener(transport, j); j++)
            if (i-- == 0)
                return transport->ops->listener(transport, j);
    }
    return NULL;
}

/* --- Reloading and checking ------------------------------------------------------------------- */

/* A question to a backend that somebody waits for. */
struct inquiry {
    cvm_op_t op;
    struct cvm_waiter waiter;
    cvm_error_t *error; /* the first */
};

static struct inquiry *inquiry_new(cvm_done_cb callback, void *user_data)
{
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (inquiry)
        inquiry->waiter = (struct cvm_waiter){callback, user_data};
    return inquiry;
}

static void note(struct inquiry *inquiry, cvm_error_t *error)
{
    if (inquiry->error)
        cvm_error_free(error);
    else
        inquiry->error = error;
}

static void answered(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    note(inquiry, cvm_op_error(op));
    inquiry->waiter.callback(inquiry->waiter.user_data, inquiry->error);
    cvm_error_free(inquiry->error);
    cvm_op_clear(op);
    free(inquiry);
}

cvm_error_t *cvm_reload(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    if (!cvm_is_ready(cvm))
        return cvm_error_new(REASON_conflict, "the instance is not started");
    struct inquiry *inquiry = inquiry_new(callback, user_data);
    if (!inquiry)
        return cvm_error_out_of_memory();
    note(inquiry, cvm_log_reopen(cvm->log));
    note(inquiry, cvm_log_reopen(cvm->audit));
    for (uint32_t i = 0; i < cvm->transport_count; i++)
        note(inquiry, cvm->transports[i]->ops->reload(cvm->transports[i]));
    cvm_platform_reload(cvm, &inquiry->op, answered);
    return NULL;
}

cvm_error_t *cvm_check(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    if (!cvm_is_ready(cvm))
        return cvm_error_new(REASON_overloaded, "the server is not ready");
    struct inquiry *inquiry = inquiry_new(callback, user_data);
    if (!inquiry)
        return cvm_error_out_of_memory();
    cvm_store_ready(cvm, &inquiry->op, answered);
    return NULL;
}

/* --- Stop ------------------------------------------------------------------------------------- */

static void drained(void *argument)
{
    cvm_release(argument);
}

void cvm_stop(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    if (cvm->state >= STATE_STOPPING)
        return;
    cvm->stopped = (struct cvm_waiter){callback, user_data};
    cvm_hold(cvm);
    if (cvm->state == STATE_READY)
        cvm_reconcile_stop(cvm);
    cvm->state = STATE_STOPPING;
    cvm->patience = cvm_timer_new(cvm->loop, cut_short, cvm);
    if (cvm->patience) /* else it waits for as long as it takes */
        cvm_timer_start(cvm->patience,
            (uint64_t)cvm_conf_number(cvm->conf, "request.deadline") + STOP_GRACE_MS);
    for (uint32_t i = 0; i < cvm->transport_count; i++) {
        cvm_hold(cvm);
        cvm->transports[i]->ops->drain(cvm->transports[i], drained, cvm);
    }
    cvm_host_flush_delays(cvm);
    cvm_release(cvm);
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

/* --- For transports --------------------------------------------------------------------------- */

struct cvm_loop *cvm_loop_of(cvm_t *cvm)
{
    return cvm->loop;
}

struct cvm_log *cvm_log_of(cvm_t *cvm)
{
    return cvm->log;
}

struct cvm_metrics *cvm_metrics_of(cvm_t *cvm)
{
    return cvm->metrics;
}
