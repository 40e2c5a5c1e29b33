/* A pass over the source, page by page: what is new to the target goes over in one batch, and of
 * what is not as the target has it the device is noted, for one.c. A batch that the target refuses
 * is tried in halves, down to the row that is to blame: others may still have what it needs, such
 * as its key. */
#include <stdlib.h>
#include <string.h>

#include "copy.h"

#define DEVICE_PAGE      2000
#define CERTIFICATE_PAGE 500 /* of up to 8 KiB of PEM each */

static void bulk_scan(struct copy *copy);
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
    for (uint32_t i = copy->page_at; i < copy->page_at + copy->page_window; i++) {
        struct copy_row *row =
            cvm_copy_map_add(cvm_copy_map_of(copy), cvm_record_text(copy->page[i], 0));
        if (!row)
            return -1;
        row->value = cvm_copy_value_of(copy->kind, copy->page[i]);
        row->pass = copy->pass;
    }
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
        memcpy(copy->why, op->text, sizeof copy->why);
        if (cvm_copy_note(copy, &copy->changed, bulk_uid(copy, copy->page[copy->page_at])))
            return;
        copy->page_at++;
        copy->page_window = copy->page_count - copy->page_at;
    }
    bulk_load(copy);
}

/* What is left of the page, or half of it. */
static void bulk_load(struct copy *copy)
{
    if (copy->page_at == copy->page_count) {
        cvm_copy_clear_page(copy);
        if (copy->paging.pages)
            bulk_scan(copy);
        else
            cvm_copy_changed(copy, cvm_copy_next);
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
    struct copy_row *row = cvm_copy_map_find(cvm_copy_map_of(copy), cvm_record_text(record, 0));
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

static void bulk_scanned(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    for (uint32_t i = 0; i < op->record_count; i++)
        if (bulk_sort(copy, op, i))
            return;
    if (cvm_paging_next(&copy->paging, op) < 0) {
        cvm_copy_fail(copy, cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND));
        return;
    }
    copy->page_window = copy->page_count;
    if (!cvm_copy_tell(copy, copy->kind == CVM_RECORD_DEVICE ? "devices" : "certificates",
            cvm_copy_map_of(copy)->count))
        bulk_load(copy);
}

static void bulk_scan(struct copy *copy)
{
    int32_t is_device = copy->kind == CVM_RECORD_DEVICE;
    cvm_store_scan(copy->from, &copy->from_op.op,
        is_device ? CVM_SCAN_DEVICES : CVM_SCAN_CERTIFICATES, copy->paging.cursor, 0,
        is_device ? DEVICE_PAGE : CERTIFICATE_PAGE, bulk_scanned);
}

static void bulk_begin(struct copy *copy, cvm_record_kind_t kind)
{
    copy->kind = kind;
    copy->paging = (struct cvm_paging){.pages = 0};
    free(copy->page);
    free(copy->rows);
    copy->page = calloc(DEVICE_PAGE, sizeof(cvm_record_t *));
    copy->rows = calloc(DEVICE_PAGE, 1);
    if (copy->page && copy->rows)
        bulk_scan(copy);
    else
        cvm_copy_fail(copy, cvm_error_out_of_memory());
}

void cvm_copy_devices(struct copy *copy)
{
    bulk_begin(copy, CVM_RECORD_DEVICE);
}

void cvm_copy_certificates(struct copy *copy)
{
    bulk_begin(copy, CVM_RECORD_CERTIFICATE);
}

/* --- What the source has no more -------------------------------------------------------------- */

static void remove_scan(struct copy *copy);

static void remove_noted(struct copy *copy)
{
    if (copy->paging.pages)
        remove_scan(copy);
    else
        cvm_copy_next(copy);
}

static void remove_scanned(cvm_op_t *op)
{
    struct copy *copy = cvm_copy_of(op);
    if (cvm_copy_has_failed(copy, op))
        return;
    for (uint32_t i = 0; i < op->record_count; i++) {
        const char *uid = cvm_record_text(op->records[i], CVM_D_DEVICE_UID);
        const struct copy_row *row = cvm_copy_map_find(&copy->devices, uid);
        if ((!row || row->pass != copy->pass) && cvm_copy_note(copy, &copy->changed, uid))
            return;
    }
    if (cvm_paging_next(&copy->paging, op) < 0)
        cvm_copy_fail(copy, cvm_error_new(REASON_store_unavailable, CVM_GOES_ROUND));
    else
        cvm_copy_changed(copy, remove_noted);
}

static void remove_scan(struct copy *copy)
{
    cvm_store_scan(copy->to, &copy->to_op.op, CVM_SCAN_DEVICES, copy->paging.cursor, 0, DEVICE_PAGE,
        remove_scanned);
}

/* Whose key the next ones may want. */
void cvm_copy_remove_devices(struct copy *copy)
{
    copy->paging = (struct cvm_paging){.pages = 0};
    if (cvm_copy_map_unseen(&copy->devices, copy->pass))
        remove_scan(copy);
    else
        cvm_copy_next(copy);
}
