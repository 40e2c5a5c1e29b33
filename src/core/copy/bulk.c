/* A pass over the source, page by page: what is new to the target goes over in one batch, and of
 * what is not as the target has it the device is noted, for one.c. A batch that the target refuses
 * is tried in halves, down to the row that is to blame: others may still have what it needs, such
 * as its key. */
#include <string.h>

#include "copy.h"

#define CERTIFICATE_PAGE 500 /* of up to 8 KiB of PEM each */

static void bulk_load(struct copy *copy);

void cvm_copy_clear_page(struct copy *copy)
{
    for (uint32_t i = 0; i < copy->page_count; i++)
        cvm_record_free(copy->page[i]);
    copy->page_count = copy->page_at = 0;
}

static const char *bulk_uid(const struct copy *copy, const cvm_record_t *record)
{
    return cvm_record_text(
        record, copy->kind == CVM_RECORD_DEVICE ? CVM_D_DEVICE_UID : CVM_C_DEVICE_UID);
}

/* --- Into the target -------------------------------------------------------------------------- */

/* Those of the batch are there now. */
static int32_t bulk_note_loaded(struct copy *copy)
{
    for (uint32_t i = copy->page_at; i < copy->page_at + copy->page_window; i++)
        if (cvm_copy_remember(copy, copy->kind, copy->page[i]))
            return -1;
    copy->written += copy->page_window;
    copy->page_at += copy->page_window;
    copy->page_window = copy->page_count - copy->page_at;
    return 0;
}

/* A row that somebody has added since is none of ours. */
static int32_t bulk_is_loaded(const struct copy *copy)
{
    for (uint32_t i = 0; i < copy->loading.count; i++)
        if (copy->rows[i] != CVM_LOAD_INSERTED)
            return 0;
    return 1;
}

static void bulk_loaded(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    int32_t is_refused =
        cvm_copy_is_refusal(op->answer) || (op->answer == CVM_ANSWER_OK && !bulk_is_loaded(copy));
    if (!is_refused && cvm_copy_has_failed(copy, op))
        return;
    if (!is_refused && bulk_note_loaded(copy)) {
        cvm_copy_fail(copy, cvm_error_out_of_memory());
        return;
    }
    if (is_refused && copy->page_window > 1) {
        copy->page_window /= 2;
    } else if (is_refused) {
        if (cvm_copy_note(copy, &copy->changed, bulk_uid(copy, copy->page[copy->page_at])))
            return;
        copy->page_at++;
        copy->page_window = copy->page_count - copy->page_at;
    }
    bulk_load(copy);
}

static void bulk_look_at_changed(struct copy *copy)
{
    cvm_copy_changed(copy, cvm_copy_next);
}

/* What is left of the page, or half of it. */
static void bulk_load(struct copy *copy)
{
    if (copy->page_at == copy->page_count) {
        cvm_copy_clear_page(copy);
        cvm_copy_scan_on(copy, bulk_look_at_changed);
        return;
    }
    copy->loading = (cvm_loading_t){.size = sizeof copy->loading, .rows = copy->rows};
    memset(copy->rows, CVM_LOAD_NONE, copy->page_window);
    if (copy->kind == CVM_RECORD_DEVICE) {
        copy->loading.devices = copy->page + copy->page_at;
        copy->loading.count = copy->page_window;
    } else {
        copy->loading.certificates = (const cvm_record_t *const *)(copy->page + copy->page_at);
        copy->loading.certificate_count = copy->page_window;
    }
    cvm_store_load(copy->to, &copy->to_op.op, &copy->loading, bulk_loaded);
}

/* --- Out of the source ------------------------------------------------------------------------ */

/* New to the target, or not as it is there? 0, or -1: it has failed. */
static int32_t bulk_sort(struct copy *copy, cvm_op_t *op, uint32_t i)
{
    const cvm_record_t *record = op->records[i];
    struct copy_row *row =
        cvm_copy_map_find(cvm_copy_map_of(copy, copy->kind), cvm_record_text(record, 0));
    if (copy->is_last)
        cvm_copy_sum_add(&copy->sums[0][copy->kind == CVM_RECORD_CERTIFICATE], copy->kind, record);
    if (!row) {
        copy->page[copy->page_count++] = cvm_op_take(op, i);
        return 0;
    }
    int32_t can_tell = row->pass != COPY_GONE && (copy->kind != CVM_RECORD_DEVICE ||
                                                     cvm_record_number(record, CVM_D_REVISION));
    if (row->pass != COPY_GONE)
        row->pass = copy->pass;
    return can_tell && row->value == cvm_copy_value_of(copy->kind, record)
               ? 0
               : cvm_copy_note(copy, &copy->changed, bulk_uid(copy, record));
}

static void bulk_page(struct copy *copy, cvm_op_t *op)
{
    for (uint32_t i = 0; i < op->record_count; i++)
        if (bulk_sort(copy, op, i))
            return;
    copy->page_window = copy->page_count;
    if (!cvm_copy_tell(copy, copy->kind == CVM_RECORD_DEVICE ? "devices" : "certificates",
            cvm_copy_map_of(copy, copy->kind)->count))
        bulk_load(copy);
}

void cvm_copy_devices(struct copy *copy)
{
    cvm_copy_scan_rows(copy, copy->from, CVM_RECORD_DEVICE, COPY_PAGE, bulk_page);
}

void cvm_copy_certificates(struct copy *copy)
{
    cvm_copy_scan_rows(copy, copy->from, CVM_RECORD_CERTIFICATE, CERTIFICATE_PAGE, bulk_page);
}

/* --- What the source has no more -------------------------------------------------------------- */

static void remove_noted(struct copy *copy)
{
    cvm_copy_scan_on(copy, cvm_copy_next);
}

static void remove_page(struct copy *copy, cvm_op_t *op)
{
    for (uint32_t i = 0; i < op->record_count; i++) {
        const char *uid = cvm_record_text(op->records[i], CVM_D_DEVICE_UID);
        const struct copy_row *row = cvm_copy_map_find(&copy->devices, uid);
        if ((!row || row->pass != copy->pass) && cvm_copy_note(copy, &copy->changed, uid))
            return;
    }
    cvm_copy_changed(copy, remove_noted);
}

/* Whose key the next ones may want. */
void cvm_copy_remove_devices(struct copy *copy)
{
    if (cvm_copy_map_unseen(&copy->devices, copy->pass))
        cvm_copy_scan_rows(copy, copy->to, CVM_RECORD_DEVICE, COPY_PAGE, remove_page);
    else
        cvm_copy_next(copy);
}
