/* The API, the steps, and how a copy ends. */
#include "copy.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/at_exit.h"
#include "entry.h"

#define FEW_ROWS 1000 /* that a pass has written: the next one, over a frozen source, is short */

static void copy_begin_pass(struct copy *copy);

/* --- What all steps use ----------------------------------------------------------------------- */

struct copy *cvm_copy_of(cvm_op_t *op)
{
    return CVM_CONTAINER(op, struct copy_op, op)->copy;
}

const char *cvm_copy_reason(const cvm_op_t *op)
{
    return *op->text ? op->text : cvm_reason_text(cvm_op_reason(op));
}

int32_t cvm_copy_has_failed(struct copy *copy, const cvm_op_t *op)
{
    if (op->answer == CVM_ANSWER_OK)
        return 0;
    cvm_copy_fail(copy, cvm_error_new(cvm_op_reason(op), "%s: %s: %s",
                            op->cvm == copy->from ? "from" : "to", op->call, cvm_copy_reason(op)));
    return 1;
}

int32_t cvm_copy_is_refusal(cvm_answer_t answer)
{
    return answer == CVM_ANSWER_CONFLICT || answer == CVM_ANSWER_KEY_IN_USE ||
           answer == CVM_ANSWER_INVALID;
}

int32_t cvm_copy_tell(struct copy *copy, const char *what, uint64_t count)
{
    int32_t must_end = 0;
    if (copy->progress)
        CVM_CALL_OUT(must_end = copy->progress(copy->user_data, what, count, copy->is_last));
    if (must_end)
        cvm_copy_fail(copy, cvm_error_new(REASON_unavailable, "the copy was interrupted"));
    return must_end;
}

int32_t cvm_copy_note(struct copy *copy, struct copy_ids *ids, const char *id)
{
    if (ids->count == ids->size) {
        size_t size = ids->size ? ids->size * 2 : 64;
        char **more = realloc(ids->list, size * sizeof(char *));
        if (more) {
            ids->list = more;
            ids->size = size;
        }
    }
    char *copied = ids->count < ids->size ? strdup(id) : NULL;
    if (!copied) {
        cvm_copy_fail(copy, cvm_error_out_of_memory());
        return -1;
    }
    ids->list[ids->count++] = copied;
    return 0;
}

static int copy_compare_ids(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void cvm_copy_drop_duplicates(struct copy_ids *ids)
{
    size_t count = 0;
    if (ids->count)
        qsort(ids->list, ids->count, sizeof(char *), copy_compare_ids);
    for (size_t i = 0; i < ids->count; i++) {
        if (count && strcmp(ids->list[count - 1], ids->list[i]) == 0)
            free(ids->list[i]);
        else
            ids->list[count++] = ids->list[i];
    }
    ids->count = count;
}

void cvm_copy_forget(struct copy_ids *ids)
{
    while (ids->count)
        free(ids->list[--ids->count]);
    free(ids->list);
    *ids = (struct copy_ids){.list = NULL};
}

/* --- The end ---------------------------------------------------------------------------------- */

static void copy_free(struct copy *copy)
{
    cvm_op_clear(&copy->from_op.op);
    cvm_op_clear(&copy->to_op.op);
    cvm_copy_map_clear(&copy->devices);
    cvm_copy_map_clear(&copy->certificates);
    cvm_copy_forget(&copy->changed);
    cvm_copy_forget(&copy->deferred);
    cvm_copy_forget(&copy->names);
    cvm_copy_clear_page(copy);
    free(copy->value);
    free(copy);
}

static void copy_end(struct copy *copy)
{
    char text[200];
    cvm_error_t *error = copy->error;
    (void)snprintf(text, sizeof text,
        "%zu devices and %zu certificates are in the target; %" PRIu64 " rows were written%s",
        cvm_copy_map_there(&copy->devices), copy->certificates.count, copy->total + copy->written,
        copy->is_last ? ", and all was verified" : "");
    cvm_t *from = copy->from, *to = copy->to;
    CVM_CALL_OUT(copy->callback(copy->user_data, error, error ? "" : text));
    cvm_error_free(error);
    copy_free(copy);
    cvm_release(to);
    cvm_release(from);
}

/* Says beside the reason what has become of the source. */
static void copy_add_to_error(struct copy *copy, const char *more)
{
    cvm_error_t *error = copy->error;
    copy->error = cvm_error_new(error->reason, "%.180s; %s", cvm_error_text(error), more);
    cvm_error_free(error);
}

/* Where it was not frozen as this copy had it, it is another one's. */
static void copy_thawed(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    copy_add_to_error(copy, op->answer == CVM_ANSWER_OK ? "FROM is thawed"
                            : op->answer == CVM_ANSWER_CONFLICT
                                ? "FROM was thawed by somebody else"
                                : "FROM may be frozen still: `cvm store thaw`");
    copy_end(copy);
}

void cvm_copy_end_failed(struct copy *copy)
{
    if (copy->frozen_version) {
        cvm_store_meta_put(
            copy->from, &copy->from_op.op, CVM_FROZEN, copy->frozen_version, NULL, copy_thawed);
        return;
    }
    if (copy->may_be_frozen)
        copy_add_to_error(copy, "FROM may be frozen: `cvm store thaw`");
    copy_end(copy);
}

void cvm_copy_fail(struct copy *copy, cvm_error_t *error)
{
    if (copy->error)
        cvm_error_free(error);
    else
        copy->error = error;
    if (!copy->at_once)
        cvm_copy_end_failed(copy);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void copy_opened(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    cvm_error_t *error = cvm_open_error(op);
    if (error) {
        cvm_copy_fail(copy, error);
        return;
    }
    op->cvm->store_context.is_open = 1;
    cvm_copy_next(copy);
}

static void copy_open(cvm_t *side, cvm_op_t *op, uint32_t how)
{
    cvm_op_start(op, side, SIDE_STORE, "open", copy_opened);
    side->store.open(side->store_context.self, op, how);
}

static void copy_open_source(struct copy *copy)
{
    copy_open(copy->from, &copy->from_op.op, 0);
}

static void copy_open_target(struct copy *copy)
{
    copy_open(copy->to, &copy->to_op.op, CVM_OPEN_UPDATE);
}

/* --- The mark --------------------------------------------------------------------------------- */

static void mark_put(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    copy->mark_version = op->numbers[CVM_OUT_VERSION];
    copy->has_marked = 1;
    cvm_copy_next(copy);
}

static void mark_looked(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    if (op->record_count) {
        cvm_copy_fail(
            copy, cvm_error_new(REASON_conflict,
                      "to: there are devices or certificates in it that no copy has made"));
        return;
    }
    if (copy->kind == CVM_RECORD_DEVICE) {
        copy->kind = CVM_RECORD_CERTIFICATE;
        cvm_store_scan(copy->to, op, CVM_SCAN_CERTIFICATES, "", 0, 1, mark_looked);
        return;
    }
    cvm_store_meta_put(
        copy->to, op, COPY_MARK, 0, cvm_rfc3339(cvm_now_ms(), copy->stamp), mark_put);
}

static void mark_got(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_NOT_FOUND) {
        copy->kind = CVM_RECORD_DEVICE;
        cvm_store_scan(copy->to, op, CVM_SCAN_DEVICES, "", 0, 1, mark_looked);
    } else if (!cvm_copy_has_failed(copy, op)) {
        copy->mark_version = op->numbers[CVM_OUT_VERSION];
        cvm_copy_next(copy);
    }
}

static void copy_mark(struct copy *copy)
{
    cvm_store_meta_get(copy->to, &copy->to_op.op, COPY_MARK, mark_got);
}

static void mark_taken_back(cvm_op_t *op)
{
    cvm_copy_fail(cvm_copy_of(op),
        cvm_error_new(REASON_conflict, "from: it is the target, or an incomplete copy itself"));
}

/* A source that has the mark is a target: this one's own, or one that is not complete. */
static void source_got(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_NOT_FOUND)
        cvm_copy_next(copy);
    else if (cvm_copy_has_failed(copy, op))
        return;
    else if (copy->has_marked)
        cvm_store_meta_put(
            copy->to, &copy->to_op.op, COPY_MARK, copy->mark_version, NULL, mark_taken_back);
    else
        mark_taken_back(op);
}

static void copy_check_source(struct copy *copy)
{
    cvm_store_meta_get(copy->from, &copy->from_op.op, COPY_MARK, source_got);
}

/* From here on the target may be in use, for all we know: then the source is not thawed. */
static void mark_asked(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_NOT_FOUND) {
        cvm_copy_next(copy);
        return;
    }
    if (op->answer != CVM_ANSWER_OK)
        copy->frozen_version = 0;
    cvm_copy_fail(copy, cvm_error_new(REASON_unknown,
                            "to: whether the copy is complete is not known: run it again%s",
                            copy->frozen_version ? "" : " (FROM is still frozen)"));
}

static void mark_removed(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_OK)
        cvm_copy_next(copy);
    else
        cvm_store_meta_get(copy->to, op, COPY_MARK, mark_asked);
}

static void copy_unmark(struct copy *copy)
{
    cvm_store_meta_put(
        copy->to, &copy->to_op.op, COPY_MARK, copy->mark_version, NULL, mark_removed);
}

/* --- Freezing --------------------------------------------------------------------------------- */

static void frozen_put(cvm_op_t *op);

static void frozen_write(struct copy *copy, int64_t version)
{
    cvm_store_meta_put(copy->from, &copy->from_op.op, CVM_FROZEN, version,
        cvm_rfc3339(cvm_now_ms(), copy->stamp), frozen_put);
}

static void frozen_got(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_NOT_FOUND)
        frozen_write(copy, 0);
    else if (!cvm_copy_has_failed(copy, op))
        frozen_write(copy, op->numbers[CVM_OUT_VERSION]);
}

/* It may be frozen already, by a copy that was killed: that one's freeze becomes this one's, whose
 * version no other copy knows. */
static void frozen_put(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_CONFLICT) {
        cvm_store_meta_get(copy->from, op, CVM_FROZEN, frozen_got);
        return;
    }
    copy->may_be_frozen = op->answer == CVM_ANSWER_UNKNOWN;
    if (cvm_copy_has_failed(copy, op))
        return;
    copy->frozen_version = op->numbers[CVM_OUT_VERSION];
    copy->is_last = 1;
    copy_begin_pass(copy);
}

static void copy_freeze(struct copy *copy)
{
    frozen_write(copy, 0);
}

/* Somebody has thawed it since, or another copy has taken it over. */
static void frozen_confirmed(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer == CVM_ANSWER_CONFLICT) {
        copy->frozen_version = 0;
        cvm_copy_fail(copy, cvm_error_new(REASON_conflict,
                                "from: it was thawed meanwhile, or another copy froze it: run it "
                                "again"));
    } else if (!cvm_copy_has_failed(copy, op)) {
        copy->frozen_version = op->numbers[CVM_OUT_VERSION];
        cvm_copy_next(copy);
    }
}

static void copy_confirm(struct copy *copy)
{
    cvm_store_meta_put(copy->from, &copy->from_op.op, CVM_FROZEN, copy->frozen_version,
        cvm_rfc3339(cvm_now_ms(), copy->stamp), frozen_confirmed);
}

/* --- The flow --------------------------------------------------------------------------------- */

static void copy_judge_pass(struct copy *copy);

/* The passes begin once it is known what the target has; the last one, and "finish", go over a
 * frozen source. */
typedef void (*copy_step_fn)(struct copy *copy);
static const copy_step_fn BEGIN[] = {copy_open_source, copy_open_target, copy_mark,
    copy_check_source, cvm_copy_look_for_devices, cvm_copy_look_for_certificates, copy_begin_pass};
static const copy_step_fn PASS[] = {cvm_copy_devices, cvm_copy_remove_devices,
    cvm_copy_certificates, cvm_copy_deferred, cvm_copy_values, copy_judge_pass};
static const copy_step_fn FINISH[] = {cvm_copy_verify, copy_confirm, copy_unmark, copy_end};

static void copy_go(struct copy *copy, const copy_step_fn *steps)
{
    copy->step = steps;
    (*copy->step)(copy);
}

void cvm_copy_next(struct copy *copy)
{
    copy_go(copy, copy->step + 1);
}

static void copy_begin_pass(struct copy *copy)
{
    copy->pass++;
    copy->total += copy->written;
    copy->written_before = copy->written;
    copy->written = 0;
    memset(copy->sums, 0, sizeof copy->sums);
    copy_go(copy, PASS);
}

/* While servers write, until a pass has hardly anything to do, or not much less than the one
 * before: what a source writes in the time of a pass, the next one has to do. Then the last one. */
static void copy_judge_pass(struct copy *copy)
{
    int32_t helps = copy->pass == 1 || copy->written < copy->written_before / 2;
    if (copy->is_last)
        copy_go(copy, FINISH);
    else if (copy->written > FEW_ROWS && helps)
        copy_begin_pass(copy);
    else if (copy->finishes)
        copy_freeze(copy);
    else
        copy_end(copy);
}

static cvm_error_t *copy_check(const cvm_t *from, const cvm_t *to, int32_t finishes)
{
    if (from == to || from->state != STATE_NEW || to->state != STATE_NEW)
        return cvm_error_new(REASON_conflict, "a copy takes two instances that were not started");
    if (finishes && !(from->store.flags & CVM_STORE_FREEZES))
        return cvm_error_new(REASON_conflict,
            "store '%s' can't be frozen: the last part of a copy can't be made beside servers",
            from->store_context.kind);
    return NULL;
}

cvm_error_t *cvm_store_copy(cvm_t *from, cvm_t *to, int32_t finish, cvm_copy_progress_cb progress,
    cvm_text_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(from, __func__, callback != NULL);
    if (!error)
        error = cvm_entry(to, __func__, 1);
    if (!error)
        error = copy_check(from, to, finish);
    if (error)
        return error;
    struct copy *copy = calloc(1, sizeof *copy);
    if (!copy)
        return cvm_error_out_of_memory();
    copy->from = from;
    copy->to = to;
    copy->finishes = finish;
    copy->progress = progress;
    copy->callback = callback;
    copy->user_data = user_data;
    copy->from_op.copy = copy->to_op.copy = copy;
    from->state = to->state = STATE_COPIED;
    cvm_hold(from);
    cvm_hold(to);
    copy_go(copy, BEGIN);
    return NULL;
}
