/* The API of registrations: accepting, completing exactly once, cancelling. The flow itself begins
 * in flow.c. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "entry.h"
#include "flow.h"
#include "record.h"
#include "token.h"

#define RETRY_AFTER_S 5 /* when there is no room */

void cvm_registration_forget(struct registration *r)
{
    cvm_record_t **records[] = {
        &r->device, &r->wanted, &r->current, &r->certificate, &r->abandoned, &r->probe};
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        cvm_record_free(*records[i]);
        *records[i] = NULL;
    }
    while (r->inherited_count)
        cvm_record_free(r->inherited[--r->inherited_count]);
    while (r->row_count)
        cvm_record_free(r->rows[--r->row_count]);
}

void cvm_registration_free(struct registration *r)
{
    cvm_t *cvm = r->cvm;
    if (r->link) {
        *r->link = r->next;
        if (r->next)
            r->next->link = r->link;
        cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, --cvm->registration_count);
    }
    cvm_timer_free(r->deadline);
    cvm_op_clear(&r->op);
    cvm_request_free(r->request);
    cvm_registration_forget(r);
    cvm_key_clear(&r->key);
    for (uint32_t i = 0; i < CVM_OUT_COUNT; i++)
        free(r->outs[i]);
    cvm_result_clear(&r->result);
    free(r);
}

static void deadline_over(void *argument)
{
    cvm_answer_unknown(argument);
}

static void begin(struct cvm_mail *mail)
{
    struct registration *r = CVM_CONTAINER(mail, struct registration, mail);
    cvm_flow_begin(r);
}

static struct registration **bucket_of(cvm_t *cvm, uint64_t id)
{
    return &cvm->registrations[id % CVM_REGISTRATION_BUCKETS];
}

static void link_in(struct registration *r)
{
    cvm_t *cvm = r->cvm;
    r->id = ++cvm->last_id;
    r->link = bucket_of(cvm, r->id);
    r->next = *r->link;
    if (r->next)
        r->next->link = &r->next;
    *r->link = r;
    cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, ++cvm->registration_count);
}

/* A registration that is ready to begin, or NULL without memory. */
static struct registration *registration_new(
    cvm_t *cvm, const cvm_request_t *request, cvm_result_cb callback, void *user_data)
{
    struct registration *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->cvm = cvm;
    r->mail.open = begin;
    r->started_us = cvm_monotonic_us();
    r->callback = callback;
    r->user_data = user_data;
    r->request = cvm_request_copy(request);
    r->deadline = cvm_timer_new(cvm->loop, deadline_over, r);
    cvm_error_set(&r->result.error, REASON_ok, NULL);
    if (!r->request || !r->deadline || cvm_random_hex(CVM_OWNER_BYTES, r->owner)) {
        cvm_registration_free(r);
        return NULL;
    }
    return r;
}

static void start(struct registration *r, uint64_t *id)
{
    uint64_t deadline_ms = r->request->deadline_ms;
    if (!deadline_ms)
        deadline_ms = (uint64_t)cvm_conf_own_number(r->cvm->conf, "request.deadline");
    link_in(r);
    cvm_hold(r->cvm);
    cvm_timer_start(r->deadline, deadline_ms);
    r->op.until_ms = (int64_t)(cvm_monotonic_ms() + deadline_ms);
    cvm_loop_post(r->cvm->loop, &r->mail);
    if (id)
        *id = r->id;
}

/* NULL if another registration can be taken. */
static cvm_error_t *admit(const cvm_t *cvm, const cvm_request_t *request)
{
    /* What a draining transport still has on its way is served too. */
    int32_t is_draining = cvm->state == STATE_STOPPING && cvm->transport_count && cvm->running;
    int32_t is_ready = cvm_is_started(cvm) || is_draining;
    if (is_ready && cvm->registration_count < cvm_conf_own_number(cvm->conf, "limit.requests"))
        return NULL;
    const char *labels[] = {"error", "overloaded", request ? request->transport : "api"};
    cvm_metrics_add(cvm->metrics, METRIC_REGISTRATIONS, labels, 1);
    cvm_error_t *error =
        cvm_error_new(REASON_overloaded, is_ready ? NULL : "the server is not ready");
    cvm_error_retry_after(error, RETRY_AFTER_S);
    return error;
}

cvm_error_t *cvm_register(
    cvm_t *cvm, const cvm_request_t *request, cvm_result_cb callback, void *user_data, uint64_t *id)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, request && callback);
    if (!error)
        error = admit(cvm, request);
    if (error)
        return error;
    struct registration *r = registration_new(cvm, request, callback, user_data);
    if (!r)
        return cvm_error_out_of_memory();
    start(r, id);
    return NULL;
}

cvm_error_t *cvm_handle(cvm_t *cvm, const cvm_request_t *request, const char *media_type,
    const void *bytes, size_t length, cvm_result_cb callback, void *user_data, uint64_t *id)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, (bytes || !length) && callback);
    if (!error)
        error = admit(cvm, request);
    if (error)
        return error;
    struct registration *r = registration_new(cvm, request, callback, user_data);
    if (!r)
        return cvm_error_out_of_memory();
    const struct cvm_format *format = cvm_format_of(media_type);
    r->format = cvm_format_answered(media_type, r->request->accept);
    error = format ? format->read(r->request, bytes ? bytes : "", length)
                   : cvm_error_new(REASON_unsupported_media_type, NULL);
    if (error) {
        cvm_error_set(&r->result.error, error->reason, error->text);
        cvm_error_free(error);
    }
    start(r, id);
    return NULL;
}

cvm_error_t *cvm_cancel(cvm_t *cvm, uint64_t id)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, 1);
    if (error)
        return error;
    for (struct registration *r = *bucket_of(cvm, id); r; r = r->next)
        if (r->id == id)
            cvm_timer_start(r->deadline, 0); /* later: a callback never runs inside a call */
    return NULL;
}
