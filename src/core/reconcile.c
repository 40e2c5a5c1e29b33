/*
 * The reconciler: passes over what is due, one at a time. A pass goes through KINDS, each by pages,
 * each item by an operation of its own; what fails is left for a later pass.
 */
#include "reconcile.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "again.h"
#include "audit.h"
#include "call.h"
#include "clock.h"
#include "instance.h"
#include "record.h"

#define PAGE            256
#define OUTSIDE_PAGE    16    /* what a platform on the network is asked at once */
#define LONGEST_WAIT_MS 60000 /* between passes that fail */

/* Somebody who wants to know when a pass that begins from now on has ended. */
struct waiter {
    struct waiter *next;
    char uid[129]; /* whose failures it is told; "" for all */
    cvm_error_t *error;
    cvm_done_cb callback;
    void *user_data;
};

struct item;

struct kind {
    cvm_scan_t scan;
    int32_t is_outside; /* only for a platform with effects outside the store */
    int32_t is_device;  /* else a certificate */
    int64_t grace_ms;
    void (*run)(struct item *item);
    void (*report)(const struct item *item);
};

struct cvm_reconciler {
    cvm_t *cvm;
    cvm_op_t op;
    struct cvm_mail mail;
    struct cvm_timer *timer;
    const struct kind *kind;
    int32_t is_running, is_posted, is_stopped, must_run_again;
    uint32_t items;     /* in flight */
    uint32_t failures;  /* passes in a row */
    cvm_error_t *error; /* the pass's first */
    char cursor[CVM_CURSOR_SIZE];
    struct waiter *waiting, *next_time; /* for the pass that runs, for the one after it */
};

/* One record of a scan, on its way. */
struct item {
    cvm_op_t op;
    struct cvm_reconciler *reconciler;
    const struct kind *kind;
    cvm_record_t *record, *wanted, *certificate;
    const cvm_record_t *changed;
    cvm_change_t change;
};

static void end_lease(struct item *item);
static void revoke(struct item *item);
static void suspend(struct item *item);
static void report_lease(const struct item *item);
static void report_revoked(const struct item *item);
static void report_suspended(const struct item *item);
static void scan(struct cvm_reconciler *reconciler);
static void begin(struct cvm_reconciler *reconciler);

/* What an ended lease leaves is due in the same pass. */
static const struct kind KINDS[] = {
    {CVM_SCAN_ENDED_LEASES, 1, 1, CVM_LEASE_MS, end_lease, report_lease},
    {CVM_SCAN_DUE, 0, 0, 0, revoke, report_revoked},
    {CVM_SCAN_UNSUSPENDED, 0, 1, 0, suspend, report_suspended},
};
#define KIND_COUNT (sizeof KINDS / sizeof KINDS[0])

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

static int32_t is_outside(const struct cvm_reconciler *reconciler)
{
    return (reconciler->cvm->platform.flags & CVM_PLATFORM_OUTSIDE_EFFECTS) != 0;
}

/* --- Failures and the end of a pass ----------------------------------------------------------- */

/* uid: whose item failed, or NULL if the pass itself did. */
static void note_failure(struct cvm_reconciler *reconciler, const char *uid, enum cvm_reason reason,
    const char *call, const char *text)
{
    if (!reconciler->error)
        reconciler->error = cvm_error_new(reason, "%s: %s", call, text);
    for (struct waiter *waiter = reconciler->waiting; waiter; waiter = waiter->next)
        if (!waiter->error && (!uid || !*waiter->uid || strcmp(waiter->uid, uid) == 0))
            waiter->error = cvm_error_new(reason, "%s: %s", call, text);
}

static void tell(struct cvm_reconciler *reconciler, struct waiter *waiter)
{
    while (waiter) {
        struct waiter *next = waiter->next;
        waiter->callback(waiter->user_data, waiter->error);
        cvm_error_free(waiter->error);
        free(waiter);
        cvm_release(reconciler->cvm);
        waiter = next;
    }
}

/* What keeps failing is tried less and less often. */
static void wait_for_next(struct cvm_reconciler *reconciler)
{
    int64_t wait_ms = cvm_conf_number(reconciler->cvm->conf, "reconcile.interval");
    if (!wait_ms || !reconciler->timer)
        return;
    int64_t longest_ms = wait_ms > LONGEST_WAIT_MS ? wait_ms : LONGEST_WAIT_MS;
    for (uint32_t i = 1; i < reconciler->failures && wait_ms < longest_ms; i++)
        wait_ms *= 2;
    if (reconciler->timer)
        cvm_timer_start(reconciler->timer, (uint64_t)(wait_ms < longest_ms ? wait_ms : longest_ms));
}

static void finish(struct cvm_reconciler *reconciler)
{
    struct waiter *waiting = reconciler->waiting;
    cvm_error_t *error = reconciler->error;
    reconciler->failures = error ? reconciler->failures + 1 : 0;
    if (error && reconciler->failures == 1)
        cvm_log_message(reconciler->cvm->log, LOG_WARNING,
            "what is due could not be carried out, and is tried again: %s", cvm_error_text(error));
    reconciler->waiting = NULL;
    reconciler->error = NULL;
    reconciler->is_running = 0;
    if (reconciler->next_time || reconciler->must_run_again)
        begin(reconciler);
    else
        wait_for_next(reconciler);
    tell(reconciler, waiting);
    cvm_error_free(error);
}

/* An item is done; the last one of a page asks for the next page, or for the next kind. */
static void item_done(struct cvm_reconciler *reconciler)
{
    if (--reconciler->items)
        return;
    if (!*reconciler->cursor)
        reconciler->kind++;
    while (reconciler->kind < KINDS + KIND_COUNT && reconciler->kind->is_outside &&
           !is_outside(reconciler))
        reconciler->kind++;
    if (reconciler->kind < KINDS + KIND_COUNT && !reconciler->is_stopped)
        scan(reconciler);
    else
        finish(reconciler);
}

/* --- One item --------------------------------------------------------------------------------- */

static const char *uid_of(const struct item *item)
{
    return cvm_record_text(
        item->record, item->kind->is_device ? CVM_D_DEVICE_UID : CVM_C_DEVICE_UID);
}

static void item_free(struct item *item)
{
    struct cvm_reconciler *reconciler = item->reconciler;
    cvm_op_clear(&item->op);
    cvm_record_free(item->record);
    cvm_record_free(item->wanted);
    cvm_record_free(item->certificate);
    free(item);
    item_done(reconciler);
}

static void give_up(struct item *item, enum cvm_reason reason, const char *text)
{
    note_failure(item->reconciler, uid_of(item), reason, item->op.call, text);
    item_free(item);
}

static void op_failed(struct item *item)
{
    give_up(item, cvm_op_reason(&item->op), *item->op.text ? item->op.text : "failed");
}

static void without_memory(struct item *item)
{
    give_up(item, REASON_internal, "out of memory");
}

static void recorded(cvm_op_t *op)
{
    struct item *item = CVM_CONTAINER(op, struct item, op);
    if (op->answer == CVM_ANSWER_OK)
        item->kind->report(item);
    if (op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_CONFLICT)
        item_free(item); /* what somebody else changed is looked at again by a later pass */
    else
        op_failed(item);
}

/* The platform has done it. */
static int32_t is_carried_out(const struct item *item)
{
    return item->op.answer == CVM_ANSWER_OK || item->op.answer == CVM_ANSWER_NOT_FOUND;
}

static void write_down(struct item *item)
{
    cvm_store_swap(item->reconciler->cvm, &item->op, &item->change, recorded);
}

/* --- Retirement ------------------------------------------------------------------------------- */

static void revoked(cvm_op_t *op)
{
    struct item *item = CVM_CONTAINER(op, struct item, op);
    if (!is_carried_out(item)) {
        op_failed(item);
    } else if (cvm_record_set_text(item->record, CVM_C_STATE, "revoked") ||
               cvm_record_set_number(item->record, CVM_C_REVOKED_AT, cvm_now_ms())) {
        without_memory(item);
    } else {
        item->changed = item->record;
        item->change = (cvm_change_t){NULL, NULL, &item->changed, 1};
        write_down(item);
    }
}

static void revoke(struct item *item)
{
    cvm_t *cvm = item->reconciler->cvm;
    cvm_platform_step(
        cvm, &item->op, cvm->platform.revoke, "revoke", NULL, item->record, NULL, revoked);
}

static void report_revoked(const struct item *item)
{
    cvm_t *cvm = item->reconciler->cvm;
    const char *reason = cvm_record_text(item->record, CVM_C_REASON);
    cvm_metrics_add(cvm->metrics, METRIC_CERTIFICATES_REVOKED, &reason, 1);
    cvm_audit(cvm, "certificate_revoked", uid_of(item), NULL, NULL,
        cvm_record_text(item->record, CVM_C_CERTIFICATE_ID), reason);
}

/* --- Suspension ------------------------------------------------------------------------------- */

static void suspended(cvm_op_t *op)
{
    struct item *item = CVM_CONTAINER(op, struct item, op);
    if (!is_carried_out(item)) {
        op_failed(item);
        return;
    }
    item->change = (cvm_change_t){item->record, item->wanted, NULL, 0};
    write_down(item);
}

static void suspend(struct item *item)
{
    cvm_t *cvm = item->reconciler->cvm;
    int64_t is_suspended = !cvm_record_number(item->record, CVM_D_IS_ENABLED);
    item->wanted = cvm_record_copy(item->record);
    if (!item->wanted || cvm_record_set_number(item->wanted, CVM_D_IS_SUSPENDED, is_suspended))
        without_memory(item);
    else
        cvm_platform_step(
            cvm, &item->op, cvm->platform.suspend, "suspend", item->wanted, NULL, NULL, suspended);
}

static void report_suspended(const struct item *item)
{
    cvm_audit(item->reconciler->cvm,
        cvm_record_number(item->wanted, CVM_D_IS_SUSPENDED) ? "certificates_suspended"
                                                            : "certificates_resumed",
        uid_of(item), NULL, NULL, NULL, NULL);
}

/* --- Leases whose owners are gone ------------------------------------------------------------- */

/* What the owner recorded may be active by now: it retires, so that the same pass revokes it. */
static int32_t retire_left(struct item *item)
{
    const char *id = cvm_record_text(item->record, CVM_D_LEASE_CERTIFICATE_ID);
    for (uint32_t i = 0; *id && i < item->op.record_count; i++) {
        const cvm_record_t *found = item->op.records[i];
        if (strcmp(cvm_record_text(found, CVM_C_CERTIFICATE_ID), id) == 0 &&
            !cvm_record_is_state(found, "revoked"))
            item->certificate = cvm_op_take(&item->op, i);
    }
    item->changed = item->certificate;
    item->change =
        (cvm_change_t){item->record, item->wanted, &item->changed, item->certificate != NULL};
    return item->certificate ? cvm_record_set_state(item->certificate, "retiring",
                                   "cessationOfOperation", cvm_now_ms())
                             : 0;
}

static void got_left(cvm_op_t *op)
{
    struct item *item = CVM_CONTAINER(op, struct item, op);
    if (op->answer != CVM_ANSWER_OK) {
        op_failed(item);
        return;
    }
    if (cvm_lacks_certificates(op)) {
        give_up(item, REASON_conflict, "it has too many certificates that are not revoked");
        return;
    }
    item->wanted = cvm_record_copy(item->record);
    if (!item->wanted || cvm_record_set_lease(item->wanted, NULL, 0, NULL, NULL) ||
        retire_left(item))
        without_memory(item);
    else
        write_down(item);
}

static void end_lease(struct item *item)
{
    cvm_store_get_certificates(
        item->reconciler->cvm, &item->op, uid_of(item), CVM_MOST_CERTIFICATES, got_left);
}

static void report_lease(const struct item *item)
{
    cvm_audit(item->reconciler->cvm, "lease_ended", uid_of(item), NULL, NULL,
        cvm_record_text(item->certificate, CVM_C_CERTIFICATE_ID),
        "a registration did not end, and left this");
}

/* --- A pass ----------------------------------------------------------------------------------- */

static void carry_out(struct cvm_reconciler *reconciler, cvm_record_t *record)
{
    struct item *item = calloc(1, sizeof *item);
    if (!item) {
        cvm_record_free(record);
        note_failure(reconciler, NULL, REASON_internal, "reconcile", "out of memory");
        return;
    }
    item->reconciler = reconciler;
    item->kind = reconciler->kind;
    item->record = record;
    reconciler->items++;
    item->kind->run(item);
}

static void scanned(cvm_op_t *op)
{
    struct cvm_reconciler *reconciler = CVM_CONTAINER(op, struct cvm_reconciler, op);
    const char *cursor = op->outs[CVM_OUT_CURSOR];
    (void)snprintf(reconciler->cursor, sizeof reconciler->cursor, "%s", cursor ? cursor : "");
    if (op->answer != CVM_ANSWER_OK)
        note_failure(
            reconciler, NULL, cvm_op_reason(op), op->call, *op->text ? op->text : "failed");
    reconciler->items = 1; /* held until all are started */
    for (uint32_t i = 0; i < op->record_count && op->answer == CVM_ANSWER_OK; i++)
        carry_out(reconciler, cvm_op_take(op, i));
    item_done(reconciler);
}

static void scan(struct cvm_reconciler *reconciler)
{
    const struct kind *kind = reconciler->kind;
    cvm_store_scan(reconciler->cvm, &reconciler->op, kind->scan, reconciler->cursor,
        cvm_now_ms() - kind->grace_ms, is_outside(reconciler) ? OUTSIDE_PAGE : PAGE, scanned);
}

static void begin(struct cvm_reconciler *reconciler)
{
    if (reconciler->is_stopped)
        return;
    reconciler->must_run_again = reconciler->is_running;
    if (reconciler->is_running)
        return;
    reconciler->is_running = 1;
    reconciler->waiting = reconciler->next_time;
    reconciler->next_time = NULL;
    reconciler->kind = is_outside(reconciler) ? KINDS : KINDS + 1;
    *reconciler->cursor = 0;
    scan(reconciler);
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

cvm_error_t *cvm_reconcile_device(
    cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data)
{
    if (!cvm_is_ready(cvm))
        return cvm_error_new(REASON_overloaded, "the instance is not ready");
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        return cvm_error_out_of_memory();
    waiter->next = cvm->reconciler->next_time;
    waiter->callback = callback;
    waiter->user_data = user_data;
    (void)snprintf(waiter->uid, sizeof waiter->uid, "%s", uid);
    cvm->reconciler->next_time = waiter;
    cvm_hold(cvm);
    cvm_reconcile_soon(cvm);
    return NULL;
}

cvm_error_t *cvm_reconcile(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    return cvm_reconcile_device(cvm, "", callback, user_data);
}

void cvm_reconcile_stop(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    struct waiter *left = reconciler->next_time;
    reconciler->is_stopped = 1;
    reconciler->next_time = NULL;
    cvm_timer_free(reconciler->timer);
    reconciler->timer = NULL;
    for (struct waiter *waiter = left; waiter; waiter = waiter->next)
        waiter->error = cvm_error_new(REASON_unknown, "the instance stops");
    tell(reconciler, left);
}
