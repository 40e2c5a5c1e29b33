/*
 * libcvm as an AWS Lambda, over a custom runtime (provided.al2023): one event at a time, by
 * cvm_handle() for a device's and cvm_reconcile() for a schedule's. The answer goes out as soon as
 * it is durable; what the library still works at is waited for before the next event is asked for,
 * since from then on the process may be frozen.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cvm/cvm.h>
#include <openssl/crypto.h>

#include "config.h"
#include "event.h"
#include "report.h"
#include "runtime.h"

#define ANSWER_MS       3000 /* before Lambda's deadline the device is answered */
#define SETTLE_MS       1000 /* and the next event asked for */
#define LEAST_MS        1000 /* that a registration is given in any case */
#define LARGEST_PAYLOAD 8192 /* as over HTTP */
#define RETRY_AFTER_S   5

struct lambda {
    cvm_t *cvm;
    struct runtime runtime;
    struct invocation invocation;
    struct event event;
    struct report report;
    int32_t is_answered;
    uint64_t wait; /* the number of what is waited for; what comes of others comes too late */
    int32_t is_over;
    uint64_t found;
    char failure_name[40], failure[300]; /* of what was waited for; "" if all went well */
    /* What the handler's name says (_HANDLER): an event is the payload, whatever it looks like; or
     * a schedule's. */
    int32_t is_direct, takes_passes;
    int32_t is_legacy;   /* http.legacy_status */
    int32_t is_starting; /* an event was over before that was */
};

/* --- Waiting ---------------------------------------------------------------------------------- */

static int32_t turn_ms(const struct lambda *lambda, int64_t until_ms)
{
    int64_t left_ms = until_ms - runtime_now_ms();
    int32_t due_ms = cvm_timeout_ms(lambda->cvm);
    if (left_ms < 0)
        return 0;
    return due_ms >= 0 && due_ms < left_ms ? due_ms : left_ms > 60000 ? 60000 : (int32_t)left_ms;
}

/* Runs the instance until the flag is set, or until then. The flag. */
static int32_t run_until(struct lambda *lambda, const int32_t *flag, int64_t until_ms)
{
    while (!*flag && runtime_now_ms() < until_ms) {
        struct pollfd ready = {cvm_fd(lambda->cvm), POLLIN, 0};
        (void)poll(&ready, 1, turn_ms(lambda, until_ms));
        cvm_error_free(cvm_process(lambda->cvm));
    }
    return *flag;
}

/* What a verb that is waited for hands back, however late. */
struct ticket {
    struct lambda *lambda;
    uint64_t wait;
};

/* NULL without memory. */
static struct ticket *ticket_new(struct lambda *lambda)
{
    struct ticket *ticket = malloc(sizeof *ticket);
    if (ticket)
        *ticket = (struct ticket){lambda, ++lambda->wait};
    lambda->is_over = 0;
    return ticket;
}

/* The first failure of what was waited for. */
static void note_own(struct lambda *lambda, const char *name, const char *text)
{
    if (*lambda->failure)
        return;
    (void)snprintf(lambda->failure_name, sizeof lambda->failure_name, "%s", name);
    (void)snprintf(lambda->failure, sizeof lambda->failure, "%s", text);
}

static void note_failure(struct lambda *lambda, const cvm_error_t *error)
{
    char text[sizeof lambda->failure];
    if (!error)
        return;
    (void)snprintf(text, sizeof text, "%s: %s", cvm_error_name(error), cvm_error_text(error));
    note_own(lambda, cvm_error_name(error), text);
}

static void done(void *user_data, const cvm_error_t *error)
{
    struct ticket *ticket = user_data;
    struct lambda *lambda = ticket->lambda;
    if (ticket->wait == lambda->wait) {
        note_failure(lambda, error);
        lambda->is_over = 1;
    }
    free(ticket);
}

/* Begins a verb, and waits for it. What it is refused for, fails for, or has not ended for in time
 * is the failure, if it is the first. */
static void carry_out(struct lambda *lambda,
    cvm_error_t *(*begin)(struct lambda *lambda, struct ticket *ticket), int64_t until_ms)
{
    struct ticket *ticket = ticket_new(lambda);
    cvm_error_t *refused = ticket ? begin(lambda, ticket) : NULL;
    if (!ticket)
        note_own(lambda, "internal", "out of memory");
    note_failure(lambda, refused);
    if (!ticket || refused)
        free(ticket);
    else if (!run_until(lambda, &lambda->is_over, until_ms))
        note_own(lambda, "unknown", "there was no time to end it");
    cvm_error_free(refused);
}

static void started(void *user_data, const cvm_error_t *error)
{
    struct lambda *lambda = user_data;
    lambda->is_starting = 0;
    *lambda->failure = 0;
    note_failure(lambda, error);
    lambda->is_over = 1;
}

/* With the first event, and in its time; after a failure, or if there was no time, with the next. 1
 * if it is ready. */
static int32_t lambda_start(struct lambda *lambda)
{
    int64_t until_ms = lambda->invocation.deadline_ms - ANSWER_MS,
            least_ms = runtime_now_ms() + LEAST_MS;
    *lambda->failure = 0;
    lambda->is_over = 0;
    if (!lambda->is_starting && !cvm_is_ready(lambda->cvm)) {
        cvm_error_t *refused = cvm_start_command(lambda->cvm, started, lambda);
        lambda->is_starting = !refused;
        note_failure(lambda, refused);
        cvm_error_free(refused);
    }
    if (lambda->is_starting &&
        !run_until(lambda, &lambda->is_over, until_ms > least_ms ? until_ms : least_ms))
        note_own(lambda, "store_unavailable", "there was no time to start");
    if (!*lambda->failure)
        return 1;
    lambda->report.failed_starts++;
    report_error(&lambda->report, lambda->invocation.id, lambda->failure);
    return 0;
}

/* --- A registration --------------------------------------------------------------------------- */

static void respond(struct lambda *lambda, const struct answer *answer)
{
    char *text = event_answer(&lambda->event, answer);
    if (!text || runtime_respond(&lambda->runtime, &lambda->invocation, text, strlen(text))) {
        report_error(&lambda->report, lambda->invocation.id, "the answer could not be handed over");
        runtime_failed(&lambda->runtime, &lambda->invocation, "no answer");
    }
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
    lambda->is_answered = 1;
}

static void respond_error(
    struct lambda *lambda, const char *name, const char *allow, uint32_t retry_after_s)
{
    char body[768];
    int32_t status = cvm_error_render(name, NULL, lambda->invocation.id, body, sizeof body);
    const struct answer answer = {.status = lambda->is_legacy ? 200 : status,
        .retry_after_s = retry_after_s,
        .media_type = "application/json",
        .allow = allow,
        .body = body};
    report_refusal(&lambda->report, lambda->invocation.id, lambda->event.peer, name);
    respond(lambda, &answer);
}

/* In the answer's own turn: it is durable, and the device may go. */
static void registered(void *user_data, const cvm_result_t *result)
{
    struct lambda *lambda = user_data;
    const struct answer answer = {.status = cvm_result_http_status(result),
        .retry_after_s = cvm_error_retry_after_s(cvm_result_error(result)),
        .media_type = cvm_result_media_type(result),
        .body = cvm_result_body(result, NULL)};
    if (answer.body)
        respond(lambda, &answer);
    else
        respond_error(lambda, "internal", NULL, 0);
}

/* What the event tells beside the payload. NULL without memory. */
static cvm_request_t *request_of(const struct lambda *lambda, int64_t left_ms)
{
    const struct event *event = &lambda->event;
    cvm_request_t *request = cvm_request_new();
    cvm_error_t *error = NULL;
    if (!request)
        return NULL;
    error = cvm_request_set_deadline_ms(request, (uint32_t)left_ms);
    if (!error)
        error = cvm_request_set_transport(request, "lambda");
    if (!error)
        error = cvm_request_set_id(request, lambda->invocation.id);
    if (!error && *event->peer)
        error = cvm_request_set_peer(request, event->peer);
    if (!error && event->accept)
        error = cvm_request_set_accept(request, event->accept);
    cvm_error_free(error); /* without it, it is a request as well */
    return request;
}

static void register_device(struct lambda *lambda)
{
    const struct event *event = &lambda->event;
    if (event->method && strcmp(event->method, "POST") != 0) {
        respond_error(lambda, "method_not_allowed", "POST", 0);
        return;
    }
    if (!event->payload || event->length > LARGEST_PAYLOAD) {
        respond_error(lambda, event->payload ? "too_large" : "invalid_request", NULL, 0);
        return;
    }
    if (!lambda_start(lambda)) {
        respond_error(lambda, lambda->failure_name, NULL, RETRY_AFTER_S);
        return;
    }
    int64_t left_ms = lambda->invocation.deadline_ms - runtime_now_ms() - ANSWER_MS;
    left_ms = left_ms < LEAST_MS ? LEAST_MS : left_ms > 600000 ? 600000 : left_ms;
    cvm_request_t *request = request_of(lambda, left_ms);
    cvm_error_t *error = cvm_handle(lambda->cvm, request, event->media_type, event->payload,
        event->length, registered, lambda, NULL);
    cvm_request_free(request);
    if (error)
        respond_error(lambda, cvm_error_name(error), NULL, cvm_error_retry_after_s(error));
    else
        (void)run_until(lambda, &lambda->is_answered, INT64_MAX); /* by its deadline it is */
    cvm_error_free(error);
}

/* --- What is due ------------------------------------------------------------------------------ */

static void pass_found(void *user_data, const cvm_error_t *error, uint64_t count)
{
    const struct ticket *ticket = user_data;
    if (ticket->wait == ticket->lambda->wait)
        ticket->lambda->found = count;
    done(user_data, error);
}

static cvm_error_t *pass_check(struct lambda *lambda, struct ticket *ticket)
{
    return cvm_check(lambda->cvm, done, ticket);
}

static cvm_error_t *pass_find(struct lambda *lambda, struct ticket *ticket)
{
    return cvm_find_unknown(lambda->cvm, 0, pass_found, ticket);
}

static cvm_error_t *pass_reconcile(struct lambda *lambda, struct ticket *ticket)
{
    return cvm_reconcile(lambda->cvm, done, ticket);
}

static void respond_pass(struct lambda *lambda)
{
    char *body = NULL;
    cJSON *object = cJSON_CreateObject();
    if (object && cJSON_AddBoolToObject(object, "ok", !*lambda->failure) &&
        cJSON_AddNumberToObject(object, "found", (double)lambda->found) &&
        (!*lambda->failure || cJSON_AddStringToObject(object, "error", lambda->failure)))
        body = cJSON_PrintUnformatted(object);
    const struct answer answer = {.body = body ? body : "{\"ok\":false}"};
    respond(lambda, &answer);
    cJSON_free(body);
    cJSON_Delete(object);
}

static void run_pass(struct lambda *lambda, int32_t is_full)
{
    int64_t until_ms = lambda->invocation.deadline_ms - ANSWER_MS;
    lambda->found = 0;
    if (!lambda_start(lambda)) {
        lambda->report.failed_passes++;
        respond_pass(lambda);
        return;
    }
    carry_out(lambda, pass_check, until_ms);
    carry_out(lambda, pass_reconcile, until_ms);
    if (is_full) { /* what it finds may be due at once */
        carry_out(lambda, pass_find, until_ms);
        carry_out(lambda, pass_reconcile, until_ms);
    }
    if (*lambda->failure) {
        (is_full ? &lambda->report.failed_full_passes : &lambda->report.failed_passes)[0]++;
        report_error(&lambda->report, lambda->invocation.id, lambda->failure);
    }
    respond_pass(lambda);
}

/* --- Events ----------------------------------------------------------------------------------- */

/* An undo may run long: it never keeps an answer, and nothing of it is frozen on its way, if there
 * is time. */
static void settle(struct lambda *lambda)
{
    int64_t until_ms = lambda->invocation.deadline_ms - SETTLE_MS;
    if (lambda->is_starting)
        (void)run_until(lambda, &lambda->is_over, until_ms);
    if (!cvm_is_ready(lambda->cvm))
        return;
    struct ticket *ticket = ticket_new(lambda);
    cvm_error_t *refused = ticket ? cvm_settle(lambda->cvm, done, ticket) : NULL;
    if (!ticket || refused)
        free(ticket);
    else
        (void)run_until(lambda, &lambda->is_over, until_ms);
    cvm_error_free(refused);
}

static void serve(struct lambda *lambda)
{
    while (!runtime_next(&lambda->runtime, &lambda->invocation)) {
        struct invocation *invocation = &lambda->invocation;
        int32_t is_full;
        (void)snprintf(
            lambda->report.trace_id, sizeof lambda->report.trace_id, "%s", invocation->trace_id);
        lambda->is_answered = 0;
        event_read(&lambda->event, invocation->event.bytes ? invocation->event.bytes : "",
            invocation->event.length, lambda->is_direct);
        if (lambda->takes_passes && event_is_pass(&lambda->event, &is_full))
            run_pass(lambda, is_full);
        else
            register_device(lambda);
        settle(lambda);
        report_counters(&lambda->report, lambda->cvm);
        event_clear(&lambda->event);
        invocation_clear(invocation);
    }
}

/* --- The instance ----------------------------------------------------------------------------- */

/* NULL, or why there is none. Nothing is asked of AWS: that is the first event's to wait for. */
static cvm_error_t *make_instance(struct lambda *lambda)
{
    cvm_conf_t *conf = cvm_conf_new();
    cvm_error_t *error = config_read(conf);
    if (!error)
        error = cvm_conf_set_log(conf, report_log, &lambda->report);
    if (!error)
        error = cvm_new(conf, &lambda->cvm);
    lambda->is_legacy = cvm_conf_number(conf, "http.legacy_status") != 0;
    cvm_conf_free(conf);
    return error;
}

int main(void)
{
    struct lambda lambda = {.wait = 0};
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (!api || runtime_init(&lambda.runtime, api)) {
        (void)fprintf(stderr, "bootstrap: Lambda starts it, and sets AWS_LAMBDA_RUNTIME_API\n");
        return 64;
    }
    const char *handler = getenv("_HANDLER");
    lambda.is_direct = handler && strcmp(handler, "direct") == 0;
    lambda.takes_passes = handler && strcmp(handler, "reconcile") == 0;
    cvm_error_t *error = make_instance(&lambda);
    note_failure(&lambda, error);
    cvm_error_free(error);
    if (lambda.cvm)
        serve(&lambda);
    else
        runtime_init_failed(&lambda.runtime, lambda.failure);
    runtime_clear(&lambda.runtime);
    int code = lambda.cvm ? 69 : 78;
    cvm_free(lambda.cvm);
    return code;
}
