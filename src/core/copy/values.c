/* The small values: those that differ are written, those that the source has not are removed. Their
 * versions are each store's own. */
#include <stdlib.h>
#include <string.h>

#include "copy.h"

#define PAGE 100

static void values_list(struct copy *copy, cvm_t *side, cvm_op_t *op);
static void values_next(struct copy *copy);

int32_t cvm_copy_is_reserved(const char *name)
{
    return strcmp(name, CVM_FROZEN) == 0 || strcmp(name, COPY_MARK) == 0 ||
           strcmp(name, CVM_CLOCK_MARK) == 0;
}

/* --- One value -------------------------------------------------------------------------------- */

static void values_written(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    copy->written++;
    copy->name_at++;
    values_next(copy);
}

static void values_got_target(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    const char *there = op->answer == CVM_ANSWER_OK ? op->outs[CVM_OUT_VALUE] : NULL;
    if (op->answer != CVM_ANSWER_NOT_FOUND && cvm_copy_has_failed(copy, op))
        return;
    if ((!there && !copy->value) || (there && copy->value && strcmp(there, copy->value) == 0)) {
        copy->name_at++;
        values_next(copy);
        return;
    }
    cvm_store_meta_put(copy->to, op, copy->names.list[copy->name_at],
        there ? op->numbers[CVM_OUT_VERSION] : 0, copy->value, values_written);
}

static void values_got_source(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (op->answer != CVM_ANSWER_NOT_FOUND && cvm_copy_has_failed(copy, op))
        return;
    copy->value = op->outs[CVM_OUT_VALUE];
    op->outs[CVM_OUT_VALUE] = NULL;
    cvm_store_meta_get(
        copy->to, &copy->to_op.op, copy->names.list[copy->name_at], values_got_target);
}

static void values_next(struct copy *copy)
{
    free(copy->value);
    copy->value = NULL;
    if (copy->name_at < copy->names.count) {
        cvm_store_meta_get(
            copy->from, &copy->from_op.op, copy->names.list[copy->name_at], values_got_source);
        return;
    }
    cvm_copy_forget(&copy->names);
    cvm_copy_next(copy);
}

/* --- The names of both sides ------------------------------------------------------------------ */

static void values_listed(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    for (uint32_t i = 0; i < op->record_count; i++) {
        const char *name = cvm_record_text(op->records[i], CVM_V_NAME);
        if (!cvm_copy_is_reserved(name) && cvm_copy_note(copy, &copy->names, name))
            return;
    }
    int32_t goes_on = cvm_paging_next(&copy->paging, op);
    if (goes_on < 0)
        cvm_copy_fail(copy, cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND));
    else if (goes_on)
        values_list(copy, op->cvm, op);
    else if (op == &copy->from_op.op)
        values_list(copy, copy->to, &copy->to_op.op);
    else if (!cvm_copy_tell(copy, "values", copy->names.count))
        values_next(copy);
}

static void values_list(struct copy *copy, cvm_t *side, cvm_op_t *op)
{
    cvm_store_scan(side, op, CVM_SCAN_META, copy->paging.cursor, 0, PAGE, values_listed);
}

void cvm_copy_values(struct copy *copy)
{
    copy->name_at = 0;
    copy->paging = (struct cvm_paging){.pages = 0};
    values_list(copy, copy->from, &copy->from_op.op);
}
