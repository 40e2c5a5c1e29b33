/* What an operator asks of a running instance: to reload, whether it works, a backup, and that its
 * store takes writes again. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/at_exit.h"
#include "call.h"
#include "entry.h"
#include "health.h"
#include "instance.h"

/* A question to a backend that somebody waits for. */
struct inquiry {
    cvm_op_t op;
    struct cvm_waiter waiter;
    cvm_error_t *error; /* the first */
    char *path;         /* a backup's */
    int32_t is_empty;   /* the store */
};

static struct inquiry *inquiry_new(cvm_done_cb callback, void *user_data)
{
    struct inquiry *inquiry = calloc(1, sizeof *inquiry);
    if (inquiry)
        inquiry->waiter = (struct cvm_waiter){callback, user_data};
    return inquiry;
}

static void note(struct inquiry *inquiry, cvm_error_t *error)
{
    if (inquiry->error)
        cvm_error_free(error);
    else
        inquiry->error = error;
}

static void answered(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    note(inquiry, cvm_error_about(cvm_op_error(op), inquiry->path ? inquiry->path : ""));
    CVM_CALL_OUT(inquiry->waiter.callback(inquiry->waiter.user_data, inquiry->error));
    cvm_error_free(inquiry->error);
    cvm_op_clear(op);
    free(inquiry->path);
    free(inquiry);
}

static void reloaded(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    note(inquiry, cvm_open_error(op)); /* what was read is as if the instance were opened with it */
    if (inquiry->error)
        cvm_log_message(op->cvm->log, LOG_WARNING, "reload: %s", cvm_error_text(inquiry->error));
    else
        cvm_log_message(op->cvm->log, LOG_INFO, "reloaded");
    answered(op);
}

cvm_error_t *cvm_reload(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (error)
        return error;
    if (!cvm_is_started(cvm))
        return cvm_error_new(REASON_conflict, "the instance is not started");
    struct inquiry *inquiry = inquiry_new(callback, user_data);
    if (!inquiry)
        return cvm_error_out_of_memory();
    note(inquiry, cvm_log_reopen(cvm->log));
    note(inquiry, cvm_log_reopen(cvm->audit));
    note(inquiry, cvm_listeners_reload(cvm));
    cvm_platform_reload(cvm, &inquiry->op, reloaded);
    return NULL;
}

/* --- Does it work? ---------------------------------------------------------------------------- */

/* Would a registration succeed, and could the device connect with what it is given? By what was
 * found before, and what the platform has found now. */
static void check_health(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    if (op->answer == CVM_ANSWER_OK)
        note(inquiry, cvm_health_check(op->cvm));
    if (op->answer == CVM_ANSWER_OK && !inquiry->error && inquiry->is_empty)
        note(inquiry, cvm_error_new(REASON_store_unavailable, CVM_NO_DEVICES));
    answered(op);
}

static void check_devices(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    op->cvm->has_devices |= op->record_count > 0;
    inquiry->is_empty = !op->cvm->has_devices;
    if (op->answer == CVM_ANSWER_OK)
        cvm_platform_ready(op->cvm, op, check_health);
    else
        answered(op);
}

static void check_store(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    if (op->answer == CVM_ANSWER_OK)
        note(inquiry, cvm_clock_error(op->cvm));
    if (op->answer != CVM_ANSWER_OK || inquiry->error)
        answered(op);
    else if (op->cvm->has_devices)
        cvm_platform_ready(op->cvm, op, check_health);
    else
        cvm_store_scan(op->cvm, op, CVM_SCAN_DEVICES, "", 0, 1, check_devices);
}

cvm_error_t *cvm_check(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (error)
        return error;
    if (!cvm_is_started(cvm))
        return cvm_error_new(REASON_overloaded, "the server is not ready");
    struct inquiry *inquiry = inquiry_new(callback, user_data);
    if (!inquiry)
        return cvm_error_out_of_memory();
    cvm_store_ready(cvm, &inquiry->op, check_store);
    return NULL;
}

cvm_error_t *cvm_backup(cvm_t *cvm, const char *path, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, path && callback);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    if (!cvm->store.backup)
        return cvm_error_new(REASON_conflict, "this store has means of its own for backups");
    struct inquiry *inquiry = inquiry_new(callback, user_data);
    if (!inquiry || !(inquiry->path = strdup(path))) {
        free(inquiry);
        return cvm_error_out_of_memory();
    }
    cvm_store_backup(cvm, &inquiry->op, inquiry->path, answered);
    return NULL;
}

/* --- A frozen store --------------------------------------------------------------------------- */

static void got_frozen(cvm_op_t *op)
{
    struct inquiry *inquiry = CVM_CONTAINER(op, struct inquiry, op);
    if (op->answer == CVM_ANSWER_NOT_FOUND)
        note(inquiry, cvm_error_new(REASON_not_found, "the store is not frozen"));
    if (op->answer == CVM_ANSWER_OK)
        cvm_store_meta_put(op->cvm, op, CVM_FROZEN, op->numbers[CVM_OUT_VERSION], NULL, answered);
    else
        answered(op);
}

cvm_error_t *cvm_store_thaw(cvm_t *cvm, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (!error)
        error = cvm_check_ready(cvm);
    if (error)
        return error;
    struct inquiry *inquiry = inquiry_new(callback, user_data);
    if (!inquiry)
        return cvm_error_out_of_memory();
    cvm_store_meta_get(cvm, &inquiry->op, CVM_FROZEN, got_frozen);
    return NULL;
}
