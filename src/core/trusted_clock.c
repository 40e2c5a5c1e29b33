/*
 * The clock is trusted while it lies within the issuing CA's life, and not more than a day before
 * the latest time on record. That one is a value in the store, advanced each hour, and only if wall
 * and monotonic clock went together for that hour: a clock that is put right after boot never sets
 * it.
 */
#include "trusted_clock.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "call.h"
#include "entry.h"
#include "instance.h"

#define HOUR_MS      INT64_C(3600000)
#define BEHIND_MS    (24 * HOUR_MS)
#define APART_MS     INT64_C(60000)           /* more than an hour's slewing */
#define LATEST_MS    INT64_C(253402300799999) /* the end of the year 9999 */
#define ASK_AGAIN_MS 5000                     /* somebody may have accepted another mark */
#define ASK_STORE_MS 60000                    /* what its clock says */

#define TOLD_OFFSET_MS INT64_C(1000)
#define LONGEST_ASK_MS 2000 /* an answer that took longer says little */

/* --- The mark --------------------------------------------------------------------------------- */

void cvm_clock_take_mark(cvm_t *cvm, const cvm_op_t *op)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    const char *text = op->answer == CVM_ANSWER_OK ? op->outs[CVM_OUT_VALUE] : "";
    if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND)
        return; /* what was known holds */
    int64_t mark_ms = text ? strtoll(text, NULL, 10) : 0;
    clock->mark_ms = mark_ms > 0 && mark_ms <= LATEST_MS ? mark_ms : 0;
    clock->version = op->answer == CVM_ANSWER_OK ? op->numbers[CVM_OUT_VERSION] : 0;
    clock->is_read = 1;
}

static void clock_asked(cvm_op_t *op)
{
    op->cvm->clock.is_busy = 0;
    cvm_clock_take_mark(op->cvm, op);
}

static void clock_ask(cvm_t *cvm)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    clock->is_busy = 1;
    clock->asked_ms = cvm_monotonic_ms();
    cvm_store_meta_get(cvm, &clock->op, CVM_CLOCK_MARK, clock_asked);
}

static void clock_advanced(cvm_op_t *op)
{
    cvm_t *cvm = op->cvm;
    struct cvm_trusted_clock *clock = &cvm->clock;
    clock->is_busy = 0;
    if (op->answer == CVM_ANSWER_OK) {
        clock->mark_ms = strtoll(clock->wanted, NULL, 10);
        clock->version = op->numbers[CVM_OUT_VERSION];
    } else {
        clock_ask(cvm); /* another server was faster, or an operator has set it */
    }
}

static void clock_advance(cvm_t *cvm, int64_t now_ms)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    clock->is_busy = 1;
    (void)snprintf(clock->wanted, sizeof clock->wanted, "%lld", (long long)now_ms);
    cvm_store_meta_put(
        cvm, &clock->op, CVM_CLOCK_MARK, clock->version, clock->wanted, clock_advanced);
}

/* An hour is over: did the clocks go together? */
static void clock_compare(cvm_t *cvm, int64_t now_ms, int32_t is_trusted)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    uint64_t monotonic_ms = cvm_monotonic_ms();
    int64_t passed_ms = (int64_t)(monotonic_ms - clock->from_monotonic_ms);
    int64_t apart_ms = now_ms - clock->from_wall_ms - passed_ms;
    if (clock->from_monotonic_ms && passed_ms < HOUR_MS)
        return;
    int32_t went_together =
        clock->from_monotonic_ms && apart_ms >= -APART_MS && apart_ms <= APART_MS;
    clock->from_wall_ms = now_ms;
    clock->from_monotonic_ms = monotonic_ms;
    if (went_together && is_trusted && now_ms > clock->mark_ms && clock->is_read)
        clock_advance(cvm, now_ms);
}

/* Of the store's clock the distance to the monotonic one is known, which nobody sets. */
int64_t cvm_wall_ms(const cvm_t *cvm)
{
    int64_t ahead_ms = atomic_load(&cvm->clock.ahead_of_monotonic_ms);
    return ahead_ms ? (int64_t)cvm_monotonic_ms() + ahead_ms : cvm_now_ms();
}

/* --- The store's clock ------------------------------------------------------------------------ */

static void clock_tell_offset(cvm_t *cvm, int64_t offset_ms, int64_t changed_ms)
{
    cvm_metrics_set(cvm->metrics, METRIC_STORE_CLOCK_OFFSET, NULL, (double)offset_ms / 1000);
    if (llabs(offset_ms) <= TOLD_OFFSET_MS || llabs(changed_ms) <= TOLD_OFFSET_MS)
        return;
    cvm_log_message(cvm->log, LOG_WARNING,
        "the store's clock is %.1f s %s this machine's; leases and what is due go by it",
        (double)llabs(offset_ms) / 1000, offset_ms > 0 ? "ahead of" : "behind");
}

int32_t cvm_store_clock_is_known(const cvm_t *cvm)
{
    return atomic_load(&cvm->clock.ahead_of_monotonic_ms) != 0;
}

void cvm_store_clock_take(cvm_t *cvm, const cvm_op_t *op)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    int64_t store_ms = op->numbers[CVM_OUT_NOW_MS];
    int64_t took_ms = (int64_t)(cvm_monotonic_us() - op->started_us) / 1000;
    int32_t is_known = cvm_store_clock_is_known(cvm);
    int32_t is_answer = op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_NOT_FOUND;
    if (!is_answer || store_ms <= 0 || store_ms > LATEST_MS ||
        (is_known && took_ms > LONGEST_ASK_MS))
        return; /* what was known holds */
    /* It was read at some time since it was asked for: half of that on the average. */
    store_ms += took_ms / 2;
    int64_t offset_ms = store_ms - cvm_now_ms();
    atomic_store(&clock->ahead_of_monotonic_ms, store_ms - (int64_t)cvm_monotonic_ms());
    clock_tell_offset(cvm, offset_ms, offset_ms - clock->offset_ms);
    clock->offset_ms = offset_ms;
}

static void clock_told(cvm_op_t *op)
{
    op->cvm->clock.is_store_asked = 0;
    cvm_store_clock_take(op->cvm, op);
}

void cvm_store_clock_ask(cvm_t *cvm)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    if (!cvm->store.now || clock->is_store_asked || !cvm_is_started(cvm))
        return;
    clock->is_store_asked = 1;
    cvm_store_now(cvm, &clock->store_op, clock_told);
}

static void clock_minute_over(void *argument)
{
    cvm_t *cvm = argument;
    cvm_store_clock_ask(cvm);
    cvm_timer_start(cvm->clock.timer, ASK_STORE_MS);
}

int32_t cvm_store_clock_start(cvm_t *cvm)
{
    if (!cvm->store.now || cvm->clock.timer)
        return 0;
    cvm->clock.timer = cvm_timer_new(cvm->loop, clock_minute_over, cvm);
    if (!cvm->clock.timer)
        return -1;
    cvm_timer_start(cvm->clock.timer, ASK_STORE_MS);
    return 0;
}

void cvm_store_clock_stop(cvm_t *cvm)
{
    cvm_timer_free(cvm->clock.timer);
    cvm->clock.timer = NULL;
}

/* --- The question ----------------------------------------------------------------------------- */

void cvm_clock_bound(cvm_t *cvm, int64_t begins_ms, int64_t ends_ms)
{
    cvm->clock.begins_ms = begins_ms;
    cvm->clock.ends_ms = ends_ms;
}

static void clock_explain(struct cvm_trusted_clock *clock, const char *whose, int64_t now_ms,
    const char *what, int64_t then_ms, const char *advice)
{
    char now[CVM_RFC3339_SIZE], then[CVM_RFC3339_SIZE];
    (void)snprintf(clock->why, sizeof clock->why, "%s clock says %s, which is %s (%s)%s", whose,
        cvm_rfc3339(now_ms, now), what, cvm_rfc3339(then_ms, then), advice);
}

/* 1 if a clock is wrong; says why. */
static int32_t clock_is_wrong(struct cvm_trusted_clock *clock, const char *whose, int64_t now_ms)
{
    if (clock->begins_ms && now_ms < clock->begins_ms)
        clock_explain(clock, whose, now_ms, "before the issuing CA begins", clock->begins_ms, "");
    else if (clock->ends_ms && now_ms >= clock->ends_ms)
        clock_explain(clock, whose, now_ms, "when the issuing CA is over", clock->ends_ms, "");
    else if (now_ms < clock->mark_ms - BEHIND_MS)
        clock_explain(clock, whose, now_ms, "more than a day before the latest time on record",
            clock->mark_ms, "; if that one is wrong: `cvm store clock --accept`");
    else
        return 0;
    return 1;
}

/* One loud line when it begins, one when it ends. */
static void clock_tell(cvm_t *cvm, int32_t is_doubted)
{
    if (cvm->clock.is_doubted != is_doubted && is_doubted)
        cvm_log_message(
            cvm->log, LOG_ERROR, "nothing is issued, published or carried out: %s", cvm->clock.why);
    else if (cvm->clock.is_doubted != is_doubted)
        cvm_log_message(cvm->log, LOG_WARNING, "the clock is right again");
    cvm->clock.is_doubted = is_doubted;
    cvm_metrics_set(cvm->metrics, METRIC_CLOCK_TRUSTED, NULL, !is_doubted);
}

const char *cvm_clock_doubt(cvm_t *cvm)
{
    struct cvm_trusted_clock *clock = &cvm->clock;
    int64_t now_ms = cvm_now_ms(); /* what certificates and CRLs are signed by */
    /* What is due, and leases, go by the store's. */
    int32_t is_doubted = clock_is_wrong(clock, "the", now_ms) ||
                         clock_is_wrong(clock, "the store's", cvm_wall_ms(cvm));
    clock_tell(cvm, is_doubted);
    if (!clock->is_busy && cvm->how & CVM_OPEN_RECONCILE && cvm_is_started(cvm)) {
        clock_compare(cvm, now_ms, !is_doubted);
        if (is_doubted && !clock->is_busy && cvm_monotonic_ms() - clock->asked_ms >= ASK_AGAIN_MS)
            clock_ask(cvm);
    }
    return is_doubted ? clock->why : NULL;
}

cvm_error_t *cvm_clock_error(cvm_t *cvm)
{
    const char *why = cvm_clock_doubt(cvm);
    return why ? cvm_error_new(REASON_platform_unavailable, "%s", why) : NULL;
}

cvm_error_t *cvm_check_clock(cvm_t *cvm)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, 1);
    return error ? error : cvm_clock_error(cvm);
}

void cvm_clock_clear(cvm_t *cvm)
{
    cvm_op_clear(&cvm->clock.op);
    cvm_op_clear(&cvm->clock.store_op);
}
