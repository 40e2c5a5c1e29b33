/* The reconciler: passes over what is due, one at a time, each item by an operation of its own. */
#include "reconcile.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "clock.h"
#include "instance.h"
#include "record.h"

#define PAGE 256

/* Somebody who wants to know when a pass that begins from now on has ended. */
struct waiter {
    struct waiter *next;
    cvm_done_cb callback;
    void *user_data;
};

struct cvm_reconciler {
    cvm_t *cvm;
    cvm_op_t op;
    struct cvm_mail mail;
    struct cvm_timer *timer;
    cvm_scan_t scanning;
    int32_t is_running, is_posted, is_stopped, found;
    uint32_t items;                     /* in flight */
    cvm_error_t *error;                 /* the pass's first */
    struct waiter *waiting, *next_time; /* for the pass that runs, for the one after it */
};

/* One certificate to revoke, or one device to suspend or resume. */
struct item {
    cvm_op_t op;
    struct cvm_reconciler *reconciler;
    cvm_record_t *record, *wanted;
    const cvm_record_t *changed;
    cvm_change_t change;
};

static void scan(struct cvm_reconciler *reconciler, cvm_scan_t what);
static void begin(struct cvm_reconciler *reconciler);

struct cvm_reconciler *cvm_reconciler_new(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = calloc(1, sizeof *reconciler);
    if (reconciler)
        reconciler->cvm = cvm;
    return reconciler;
}

void cvm_reconciler_free(struct cvm_reconciler *reconciler)
{
    if (!reconciler)
        return;
    cvm_op_clear(&reconciler->op);
    cvm_error_free(reconciler->error);
    free(reconciler);
}

/* --- The end of a pass ------------------------------------------------------------------------ */

static void tell(struct cvm_reconciler *reconciler, struct waiter *waiter, const cvm_error_t *error)
{
    while (waiter) {
        struct waiter *next = waiter->next;
        waiter->callback(waiter->user_data, error);
        free(waiter);
        cvm_release(reconciler->cvm);
        waiter = next;
    }
}

static void finish(struct cvm_reconciler *reconciler)
{
    cvm_t *cvm = reconciler->cvm;
    struct waiter *waiting = reconciler->waiting;
    cvm_error_t *error = reconciler->error;
    reconciler->waiting = NULL;
    reconciler->error = NULL;
    reconciler->is_running = 0;
    uint64_t interval_ms = (uint64_t)cvm_conf_number(cvm->conf, "reconcile.interval");
    if (reconciler->next_time)
        begin(reconciler);
    else if (interval_ms && reconciler->timer)
        cvm_timer_start(reconciler->timer, interval_ms);
    if (error)
        cvm_log_message(cvm->log, LOG_WARNING, "what is due could not be carried out: %s",
            cvm_error_text(error));
    tell(reconciler, waiting, error);
    cvm_error_free(error);
}

static void note_failure(struct cvm_reconciler *reconciler, const cvm_op_t *op)
{
    if (!reconciler->error)
        reconciler->error =
            cvm_error_new(cvm_op_reason(op), "%s: %s", op->call, *op->text ? op->text : "failed");
}

/* An item is done; the last one of a page asks for the next page, or for the next kind. */
static void item_done(struct cvm_reconciler *reconciler)
{
    if (--reconciler->items)
        return;
    if (reconciler->found == PAGE && !reconciler->error && !reconciler->is_stopped)
        scan(reconciler, reconciler->scanning);
    else if (reconciler->scanning == CVM_SCAN_DUE && !reconciler->is_stopped)
        scan(reconciler, CVM_SCAN_UNSUSPENDED);
    else
        finish(reconciler);
}

/* --- One item --------------------------------------------------------------------------------- */

static void item_free(struct item *item)
{
    struct cvm_reconciler *reconciler = item->reconciler;
    cvm_op_clear(&item->op);
    cvm_record_free(item->record);
    cvm_record_free(item->wanted);
    free(item);
    item_done(reconciler);
}

static int32_t is_certificate(const struct item *item)
{
    return item->reconciler->scanning == CVM_SCAN_DUE;
}

static void report(const struct item *item)
{
    cvm_t *cvm = item->reconciler->cvm;
    if (is_certificate(item)) {
        const char *reason = cvm_record_text(item->record, CVM_C_REASON);
        cvm_metrics_add(cvm->metrics, METRIC_CERTIFICATES_REVOKED, &reason, 1);
        cvm_audit(cvm, "certificate_revoked", cvm_record_text(item->record, CVM_C_DEVICE_UID), NULL,
            NULL, cvm_record_text(item->record, CVM_C_CERTIFICATE_ID), reason);
    } else {
        cvm_audit(cvm,
            cvm_record_number(item->wanted, CVM_IS_SUSPENDED) ? "certificates_suspended"
                                                              : "certificates_resumed",
            cvm_record_text(item->wanted, CVM_DEVICE_UID), NULL, NULL, NULL, NULL);
    }
}

static void recorded(cvm_op_t *op)
{
    struct item *item = CVM_CONTAINER(op, struct item, op);
    if (op->answer == CVM_ANSWER_OK)
        report(item);
    else if (op->answer != CVM_ANSWER_CONFLICT) /* somebody changed it: the next pass looks again */
        note_failure(item->reconciler, op);
    item_free(item);
}

/* The platform has done it: write that down. */
static void carried_out(cvm_op_t *op)
{
    struct item *item = CVM_CONTAINER(op, struct item, op);
    cvm_t *cvm = item->reconciler->cvm;
    int32_t failed = op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND;
    if (failed) {
        note_failure(item->reconciler, op);
    } else if (is_certificate(item)) {
        item->changed = item->record;
        item->change = (cvm_change_t){NULL, NULL, &item->changed, 1};
        failed = cvm_record_set_text(item->record, CVM_C_STATE, "revoked") ||
                 cvm_record_set_number(item->record, CVM_C_REVOKED_AT, cvm_now_ms());
    } else {
        item->change = (cvm_change_t){item->record, item->wanted, NULL, 0};
    }
    if (failed) {
        item_free(item);
        return;
    }
    cvm_op_start(op, cvm, SIDE_STORE, "swap", recorded);
    cvm->store.swap(cvm->store_context.self, op, &item->change);
}

static struct item *item_new(struct cvm_reconciler *reconciler, cvm_record_t *record)
{
    struct item *item = calloc(1, sizeof *item);
    if (!item)
        return NULL;
    item->reconciler = reconciler;
    if (!is_certificate(item)) {
        item->wanted = cvm_record_copy(record);
        if (!item->wanted || cvm_record_set_number(item->wanted, CVM_IS_SUSPENDED,
                                 !cvm_record_number(record, CVM_IS_ENABLED))) {
            cvm_record_free(item->wanted);
            free(item);
            return NULL;
        }
    }
    item->record = record;
    return item;
}

static void carry_out(struct cvm_reconciler *reconciler, cvm_record_t *record)
{
    cvm_t *cvm = reconciler->cvm;
    struct item *item = item_new(reconciler, record);
    if (!item) {
        cvm_record_free(record);
        if (!reconciler->error)
            reconciler->error = cvm_error_out_of_memory();
        return;
    }
    reconciler->items++;
    int32_t revokes = is_certificate(item);
    cvm_step_fn function = revokes ? cvm->platform.revoke : cvm->platform.suspend;
    cvm_op_start(&item->op, cvm, SIDE_PLATFORM, revokes ? "revoke" : "suspend", carried_out);
    if (function)
        function(cvm->platform_context.self, &item->op, revokes ? NULL : item->wanted,
            revokes ? item->record : NULL);
    else
        CVM_HOST.complete(&item->op, CVM_ANSWER_OK, NULL);
}

/* --- A pass ----------------------------------------------------------------------------------- */

static void scanned(cvm_op_t *op)
{
    struct cvm_reconciler *reconciler = CVM_CONTAINER(op, struct cvm_reconciler, op);
    reconciler->found = (int32_t)op->record_count;
    if (op->answer != CVM_ANSWER_OK)
        note_failure(reconciler, op);
    reconciler->items = 1; /* held until all are started */
    for (uint32_t i = 0; i < op->record_count && op->answer == CVM_ANSWER_OK; i++)
        carry_out(reconciler, cvm_op_take(op, i));
    item_done(reconciler);
}

static void scan(struct cvm_reconciler *reconciler, cvm_scan_t what)
{
    cvm_t *cvm = reconciler->cvm;
    reconciler->scanning = what;
    cvm_op_start(&reconciler->op, cvm, SIDE_STORE, "scan", scanned);
    cvm->store.scan(cvm->store_context.self, &reconciler->op, what, "", cvm_now_ms(), PAGE);
}

static void begin(struct cvm_reconciler *reconciler)
{
    if (reconciler->is_running || reconciler->is_stopped)
        return;
    reconciler->is_running = 1;
    reconciler->waiting = reconciler->next_time;
    reconciler->next_time = NULL;
    scan(reconciler, CVM_SCAN_DUE);
}

static void begin_later(struct cvm_mail *mail)
{
    struct cvm_reconciler *reconciler = CVM_CONTAINER(mail, struct cvm_reconciler, mail);
    cvm_t *cvm = reconciler->cvm;
    reconciler->is_posted = 0;
    begin(reconciler);
    cvm_release(cvm);
}

static void interval_over(void *argument)
{
    begin(argument);
}

/* --- The instance's side ---------------------------------------------------------------------- */

void cvm_reconcile_start(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    if (!cvm_conf_number(cvm->conf, "reconcile.interval"))
        return;
    reconciler->timer = cvm_timer_new(cvm->loop, interval_over, reconciler);
    if (reconciler->timer)
        cvm_timer_start(reconciler->timer, 0);
}

void cvm_reconcile_soon(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    if (reconciler->is_posted)
        return;
    reconciler->is_posted = 1;
    reconciler->mail.open = begin_later;
    cvm_hold(cvm);
    cvm_loop_post(cvm->loop, &reconciler->mail);
}

cvm_error_t *cvm_reconcile(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    if (!cvm_is_ready(cvm))
        return cvm_error_new(REASON_overloaded, "the instance is not ready");
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        return cvm_error_out_of_memory();
    *waiter = (struct waiter){cvm->reconciler->next_time, callback, user_data};
    cvm->reconciler->next_time = waiter;
    cvm_hold(cvm);
    cvm_reconcile_soon(cvm);
    return NULL;
}

void cvm_reconcile_stop(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    struct waiter *left = reconciler->next_time;
    reconciler->is_stopped = 1;
    reconciler->next_time = NULL;
    cvm_timer_free(reconciler->timer);
    reconciler->timer = NULL;
    if (left) {
        cvm_error_t *error = cvm_error_new(REASON_unknown, "the instance stops");
        tell(reconciler, left, error);
        cvm_error_free(error);
    }
}
