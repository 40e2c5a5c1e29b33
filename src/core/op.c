/* Operations: starting, completing, and what they answered. */
#include "op.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "instance.h"
#include "record.h"

#define LONGEST_RETRY_AFTER_S 86400 /* whatever a backend says */

static const char *const ANSWERS[] = {"ok", "not_found", "conflict", "key_in_use", "unavailable",
    "busy", "broken", "unknown", "invalid"};

static void count(const cvm_op_t *op)
{
    if (op->side == SIDE_STORE) {
        const char *labels[] = {op->cvm->store_context.kind, op->call};
        cvm_metrics_observe(op->cvm->metrics, METRIC_STORE_DURATION, labels,
            (double)(cvm_monotonic_us() - op->started_us) / 1e6);
    } else {
        const char *labels[] = {op->cvm->platform_context.kind, op->call, ANSWERS[op->answer]};
        cvm_metrics_add(op->cvm->metrics, METRIC_PLATFORM_REQUESTS, labels, 1);
    }
}

static void completed(struct cvm_mail *mail)
{
    cvm_op_t *op = CVM_CONTAINER(mail, cvm_op_t, mail);
    cvm_t *cvm = op->cvm;
    count(op);
    op->done(op);
    cvm_release(cvm);
}

void cvm_op_start(
    cvm_op_t *op, cvm_t *cvm, enum cvm_side side, const char *call, void (*done)(cvm_op_t *op))
{
    int64_t until_ms = op->until_ms;
    cvm_op_clear(op);
    *op = (cvm_op_t){.mail.open = completed,
        .until_ms = until_ms,
        .cvm = cvm,
        .done = done,
        .call = call,
        .side = side,
        .started_us = cvm_monotonic_us()};
    cvm_hold(cvm);
}

void cvm_op_clear(cvm_op_t *op)
{
    for (uint32_t i = 0; i < op->record_count; i++)
        cvm_record_free(op->records[i]);
    free(op->records);
    op->records = NULL;
    op->record_count = 0;
    for (uint32_t i = 0; i < CVM_OUT_COUNT; i++) {
        free(op->outs[i]);
        op->outs[i] = NULL;
    }
}

void cvm_op_take_over(cvm_op_t *op, cvm_op_t *from)
{
    cvm_op_clear(op);
    op->cvm = from->cvm;
    op->call = from->call;
    op->side = from->side;
    op->answer = from->answer;
    memcpy(op->text, from->text, sizeof op->text);
    op->records = from->records;
    op->record_count = from->record_count;
    memcpy(op->outs, from->outs, sizeof op->outs);
    memcpy(op->numbers, from->numbers, sizeof op->numbers);
    from->records = NULL;
    from->record_count = 0;
    memset(from->outs, 0, sizeof from->outs);
}

cvm_record_t *cvm_op_take(cvm_op_t *op, uint32_t i)
{
    if (i >= op->record_count)
        return NULL;
    cvm_record_t *record = op->records[i];
    op->records[i] = NULL;
    return record;
}

enum cvm_reason cvm_op_reason(const cvm_op_t *op)
{
    int32_t is_store = op->side == SIDE_STORE;
    switch (op->answer) {
    case CVM_ANSWER_OK:
        return REASON_ok;
    case CVM_ANSWER_NOT_FOUND: /* on the platform: what the record says is there */
        return is_store ? REASON_no_such_device : REASON_platform_error;
    case CVM_ANSWER_CONFLICT: /* no platform has a reason to say so */
        return is_store ? REASON_conflict : REASON_platform_error;
    case CVM_ANSWER_KEY_IN_USE:
        return REASON_invalid_csr;
    case CVM_ANSWER_UNAVAILABLE:
        return is_store ? REASON_store_unavailable : REASON_platform_unavailable;
    case CVM_ANSWER_BUSY:
        return REASON_overloaded;
    case CVM_ANSWER_BROKEN:
        return is_store ? REASON_store_unavailable : REASON_platform_error;
    case CVM_ANSWER_UNKNOWN:
        return REASON_unknown;
    case CVM_ANSWER_INVALID:
        return is_store ? REASON_internal : REASON_platform_error;
    }
    return REASON_internal;
}

uint32_t cvm_op_retry_after_s(const cvm_op_t *op)
{
    int64_t wait_s = op->numbers[CVM_OUT_RETRY_AFTER_S];
    if (op->answer != CVM_ANSWER_BUSY && op->answer != CVM_ANSWER_UNAVAILABLE)
        return 0;
    return wait_s > LONGEST_RETRY_AFTER_S ? LONGEST_RETRY_AFTER_S
           : wait_s > 0                   ? (uint32_t)wait_s
                                          : 0;
}

cvm_error_t *cvm_op_error(const cvm_op_t *op)
{
    if (op->answer == CVM_ANSWER_OK)
        return NULL;
    cvm_error_t *error = cvm_error_new(cvm_op_reason(op), *op->text ? "%s" : NULL, op->text);
    cvm_error_retry_after(error, cvm_op_retry_after_s(op));
    return error;
}
