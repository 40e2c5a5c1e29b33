/*
 * Devices that are not in the target as the source has them: each the device, then its
 * certificates, what is not current first; several devices at once. Each is written as a server
 * would: a revision goes up by one with each write, so a device that was written three times since
 * is written three times; one that began anew is removed, and put there whole. What is refused is
 * deferred to the pass's end: another device may have its key until then.
 *
 *   source → target → { load | swap … | remove, load } → certificates → { load | swap } … → the end
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"

#define AT_ONCE           64
#define MOST_WRITES       100000
#define MOST_CERTIFICATES 10000

/* One device on its way. */
struct one {
    struct copy *copy;
    const char *uid;
    struct copy_op from_op, to_op;
    cvm_record_t *source, *target; /* the device on both sides; either may be NULL */
    cvm_record_t **certificates;
    uint32_t count, at;
    cvm_record_t *retiring; /* certificate `at` on its way to revoked, while that is written */
    int32_t has_retired;    /* it was */
    int32_t is_loaded;      /* the device was removed there, or never was */
    uint8_t row;            /* what a load of the device did */
    cvm_loading_t loading;
    cvm_change_t change;
};

static void one_begin_more(struct copy *copy);
static void one_write_device(struct one *one);
static void one_ask_certificates(struct one *one);
static void one_write_certificate(struct one *one);

/* --- The end of one --------------------------------------------------------------------------- */

static struct one *one_of(cvm_op_t *op)
{
    return CVM_CONTAINER(op, struct copy_op, op)->owner;
}

static void one_end(struct one *one)
{
    struct copy *copy = one->copy;
    cvm_record_free(one->source);
    cvm_record_free(one->target);
    cvm_record_free(one->retiring);
    for (uint32_t i = 0; i < one->count; i++)
        cvm_record_free(one->certificates[i]);
    free(one->certificates);
    cvm_op_clear(&one->from_op.op);
    cvm_op_clear(&one->to_op.op);
    free(one);
    (void)cvm_copy_tell(copy, "changed devices", copy->changed_at);
    copy->at_once--;
    one_begin_more(copy);
}

/* 1 if op did not answer OK: then it is the end, of this one or of all. */
static int32_t one_is_over(struct one *one, const cvm_op_t *op)
{
    struct copy *copy = one->copy;
    if (op->answer == CVM_ANSWER_OK)
        return 0;
    if (cvm_copy_is_refusal(op->answer)) {
        (void)snprintf(copy->why, sizeof copy->why, "%s", cvm_copy_reason(op));
        (void)cvm_copy_note(copy, &copy->deferred, one->uid);
    } else {
        (void)cvm_copy_has_failed(copy, op);
    }
    one_end(one);
    return 1;
}

static void one_without_memory(struct one *one)
{
    cvm_copy_fail(one->copy, cvm_error_out_of_memory());
    one_end(one);
}

/* --- The device ------------------------------------------------------------------------------- */

/* It is as it is at the source. */
static void one_has_device(struct one *one)
{
    struct copy *copy = one->copy;
    struct copy_row *row = cvm_copy_map_find(&copy->devices, one->uid);
    if (!one->source && row)
        row->pass = COPY_GONE;
    if (one->source && cvm_copy_remember(copy, CVM_RECORD_DEVICE, one->source))
        one_without_memory(one);
    else
        one_ask_certificates(one);
}

static void one_loaded(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (one_is_over(one, op))
        return;
    one->copy->written++;
    one->is_loaded = 1;
    one_has_device(one);
}

static void one_load(struct one *one)
{
    one->loading = (cvm_loading_t){
        .size = sizeof one->loading, .devices = &one->source, .count = 1, .rows = &one->row};
    cvm_store_load(one->copy->to, &one->to_op.op, &one->loading, one_loaded);
}

/* The target's is one write further. */
static void one_swapped(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (one_is_over(one, op))
        return;
    one->copy->written++;
    int64_t revision = cvm_record_number(one->target, CVM_D_REVISION) + 1;
    cvm_record_free(one->target);
    one->target = cvm_record_copy(one->source);
    if (!one->target || cvm_record_set_number(one->target, CVM_D_REVISION, revision))
        one_without_memory(one);
    else
        one_write_device(one);
}

static void one_removed(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (one_is_over(one, op))
        return;
    one->copy->written++;
    cvm_record_free(one->target);
    one->target = NULL;
    one_write_device(one);
}

/* By the revision; of a row that has none, since another writer made it, by all else. */
static int32_t one_is_same(const struct one *one)
{
    int64_t wanted = cvm_record_number(one->source, CVM_D_REVISION);
    if (wanted)
        return wanted == cvm_record_number(one->target, CVM_D_REVISION);
    for (uint32_t i = 0; i < CVM_DEVICE_FIELD_COUNT; i++)
        if (i != CVM_D_REVISION &&
            (strcmp(cvm_record_text(one->source, i), cvm_record_text(one->target, i)) != 0 ||
                cvm_record_number(one->source, i) != cvm_record_number(one->target, i)))
            return 0;
    return 1;
}

/* The next write that makes the target's as the source's. */
static void one_write_device(struct one *one)
{
    cvm_t *to = one->copy->to;
    int64_t wanted = one->source ? cvm_record_number(one->source, CVM_D_REVISION) : 0;
    int64_t there = one->target ? cvm_record_number(one->target, CVM_D_REVISION) : 0;
    int32_t is_same = one->source && one->target ? one_is_same(one) : one->source == one->target;
    int32_t is_later = wanted > there && there > 0 && wanted - there <= MOST_WRITES;
    if (is_same) {
        one_has_device(one);
    } else if (!one->target) {
        one_load(one);
    } else if (one->source && is_later && !one->copy->is_forced) {
        one->change = cvm_change_of(one->target, one->source, NULL, 0);
        cvm_store_swap(to, &one->to_op.op, &one->change, one_swapped);
    } else {
        one->change = cvm_change_of(one->target, NULL, NULL, 0);
        cvm_store_remove(to, &one->to_op.op, &one->change, one_removed);
    }
}

/* *record: what get answered, NULL for NOT_FOUND. 1 if it is over. */
static int32_t one_take(struct one *one, cvm_op_t *op, cvm_record_t **record)
{
    *record = op->answer == CVM_ANSWER_OK ? cvm_op_take(op, 0) : NULL;
    return op->answer != CVM_ANSWER_NOT_FOUND && one_is_over(one, op);
}

static void one_got_target(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (!one_take(one, op, &one->target))
        one_write_device(one);
}

static void one_got_source(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (!one_take(one, op, &one->source))
        cvm_store_get(one->copy->to, &one->to_op.op, one->uid, one_got_target);
}

/* --- Its certificates ------------------------------------------------------------------------- */

static void one_next_certificate(struct one *one)
{
    struct copy *copy = one->copy;
    if (cvm_copy_remember(copy, CVM_RECORD_CERTIFICATE, one->certificates[one->at])) {
        one_without_memory(one);
        return;
    }
    copy->written++;
    one->at++;
    one->has_retired = 0;
    one_write_certificate(one);
}

static void one_certificate_loaded(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (!one_is_over(one, op))
        one_next_certificate(one);
}

/* Where all was so already, it is revoked as it is. */
static void one_certificate_swapped(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (op->answer != CVM_ANSWER_NOT_FOUND && one_is_over(one, op))
        return;
    int32_t goes_on = one->retiring != NULL;
    cvm_record_free(one->retiring);
    one->retiring = NULL;
    one->has_retired = 1;
    if (goes_on)
        one_write_certificate(one);
    else
        one_next_certificate(one);
}

static void one_load_certificate(struct one *one)
{
    one->loading = (cvm_loading_t){.size = sizeof one->loading,
        .certificates = (const cvm_record_t *const *)(one->certificates + one->at),
        .certificate_count = 1,
        .rows = &one->row};
    cvm_store_load(one->copy->to, &one->to_op.op, &one->loading, one_certificate_loaded);
}

/* On its way to revoked one retires for the same reason: a store keeps that of one that retires. */
static void one_swap_certificate(struct one *one)
{
    cvm_record_t *const *written = one->certificates + one->at;
    if (!one->has_retired && cvm_record_is_state(*written, "revoked")) {
        one->retiring = cvm_record_copy(*written);
        if (!one->retiring || cvm_record_set_text(one->retiring, CVM_C_STATE, "retiring")) {
            one_without_memory(one);
            return;
        }
        written = &one->retiring;
    }
    one->change = cvm_change_of(NULL, NULL, (const cvm_record_t *const *)written, 1);
    cvm_store_swap(one->copy->to, &one->to_op.op, &one->change, one_certificate_swapped);
}

static void one_claimed(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (!one_is_over(one, op))
        one_end(one);
}

/* A device that was removed has lost its keys: what is loaded has them. */
static void one_claim_keys(struct one *one)
{
    if (!one->is_loaded || !one->count) {
        one_end(one);
        return;
    }
    one->loading = (cvm_loading_t){.size = sizeof one->loading,
        .certificates = (const cvm_record_t *const *)one->certificates,
        .certificate_count = one->count,
        .rows = &one->row};
    cvm_store_load(one->copy->to, &one->to_op.op, &one->loading, one_claimed);
}

/* The next one that is not as it is there. */
static void one_write_certificate(struct one *one)
{
    for (; one->at < one->count; one->at++) {
        const cvm_record_t *certificate = one->certificates[one->at];
        const struct copy_row *row = cvm_copy_map_find(
            &one->copy->certificates, cvm_record_text(certificate, CVM_C_CERTIFICATE_ID));
        if (!row) {
            one_load_certificate(one);
            return;
        }
        if (row->value != cvm_copy_value_of(CVM_RECORD_CERTIFICATE, certificate)) {
            one_swap_certificate(one);
            return;
        }
    }
    one_claim_keys(one);
}

/* What is not current first. */
static int one_compare(const void *left, const void *right)
{
    return cvm_record_is_state(*(cvm_record_t *const *)left, "current") -
           cvm_record_is_state(*(cvm_record_t *const *)right, "current");
}

static void one_got_certificates(cvm_op_t *op)
{
    struct one *one = one_of(op);
    if (one_is_over(one, op))
        return;
    one->certificates = op->records;
    one->count = op->record_count;
    op->records = NULL;
    op->record_count = 0;
    if (one->count)
        qsort(one->certificates, one->count, sizeof(cvm_record_t *), one_compare);
    one_write_certificate(one);
}

static void one_ask_certificates(struct one *one)
{
    cvm_store_get_certificates(
        one->copy->from, &one->from_op.op, one->uid, MOST_CERTIFICATES, one_got_certificates);
}

/* --- All of them ------------------------------------------------------------------------------ */

static void one_begin(struct copy *copy, const char *uid)
{
    struct one *one = calloc(1, sizeof *one);
    copy->at_once++;
    if (!one) {
        cvm_copy_fail(copy, cvm_error_out_of_memory());
        copy->at_once--;
        return;
    }
    one->copy = one->from_op.copy = one->to_op.copy = copy;
    one->from_op.owner = one->to_op.owner = one;
    one->uid = uid;
    cvm_store_get(copy->from, &one->from_op.op, uid, one_got_source);
}

/* The copy has come to its end only once none is on its way. */
static void one_begin_more(struct copy *copy)
{
    while (!copy->error && copy->at_once < AT_ONCE && copy->changed_at < copy->changed.count)
        one_begin(copy, copy->changed.list[copy->changed_at++]);
    if (copy->at_once)
        return;
    cvm_copy_forget(&copy->changed);
    if (copy->error)
        cvm_copy_end_failed(copy);
    else
        copy->changed_done(copy);
}

void cvm_copy_changed(struct copy *copy, void (*done)(struct copy *copy))
{
    cvm_copy_drop_duplicates(&copy->changed); /* noted once for each certificate */
    copy->changed_done = done;
    copy->changed_at = 0;
    copy->at_once = 0;
    one_begin_more(copy);
}

/* --- Those that were left for later ----------------------------------------------------------- */

static void deferred_round(struct copy *copy);

/* As long as there are fewer each time; then once more by force: two devices may each wait for the
 * other's key. What is left of a source that goes on changing is the next pass's. */
static void deferred_done(struct copy *copy)
{
    int32_t has_helped = copy->deferred.count < copy->changed_at;
    if (copy->deferred.count && (has_helped || !copy->is_forced)) {
        copy->is_forced |= !has_helped;
        deferred_round(copy);
        return;
    }
    cvm_error_t *error = NULL;
    copy->is_forced = 0;
    if (copy->deferred.count && copy->is_last)
        error = cvm_error_new(REASON_conflict,
            "%zu devices are refused by the target, %.40s among them: %.100s", copy->deferred.count,
            copy->deferred.list[0], copy->why);
    cvm_copy_forget(&copy->deferred);
    if (error)
        cvm_copy_fail(copy, error);
    else
        cvm_copy_next(copy);
}

static void deferred_round(struct copy *copy)
{
    copy->changed = copy->deferred;
    copy->deferred = (struct copy_ids){.list = NULL};
    cvm_copy_changed(copy, deferred_done);
}

void cvm_copy_deferred(struct copy *copy)
{
    if (copy->deferred.count)
        deferred_round(copy);
    else
        cvm_copy_next(copy);
}
