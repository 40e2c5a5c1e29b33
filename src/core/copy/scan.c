/* Going through one side's rows, page by page. */
#include "copy.h"

static void scan_answered(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    if (cvm_paging_next(&copy->scan.paging, op) < 0)
        cvm_copy_fail(copy, cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND));
    else
        copy->scan.page(copy, op);
}

static void scan_ask(struct copy *copy)
{
    struct copy_scan *scan = &copy->scan;
    struct copy_op *op = scan->side == copy->from ? &copy->from_op : &copy->to_op;
    cvm_store_scan(
        scan->side, &op->op, scan->what, scan->paging.cursor, 0, scan->limit, scan_answered);
}

void cvm_copy_scan(
    struct copy *copy, cvm_t *side, cvm_scan_t what, uint32_t limit, copy_page_fn page)
{
    copy->scan = (struct copy_scan){.side = side, .what = what, .limit = limit, .page = page};
    scan_ask(copy);
}

void cvm_copy_scan_rows(
    struct copy *copy, cvm_t *side, cvm_record_kind_t kind, uint32_t limit, copy_page_fn page)
{
    copy->kind = kind;
    cvm_copy_scan(copy, side, kind == CVM_RECORD_DEVICE ? CVM_SCAN_DEVICES : CVM_SCAN_CERTIFICATES,
        limit, page);
}

void cvm_copy_scan_on(struct copy *copy, void (*done)(struct copy *copy))
{
    if (copy->scan.paging.pages)
        scan_ask(copy);
    else
        done(copy);
}
