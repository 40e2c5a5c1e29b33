/* The small values: those that differ are written, those that the source has not are removed. Their
 * versions are each store's own. */
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "operator/duty.h"

#define PAGE 100

static void values_next(struct copy *copy);

/* Values that are not copied. */
static int32_t values_is_reserved(const char *name)
{
    return strcmp(name, CVM_FROZEN) == 0 || strcmp(name, COPY_MARK) == 0 ||
           strcmp(name, CVM_CLOCK_MARK) == 0 || strcmp(name, CVM_DUTY) == 0;
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

static void values_begin(struct copy *copy)
{
    cvm_copy_drop_duplicates(&copy->names);
    copy->name_at = 0;
    if (!cvm_copy_tell(copy, "values", copy->names.count))
        values_next(copy);
}

static void values_page(struct copy *copy, cvm_op_t *op);

static void values_list_target(struct copy *copy)
{
    cvm_copy_scan(copy, copy->to, CVM_SCAN_META, PAGE, values_page);
}

static void values_page(struct copy *copy, cvm_op_t *op)
{
    for (uint32_t i = 0; i < op->record_count; i++) {
        const char *name = cvm_record_text(op->records[i], CVM_V_NAME);
        if (!values_is_reserved(name) && cvm_copy_note(copy, &copy->names, name))
            return;
    }
    cvm_copy_scan_on(copy, copy->scan.side == copy->from ? values_list_target : values_begin);
}

void cvm_copy_values(struct copy *copy)
{
    cvm_copy_scan(copy, copy->from, CVM_SCAN_META, PAGE, values_page);
}
