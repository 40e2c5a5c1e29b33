/* What the target has already: a copy that was cut short goes on where it was. */
#include "copy.h"

#define PAGE 1000

static void look_page(struct copy *copy);

static void look_answered(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    struct copy_map *map = cvm_copy_map_of(copy);
    if (cvm_copy_has_failed(copy, op))
        return;
    for (uint32_t i = 0; i < op->record_count; i++) {
        struct copy_row *row = cvm_copy_map_add(map, cvm_record_text(op->records[i], 0));
        if (!row) {
            cvm_copy_fail(copy, cvm_error_out_of_memory());
            return;
        }
        row->value = cvm_copy_value_of(copy->kind, op->records[i]);
    }
    int32_t goes_on = cvm_paging_next(&copy->paging, op);
    if (goes_on < 0)
        cvm_copy_fail(copy, cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND));
    else if (!goes_on)
        cvm_copy_next(copy);
    else if (!cvm_copy_tell(copy, "rows that are there already", map->count))
        look_page(copy);
}

static void look_page(struct copy *copy)
{
    cvm_store_scan(copy->to, &copy->to_op.op,
        copy->kind == CVM_RECORD_DEVICE ? CVM_SCAN_DEVICES : CVM_SCAN_CERTIFICATES,
        copy->paging.cursor, 0, PAGE, look_answered);
}

static void look_begin(struct copy *copy, cvm_record_kind_t kind)
{
    copy->kind = kind;
    copy->paging = (struct cvm_paging){.pages = 0};
    look_page(copy);
}

void cvm_copy_look_for_devices(struct copy *copy)
{
    look_begin(copy, CVM_RECORD_DEVICE);
}

void cvm_copy_look_for_certificates(struct copy *copy)
{
    look_begin(copy, CVM_RECORD_CERTIFICATE);
}
