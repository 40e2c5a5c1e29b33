/*
 * The reconciler: passes over what is due, one at a time. A pass goes through the
 * kinds of due.h, each by pages; what fails is left for a later pass.
 */
#include "reconcile.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "call.h"
#include "due.h"
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

struct cvm_reconciler {
    cvm_t *cvm;
    cvm_op_t op;
    struct cvm_mail mail;
    struct cvm_timer *timer;
    const struct cvm_due_kind *kind;
    int32_t is_running, is_posted, is_stopped, must_run_again;
    uint32_t items;     /* in flight */
    uint32_t failures;  /* passes in a row */
    cvm_error_t *error; /* the pass's first */
    char cursor[CVM_CURSOR_SIZE];
    struct waiter *waiting, *next_time; /* for the pass that runs, for the one after it */
};

static void scan(struct cvm_reconciler *reconciler);
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

/* --- Failures and the end of a pass ----------------------------------------------------------- */

/* uid: whose failure it is, "" if it is the pass's own. */
static void note_failure(
    struct cvm_reconciler *reconciler, const char *uid, const cvm_error_t *error)
{
    if (!reconciler->error)
        reconciler->error = cvm_error_new(error->reason, "%s", error->text);
    for (struct waiter *waiter = reconciler->waiting; waiter; waiter = waiter->next)
        if (!waiter->error && (!*uid || !*waiter->uid || strcmp(waiter->uid, uid) == 0))
            waiter->error = cvm_error_new(error->reason, "%s", error->text);
}

static void note_own_failure(
    struct cvm_reconciler *reconciler, enum cvm_reason reason, const char *text)
{
    cvm_error_t *error = cvm_error_new(reason, "%s", text);
    note_failure(reconciler, "", error);
    cvm_error_free(error);
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
    cvm_timer_start(reconciler->timer, (uint64_t)(wait_ms < longest_ms ? wait_ms : longest_ms));
}

static void finish(struct cvm_reconciler *reconciler)
{
    struct waiter *waiting = reconciler->waiting;
    cvm_error_t *error = reconciler->error;
    reconciler->failures = error ? reconciler->failures + 1 : 0;
    if (error && reconciler->failures == 1 && !reconciler->is_stopped)
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

/* With the page that the cursor tells, or the first of the next kind that applies. */
static void go_on(struct cvm_reconciler *reconciler)
{
    while (reconciler->kind < CVM_DUE_KINDS + CVM_DUE_KIND_COUNT && reconciler->kind->is_outside &&
           !cvm_is_outside(reconciler->cvm))
        reconciler->kind++;
    if (reconciler->kind < CVM_DUE_KINDS + CVM_DUE_KIND_COUNT && !reconciler->is_stopped) {
        scan(reconciler);
        return;
    }
    if (reconciler->kind < CVM_DUE_KINDS + CVM_DUE_KIND_COUNT)
        note_own_failure(reconciler, REASON_unknown, "the instance stops");
    finish(reconciler);
}

/* An item is done; the last one of a page asks for the next page, or for the next kind. */
static void item_done(struct cvm_reconciler *reconciler)
{
    if (--reconciler->items)
        return;
    if (!*reconciler->cursor)
        reconciler->kind++;
    go_on(reconciler);
}

/* --- A pass ----------------------------------------------------------------------------------- */

static void carried_out(void *argument, const char *uid, const cvm_error_t *error)
{
    struct cvm_reconciler *reconciler = argument;
    if (error)
        note_failure(reconciler, uid, error);
    item_done(reconciler);
}

static void scanned(cvm_op_t *op)
{
    struct cvm_reconciler *reconciler = CVM_CONTAINER(op, struct cvm_reconciler, op);
    const char *cursor = op->answer == CVM_ANSWER_OK ? op->outs[CVM_OUT_CURSOR] : NULL;
    uint32_t count = op->answer == CVM_ANSWER_OK ? op->record_count : 0;
    if (cursor && strcmp(cursor, reconciler->cursor) == 0)
        cursor = NULL; /* the store goes round in a circle */
    (void)snprintf(reconciler->cursor, sizeof reconciler->cursor, "%s", cursor ? cursor : "");
    if (op->answer != CVM_ANSWER_OK)
        note_own_failure(reconciler, cvm_op_reason(op), *op->text ? op->text : "the scan failed");
    reconciler->items = count + 1; /* one is held until all are started */
    for (uint32_t i = 0; i < count; i++)
        cvm_due_carry_out(op->cvm, reconciler->kind, cvm_op_take(op, i), carried_out, reconciler);
    item_done(reconciler);
}

static void scan(struct cvm_reconciler *reconciler)
{
    const struct cvm_due_kind *kind = reconciler->kind;
    cvm_store_scan(reconciler->cvm, &reconciler->op, kind->scan, reconciler->cursor,
        cvm_now_ms() - kind->grace_ms, cvm_is_outside(reconciler->cvm) ? OUTSIDE_PAGE : PAGE,
        scanned);
}

static void begin(struct cvm_reconciler *reconciler)
{
    reconciler->must_run_again = reconciler->is_running;
    if (reconciler->is_running)
        return;
    reconciler->is_running = 1;
    reconciler->waiting = reconciler->next_time;
    reconciler->next_time = NULL;
    reconciler->kind = CVM_DUE_KINDS;
    *reconciler->cursor = 0;
    go_on(reconciler);
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

int32_t cvm_reconcile_start(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    if (!cvm_conf_number(cvm->conf, "reconcile.interval"))
        return 0;
    reconciler->timer = cvm_timer_new(cvm->loop, interval_over, reconciler);
    if (!reconciler->timer)
        return -1;
    cvm_timer_start(reconciler->timer, 0);
    return 0;
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

/* Who waits is told by the pass that runs, or by the one that is posted. */
void cvm_reconcile_stop(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    if (!reconciler)
        return; /* there was no memory for one */
    reconciler->is_stopped = 1;
    cvm_timer_free(reconciler->timer);
    reconciler->timer = NULL;
}
