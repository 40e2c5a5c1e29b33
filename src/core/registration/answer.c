/* The answer: what the caller, the log and the metrics are told of a registration, once. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/at_exit.h"
#include "base/clock.h"
#include "record.h"

#define RETRY_AFTER_S 5         /* for what is unavailable */
#define LARGEST_BODY  (1 << 20) /* the trust anchors are an operator's file */

/* What the operator should look at is more than an attempt. */
static enum cvm_log_level level_of(const cvm_error_t *error)
{
    switch (cvm_error_code(error)) {
    case CVM_CODE_INTERNAL:
        return LOG_ERROR;
    case CVM_CODE_UNAVAILABLE:
    case CVM_CODE_UNKNOWN:
        return LOG_WARNING;
    default:
        return LOG_INFO;
    }
}

/* Whoever asks can have a failure written, also a grave one while the store is away; so those are
 * written up to a rate and summed up beyond it, by the true reason. Successes always are. */
static int32_t must_log(const struct registration *r, const cvm_error_t *error)
{
    if (!error)
        return 1;
    int32_t is_proof =
        error->reason == REASON_not_authorized || error->reason == REASON_too_many_requests;
    return cvm_throttle_takes(r->cvm->log_throttle, level_of(error), r->request->peer,
        is_proof ? r->detail : cvm_error_name(error), r->request->uid ? r->request->uid : "");
}

static void log_attempt(const struct registration *r, const char *event)
{
    char duration[32];
    (void)snprintf(
        duration, sizeof duration, "%.1f", (double)(cvm_monotonic_us() - r->started_us) / 1000.0);
    const cvm_error_t *error = cvm_result_error(&r->result);
    if (!must_log(r, error))
        return;
    const char *code = cvm_error_name(error);
    const char *detail = r->detail;
    if (error && !*detail && strcmp(error->text, cvm_reason_text(error->reason)) != 0)
        detail = error->text; /* what the reason's own text does not say */
    const struct cvm_log_field fields[] = {
        {"request_id", r->request->id},
        {"uid", r->request->uid},
        {"peer", r->request->peer},
        {"transport", r->request->transport},
        {"step", cvm_flow_step_name(r)},
        {"code", code},
        {"detail", detail},
        {"ms", duration},
    };
    cvm_log_write(r->cvm->log, level_of(error), event, fields, sizeof fields / sizeof fields[0]);
}

static void count_attempt(const struct registration *r)
{
    const cvm_error_t *error = cvm_result_error(&r->result);
    const char *labels[] = {
        error ? "error" : "success", cvm_error_name(error), r->request->transport};
    cvm_metrics_add(r->cvm->metrics, METRIC_REGISTRATIONS, labels, 1);
    cvm_metrics_observe(r->cvm->metrics, METRIC_REGISTRATION_DURATION, NULL,
        (double)(cvm_monotonic_us() - r->started_us) / 1e6);
}

static void answer_render_error(struct registration *r)
{
    cvm_result_t *result = &r->result;
    int32_t is_legacy = cvm_conf_own_number(r->cvm->conf, "http.legacy_status") != 0;
    result->media_type = r->format->error_type;
    result->http_status = cvm_reason_http_status(is_legacy ? REASON_ok : result->error.reason);
    r->format->render_error(&result->error, result->request_id, &result->body);
}

/* Renders the result in the format that the caller reads. A success that can't be rendered is
 * recorded nevertheless: who asks again is told. */
static void answer_render(struct registration *r)
{
    cvm_result_t *result = &r->result;
    result->body.most = LARGEST_BODY;
    if (result->error.reason == REASON_ok) {
        result->media_type = r->format->media_type;
        result->http_status = cvm_reason_http_status(REASON_ok);
        r->format->render(result, &result->body);
        if (!result->body.failed)
            return;
        cvm_result_clear(result);
        cvm_error_set(&result->error, REASON_unknown,
            "the answer has no room in memory, or a certificate in it is none; ask again");
    }
    answer_render_error(r);
    if (result->body.failed)
        cvm_result_clear(result);
}

/* Calls the caller back, once, with the result as it is. */
void cvm_answer(struct registration *r)
{
    if (r->is_answered) {
        log_attempt(r, "registration settled");
        return;
    }
    r->is_answered = 1;
    r->op.until_ms = 0;
    cvm_timer_stop(r->deadline);
    r->result.request_id = r->request->id;
    if (r->format)
        answer_render(r);
    cvm_error_t *error = &r->result.error;
    if (cvm_reason_http_status(error->reason) == 503 && !error->retry_after_s)
        error->retry_after_s = RETRY_AFTER_S;
    error->step = error->reason == REASON_ok ? "" : cvm_flow_step_name(r);
    count_attempt(r);
    log_attempt(r, "registration");
    CVM_CALL_OUT(r->callback(r->user_data, &r->result));
}

/* The caller waits no longer. What has effects runs on. */
void cvm_answer_unknown(struct registration *r)
{
    if (r->is_answered)
        return;
    cvm_error_t before = r->result.error;
    cvm_error_set(&r->result.error, REASON_unknown, NULL);
    cvm_answer(r);
    r->result.error = before;
    cvm_result_clear(&r->result);
}

/* The certificate and the issuing chain behind it. */
static char *with_chain(const char *certificate, const char *chain)
{
    size_t size = strlen(certificate) + strlen(chain) + 1;
    char *text = malloc(size);
    if (text)
        (void)snprintf(text, size, "%s%s", certificate, chain);
    return text;
}

static void fill_result(struct registration *r)
{
    cvm_result_t *result = &r->result;
    const char *chain = r->outs[CVM_OUT_CHAIN] ? r->outs[CVM_OUT_CHAIN] : "";
    cvm_error_set(&result->error, REASON_ok, NULL);
    result->certificate = cvm_record_text(r->certificate, CVM_C_PEM);
    result->chain = chain;
    result->device_certificate = with_chain(result->certificate, chain);
    if (!result->device_certificate)
        cvm_error_set(&result->error, REASON_unknown, "out of memory; ask again");
    result->endpoint = r->outs[CVM_OUT_ENDPOINT];
    result->root_ca = r->outs[CVM_OUT_ROOT_CA];
    result->thing_name = cvm_record_text(r->device, CVM_D_THING_NAME);
    result->certificate_id = cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID);
    result->private_key = r->key.private_pem;
    result->private_key_der = r->key.private_der;
    result->private_key_length = r->key.private_length;
    result->public_key = r->key.private_pem ? r->key.public_pem : NULL;
    int64_t now_ms = cvm_now_ms();
    (void)cvm_rfc3339(now_ms, result->server_time);
    result->server_time_s = now_ms / 1000;
    result->have = &r->request->have;
}

void cvm_answer_success(struct registration *r)
{
    if (r->must_issue) {
        const char *platform = r->cvm->platform_context.kind;
        cvm_metrics_add(r->cvm->metrics, METRIC_CERTIFICATES_ISSUED, &platform, 1);
        cvm_audit(r->cvm, r->is_reissue ? "reissued" : "registered", r->request->uid,
            r->request->id, r->request->peer, cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID),
            NULL);
    }
    fill_result(r);
    cvm_answer(r);
    cvm_flow_next(r);
}
