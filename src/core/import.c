/* Import in batches: rows are collected by the caller and written in one change. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/at_exit.h"
#include "base/hex.h"
#include "call.h"
#include "entry.h"
#include "instance.h"
#include "record.h"
#include "token.h"

#define LARGEST_BATCH 10000

struct cvm_batch_s {
    uint32_t limit, count;
    int32_t is_part; /* the audit is the caller's */
    cvm_record_t **devices;
    uint8_t *rows; /* what became of each, a cvm_load_t */
    /* While it is written: */
    int32_t is_busy, must_free;
    cvm_op_t op;
    cvm_loading_t loading;
    cvm_batch_cb callback;
    void *user_data;
};

cvm_batch_t *cvm_batch_new(uint32_t limit)
{
    if (!limit || limit > LARGEST_BATCH)
        return NULL;
    cvm_batch_t *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    batch->devices = calloc(limit, sizeof(cvm_record_t *));
    batch->rows = calloc(limit, 1);
    if (!batch->devices || !batch->rows) {
        cvm_batch_free(batch);
        return NULL;
    }
    batch->limit = limit;
    return batch;
}

static void batch_clear(cvm_batch_t *batch)
{
    while (batch->count)
        cvm_record_free(batch->devices[--batch->count]);
}

/* NULL if the batch is the caller's now. */
static cvm_error_t *batch_entry(const cvm_batch_t *batch, const char *function, int32_t has_all)
{
    cvm_error_t *error = cvm_check_arguments(function, batch && has_all);
    if (!error && batch->is_busy)
        error = cvm_error_new(REASON_conflict, "%s: the batch is being written", function);
    return error;
}

cvm_error_t *cvm_batch_clear(cvm_batch_t *batch)
{
    cvm_error_t *error = batch_entry(batch, __func__, 1);
    if (!error)
        batch_clear(batch);
    return error;
}

void cvm_batch_free(cvm_batch_t *batch)
{
    if (!batch)
        return;
    batch->must_free = batch->is_busy; /* once it is written */
    if (batch->is_busy)
        return;
    batch_clear(batch);
    cvm_op_clear(&batch->op);
    free(batch->devices);
    free(batch->rows);
    free(batch);
}

cvm_error_t *cvm_batch_add(
    cvm_batch_t *batch, const char *uid, const char *token_sha256, int32_t is_enabled)
{
    char hash[CVM_TOKEN_HASH_SIZE];
    cvm_error_t *error = batch_entry(batch, __func__, uid && token_sha256);
    if (error)
        return error;
    if (batch->count == batch->limit)
        return cvm_error_new(REASON_invalid_request, "the batch is full");
    if (!cvm_uid_is_valid(uid) || !cvm_is_hex(token_sha256, 64))
        return cvm_error_new(REASON_invalid_request, "a row is a device_uid and a SHA-256 in hex");
    (void)snprintf(hash, sizeof hash, CVM_TOKEN_HASH_PREFIX "%s", token_sha256);
    cvm_record_t *device = cvm_record_new(CVM_RECORD_DEVICE);
    if (!device || cvm_record_set_text(device, CVM_D_DEVICE_UID, uid) ||
        cvm_record_set_text(device, CVM_D_DEVICE_TOKEN, hash) ||
        cvm_record_set_number(device, CVM_D_IS_ENABLED, is_enabled != 0)) {
        cvm_record_free(device);
        return cvm_error_out_of_memory();
    }
    batch->rows[batch->count] = CVM_LOAD_NONE;
    batch->devices[batch->count++] = device;
    return NULL;
}

uint32_t cvm_batch_count(const cvm_batch_t *batch)
{
    return batch ? batch->count : 0;
}

const char *cvm_batch_uid(const cvm_batch_t *batch, uint32_t i)
{
    return batch && i < batch->count ? cvm_record_text(batch->devices[i], CVM_D_DEVICE_UID) : NULL;
}

int32_t cvm_batch_row(const cvm_batch_t *batch, uint32_t i)
{
    static const cvm_row_t ROWS[] = {[CVM_LOAD_NONE] = CVM_ROW_NONE,
        [CVM_LOAD_INSERTED] = CVM_ROW_INSERTED,
        [CVM_LOAD_UNCHANGED] = CVM_ROW_UNCHANGED,
        [CVM_LOAD_CONFLICT] = CVM_ROW_CONFLICT,
        [CVM_LOAD_REPLACED] = CVM_ROW_REPLACED};
    if (!batch || i >= batch->count)
        return -1;
    return batch->rows[i] <= CVM_LOAD_REPLACED ? (int32_t)ROWS[batch->rows[i]] : CVM_ROW_NONE;
}

/* One line for what a batch inserted: the rows are the file's. A replaced token gets its own. */
static void audit(cvm_t *cvm, const cvm_batch_t *batch)
{
    char detail[48];
    uint32_t inserted = 0;
    for (uint32_t i = 0; i < batch->count; i++) {
        int32_t row = cvm_batch_row(batch, i);
        inserted += row == CVM_ROW_INSERTED;
        if (row == CVM_ROW_REPLACED)
            cvm_audit(cvm, "token_replaced", cvm_batch_uid(batch, i), NULL, NULL, NULL, NULL);
    }
    (void)snprintf(detail, sizeof detail, "%u devices", inserted);
    if (inserted && !batch->is_part)
        cvm_audit(cvm, "devices_imported", NULL, NULL, NULL, NULL, detail);
}

static void loaded(cvm_op_t *op)
{
    cvm_batch_t *batch = CVM_CONTAINER(op, cvm_batch_t, op);
    cvm_error_t *error = cvm_op_error(op);
    if (!error)
        audit(op->cvm, batch);
    int32_t must_free = batch->must_free;
    batch->is_busy = 0;
    CVM_CALL_OUT(batch->callback(batch->user_data, error, batch)); /* which may free it */
    cvm_error_free(error);
    if (must_free)
        cvm_batch_free(batch);
}

cvm_error_t *cvm_batch_set_part(cvm_batch_t *batch, int32_t is_part)
{
    cvm_error_t *error = batch_entry(batch, __func__, 1);
    if (!error)
        batch->is_part = is_part;
    return error;
}

cvm_error_t *cvm_import(
    cvm_t *cvm, cvm_batch_t *batch, int32_t replace_tokens, cvm_batch_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, batch && callback);
    if (!error)
        error = batch_entry(batch, __func__, 1);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    batch->is_busy = 1;
    batch->callback = callback;
    batch->user_data = user_data;
    batch->loading = (cvm_loading_t){.size = sizeof batch->loading,
        .flags = replace_tokens ? CVM_LOAD_REPLACE_TOKENS : 0,
        .devices = batch->devices,
        .count = batch->count,
        .rows = batch->rows};
    cvm_store_load(cvm, &batch->op, &batch->loading, loaded);
    return NULL;
}
