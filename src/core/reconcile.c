/*
 * The reconciler: passes over what is due, one at a time. A pass scans for the kinds of due.h, page
 * by page, and has much in flight at once, so that one CRL carries out all of it. What fails is
 * left for a later pass, each item less and less often.
 */
#include "reconcile.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "base/at_exit.h"
#include "base/clock.h"
#include "call.h"
#include "due.h"
#include "entry.h"
#include "instance.h"
#include "operator/duty.h"
#include "record.h"

#define PAGE            256
#define MOST_ITEMS      16384 /* in flight, without their PEMs: one CRL is for all of them */
#define OUTSIDE_PAGE    16    /* what a platform on the network is asked at once */
#define LONGEST_WAIT_MS 60000 /* between tries that fail */

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
    struct cvm_backoff *backoff;
    struct cvm_duty duty;
    const struct cvm_due_kind *kind; /* that is scanned for; past the end when all were */
    int32_t is_running, is_posted, is_stopped, must_run_again;
    int32_t is_scanning, is_blind;
    int32_t is_failing;  /* and that was told */
    int32_t must_settle; /* what is in flight leads to what is scanned for next */
    int32_t has_skipped; /* what waits for its next try */
    uint32_t items;      /* in flight */
    uint32_t failures;   /* passes in a row that could not look */
    cvm_error_t *error;  /* the pass's first */
    struct cvm_paging paging;
    struct waiter *waiting, *next_time; /* for the pass that runs, for the one after it */
};

#define KINDS_END (CVM_DUE_KINDS + DUE_KIND_COUNT)

static void pass_begin(struct cvm_reconciler *reconciler);
static void pass_go_on(struct cvm_reconciler *reconciler);

struct cvm_reconciler *cvm_reconciler_new(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = calloc(1, sizeof *reconciler);
    if (!reconciler || cvm_duty_init(&reconciler->duty) ||
        !(reconciler->backoff = cvm_backoff_new())) {
        free(reconciler);
        return NULL;
    }
    reconciler->cvm = cvm;
    return reconciler;
}

void cvm_reconciler_free(struct cvm_reconciler *reconciler)
{
    if (!reconciler)
        return;
    cvm_op_clear(&reconciler->op);
    cvm_duty_clear(&reconciler->duty);
    cvm_error_free(reconciler->error);
    cvm_backoff_free(reconciler->backoff);
    free(reconciler);
}

/* --- The end of a pass ------------------------------------------------------------------------ */

static void pass_note_failure(struct cvm_reconciler *reconciler, const cvm_error_t *error)
{
    if (!reconciler->error)
        reconciler->error = cvm_error_new(error->reason, "%s", error->text);
}

static void pass_note_own_failure(
    struct cvm_reconciler *reconciler, enum cvm_reason reason, const char *text)
{
    cvm_error_t *error = cvm_error_new(reason, "%s", text);
    pass_note_failure(reconciler, error);
    cvm_error_free(error);
}

/* It can't look for everything. */
static void pass_note_blindness(
    struct cvm_reconciler *reconciler, enum cvm_reason reason, const char *text)
{
    pass_note_own_failure(reconciler, reason, text);
    reconciler->is_blind = 1;
}

/* It may not look, for now. */
static void pass_give_up(
    struct cvm_reconciler *reconciler, enum cvm_reason reason, const char *text)
{
    pass_note_own_failure(reconciler, reason, text);
    reconciler->kind = KINDS_END;
}

static uint64_t reconcile_interval_ms(const struct cvm_reconciler *reconciler)
{
    return (uint64_t)cvm_conf_own_number(reconciler->cvm->conf, "reconcile.interval");
}

static uint64_t reconcile_longest_ms(uint64_t first_ms)
{
    return first_ms > LONGEST_WAIT_MS ? first_ms : LONGEST_WAIT_MS;
}

/* What can't look is tried less and less often. */
static void pass_wait_for_next(struct cvm_reconciler *reconciler)
{
    uint64_t wait_ms = reconcile_interval_ms(reconciler);
    uint64_t longest_ms = reconcile_longest_ms(wait_ms);
    uint64_t others_ms = cvm_duty_others_ms(&reconciler->duty);
    if (!wait_ms || !reconciler->timer)
        return;
    for (uint32_t i = 1; i < reconciler->failures && wait_ms < longest_ms; i++)
        wait_ms *= 2;
    if (others_ms && others_ms < longest_ms)
        longest_ms = others_ms; /* then it may be this one's */
    cvm_timer_start(reconciler->timer, wait_ms < longest_ms ? wait_ms : longest_ms);
}

static void pass_tell(
    struct cvm_reconciler *reconciler, struct waiter *waiter, const cvm_error_t *error)
{
    while (waiter) {
        struct waiter *next = waiter->next;
        CVM_CALL_OUT(waiter->callback(waiter->user_data, error));
        free(waiter);
        cvm_release(reconciler->cvm);
        waiter = next;
    }
}

/* Once, until all that was due is carried out. A wrong clock is told by its own line. */
static void pass_log(struct cvm_reconciler *reconciler, const cvm_error_t *error)
{
    if (error && !reconciler->is_failing && !reconciler->is_stopped &&
        !reconciler->cvm->clock.is_doubted)
        cvm_log_message(reconciler->cvm->log, LOG_WARNING,
            "what is due could not be carried out, and is tried again: %s", cvm_error_text(error));
    reconciler->is_failing = error || reconciler->has_skipped;
}

static void pass_finish(struct cvm_reconciler *reconciler)
{
    struct waiter *waiting = reconciler->waiting;
    cvm_error_t *error = reconciler->error;
    reconciler->failures = reconciler->is_blind ? reconciler->failures + 1 : 0;
    pass_log(reconciler, error);
    reconciler->waiting = NULL;
    reconciler->error = NULL;
    reconciler->is_running = 0;
    if (reconciler->next_time || reconciler->must_run_again)
        pass_begin(reconciler);
    else
        pass_wait_for_next(reconciler);
    pass_tell(reconciler, waiting, error);
    cvm_error_free(error);
}

/* --- Items ------------------------------------------------------------------------------------ */

static void item_carried_out(void *argument, const char *name, const cvm_error_t *error)
{
    struct cvm_reconciler *reconciler = argument;
    uint64_t first_ms = reconcile_interval_ms(reconciler);
    if (error && first_ms)
        cvm_backoff_failed(reconciler->backoff, name, cvm_monotonic_ms(), first_ms,
            reconcile_longest_ms(first_ms));
    else
        cvm_backoff_succeeded(reconciler->backoff, name);
    if (error)
        pass_note_failure(reconciler, error);
    reconciler->items--;
    pass_go_on(reconciler);
}

/* Who waits for the pass wants everything to be tried. */
static void item_start(struct cvm_reconciler *reconciler, cvm_record_t *record)
{
    const struct cvm_due_kind *kind = reconciler->kind;
    const char *name = cvm_due_name(kind, record);
    int32_t must_skip =
        !reconciler->waiting && cvm_backoff_waits(reconciler->backoff, name, cvm_monotonic_ms());
    reconciler->has_skipped |= must_skip;
    if (must_skip || cvm_due_is_running(reconciler->cvm, kind, name)) {
        cvm_record_free(record);
        return;
    }
    reconciler->items++;
    cvm_due_carry_out(reconciler->cvm, kind, record, item_carried_out, reconciler);
}

/* --- A pass ----------------------------------------------------------------------------------- */

static uint32_t pass_page(const struct cvm_reconciler *reconciler)
{
    return cvm_is_outside(reconciler->cvm) ? OUTSIDE_PAGE : PAGE;
}

/* Is there room for another page's items? */
static int32_t pass_has_room(const struct cvm_reconciler *reconciler)
{
    uint32_t most = cvm_is_outside(reconciler->cvm) ? OUTSIDE_PAGE : MOST_ITEMS;
    return reconciler->items + pass_page(reconciler) <= most;
}

/* From kind on, the first that there is on this platform. */
static const struct cvm_due_kind *pass_kind(
    const struct cvm_reconciler *reconciler, const struct cvm_due_kind *kind)
{
    while (kind < KINDS_END && kind->is_outside && !cvm_is_outside(reconciler->cvm))
        kind++;
    return kind;
}

/* The last page is there. */
static void pass_next_kind(struct cvm_reconciler *reconciler)
{
    reconciler->must_settle = reconciler->kind->leads_to_next;
    reconciler->paging = (struct cvm_paging){0};
    reconciler->kind = pass_kind(reconciler, reconciler->kind + 1);
}

static void pass_scanned(cvm_op_t *op)
{
    struct cvm_reconciler *reconciler = CVM_CONTAINER(op, struct cvm_reconciler, op);
    uint32_t count = op->answer == CVM_ANSWER_OK ? op->record_count : 0;
    int32_t more = op->answer == CVM_ANSWER_OK ? cvm_paging_next(&reconciler->paging, op) : 0;
    for (uint32_t i = 0; i < count; i++)
        item_start(reconciler, cvm_op_take(op, i));
    if (op->answer != CVM_ANSWER_OK)
        pass_note_blindness(
            reconciler, cvm_op_reason(op), *op->text ? op->text : "the scan failed");
    else if (more < 0)
        pass_note_blindness(reconciler, REASON_store_unavailable, CVM_GOES_ROUND);
    if (more <= 0)
        pass_next_kind(reconciler);
    reconciler->is_scanning = 0;
    pass_go_on(reconciler);
}

static void pass_scan(struct cvm_reconciler *reconciler)
{
    const struct cvm_due_kind *kind = reconciler->kind;
    reconciler->is_scanning = 1;
    reconciler->must_settle = 0;
    cvm_store_scan(reconciler->cvm, &reconciler->op, kind->scan, reconciler->paging.cursor,
        cvm_wall_ms(reconciler->cvm) - kind->grace_ms, pass_page(reconciler), pass_scanned);
}

static void pass_prolonged(cvm_t *cvm, const cvm_error_t *error)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    if (error)
        pass_note_blindness(reconciler, error->reason, error->text);
    if (!reconciler->duty.is_mine && !reconciler->waiting)
        reconciler->kind = KINDS_END; /* the rest is another server's */
    pass_go_on(reconciler);
}

/* Who waits for a pass gets it anyway. */
static int32_t pass_must_ask(const struct cvm_reconciler *reconciler)
{
    return !reconciler->waiting && reconciler->kind < KINDS_END &&
           cvm_duty_must_ask(reconciler->cvm, &reconciler->duty);
}

/* Scans for the next page or kind, as far as there is room; ends when all is done. */
static void pass_go_on(struct cvm_reconciler *reconciler)
{
    if (reconciler->is_scanning || !reconciler->is_running)
        return;
    if (reconciler->is_stopped && reconciler->kind < KINDS_END)
        pass_give_up(reconciler, REASON_unknown, "the instance stops");
    if (pass_must_ask(reconciler)) {
        cvm_duty_ask(reconciler->cvm, &reconciler->duty, pass_prolonged);
        return;
    }
    int32_t must_wait =
        reconciler->items && (reconciler->must_settle || !pass_has_room(reconciler));
    if (reconciler->kind < KINDS_END && !must_wait)
        pass_scan(reconciler);
    else if (reconciler->kind == KINDS_END && !reconciler->items)
        pass_finish(reconciler);
}

static void pass_begin(struct cvm_reconciler *reconciler)
{
    reconciler->must_run_again = reconciler->is_running;
    if (reconciler->is_running)
        return;
    reconciler->is_running = 1;
    reconciler->waiting = reconciler->next_time;
    reconciler->next_time = NULL;
    reconciler->is_blind = reconciler->has_skipped = 0;
    reconciler->kind = pass_kind(reconciler, CVM_DUE_KINDS);
    reconciler->paging = (struct cvm_paging){0};
    const char *doubt = cvm_clock_doubt(reconciler->cvm);
    if (doubt)
        pass_give_up(reconciler, REASON_platform_unavailable, doubt);
    pass_go_on(reconciler);
}

static void pass_begin_later(struct cvm_mail *mail)
{
    struct cvm_reconciler *reconciler = CVM_CONTAINER(mail, struct cvm_reconciler, mail);
    cvm_t *cvm = reconciler->cvm;
    reconciler->is_posted = 0;
    pass_begin(reconciler);
    cvm_release(cvm);
}

static void pass_allowed(cvm_t *cvm, const cvm_error_t *error)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    int32_t was_running = reconciler->is_running;
    if (reconciler->duty.is_mine && !reconciler->is_stopped) {
        pass_begin(reconciler);
        if (was_running)
            pass_go_on(reconciler); /* it may wait for the same answer */
        return;
    }
    reconciler->failures = error ? reconciler->failures + 1 : 0;
    reconciler->has_skipped = 0; /* what was is another's now */
    pass_log(reconciler, error);
    if (!reconciler->is_running)
        pass_wait_for_next(reconciler);
}

static void pass_interval_over(void *argument)
{
    struct cvm_reconciler *reconciler = argument;
    cvm_duty_ask(reconciler->cvm, &reconciler->duty, pass_allowed);
}

/* --- The instance's side ---------------------------------------------------------------------- */

int32_t cvm_reconcile_start(cvm_t *cvm)
{
    struct cvm_reconciler *reconciler = cvm->reconciler;
    if (!reconcile_interval_ms(reconciler) || reconciler->timer)
        return 0;
    reconciler->timer = cvm_timer_new(cvm->loop, pass_interval_over, reconciler);
    if (!reconciler->timer)
        return -1;
    cvm_timer_start(reconciler->timer, 0);
    return 0;
}

static void reconcile_soon(struct cvm_reconciler *reconciler)
{
    if (reconciler->is_posted)
        return;
    reconciler->is_posted = 1;
    reconciler->mail.open = pass_begin_later;
    cvm_hold(reconciler->cvm);
    cvm_loop_post(reconciler->cvm->loop, &reconciler->mail);
}

cvm_error_t *cvm_reconcile(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    struct waiter *waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        return cvm_error_out_of_memory();
    *waiter = (struct waiter){cvm->reconciler->next_time, callback, user_data};
    cvm->reconciler->next_time = waiter;
    cvm_hold(cvm);
    reconcile_soon(cvm->reconciler);
    return NULL;
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
    cvm_duty_stop(cvm, &reconciler->duty);
}
