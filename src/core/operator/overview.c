/* What `cvm reconcile` does beside a pass: it tells how much is due, and goes through all devices,
 * a page at a time, for what no scan of the store tells: certificates that hang on their things and
 * that no row knows, flags that others set, certificates that a search did not come as far as. */
#include <stddef.h>
#include <stdlib.h>

#include "base/at_exit.h"
#include "call.h"
#include "due.h"
#include "entry.h"
#include "instance.h"

#define PAGE 256

struct counting {
    cvm_op_t op;
    uint32_t kind;
    uint64_t counts[DUE_KIND_COUNT];
    struct cvm_paging paging;
    cvm_due_cb callback;
    void *user_data;
};

static void count_next(cvm_t *cvm, struct counting *counting);

static void count_finish(struct counting *counting, cvm_error_t *error)
{
    const uint64_t *counts = counting->counts;
    CVM_CALL_OUT(counting->callback(counting->user_data, error, counts[DUE_LEASE],
        counts[DUE_RETIREMENT], counts[DUE_SUSPENSION]));
    cvm_error_free(error);
    cvm_op_clear(&counting->op);
    free(counting);
}

static void counted(cvm_op_t *op)
{
    struct counting *counting = CVM_CONTAINER(op, struct counting, op);
    if (op->answer != CVM_ANSWER_OK) {
        count_finish(counting, cvm_op_error(op));
        return;
    }
    int32_t more = cvm_paging_next(&counting->paging, op);
    if (more < 0) {
        count_finish(counting, cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND));
        return;
    }
    counting->counts[counting->kind] += op->record_count;
    counting->kind += !more;
    count_next(op->cvm, counting);
}

static void count_next(cvm_t *cvm, struct counting *counting)
{
    while (counting->kind < DUE_KIND_COUNT && CVM_DUE_KINDS[counting->kind].is_outside &&
           !cvm_is_outside(cvm))
        counting->kind++;
    if (counting->kind == DUE_KIND_COUNT) {
        count_finish(counting, NULL);
        return;
    }
    const struct cvm_due_kind *kind = &CVM_DUE_KINDS[counting->kind];
    cvm_store_scan(cvm, &counting->op, kind->scan, counting->paging.cursor,
        cvm_wall_ms(cvm) - kind->grace_ms, PAGE, counted);
}

cvm_error_t *cvm_due(cvm_t *cvm, cvm_due_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    struct counting *counting = calloc(1, sizeof *counting);
    if (!counting)
        return cvm_error_out_of_memory();
    counting->callback = callback;
    counting->user_data = user_data;
    count_next(cvm, counting);
    return NULL;
}
