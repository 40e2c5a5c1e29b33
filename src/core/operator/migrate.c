/* Making a store, or bringing it up to date, before anything is opened. */
#include <stddef.h>
#include <stdlib.h>

#include "base/at_exit.h"
#include "call.h"
#include "entry.h"
#include "instance.h"

struct migration {
    cvm_op_t op;
    cvm_text_cb callback;
    void *user_data;
};

static void migrated(cvm_op_t *op)
{
    struct migration *migration = CVM_CONTAINER(op, struct migration, op);
    const char *text = op->outs[CVM_OUT_VALUE];
    cvm_error_t *error = cvm_open_error(op);
    CVM_CALL_OUT(migration->callback(migration->user_data, error, error || !text ? "" : text));
    cvm_error_free(error);
    cvm_op_clear(op);
    free(migration);
}

cvm_error_t *cvm_store_migrate(cvm_t *cvm, int32_t print, cvm_text_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (error)
        return error;
    if (cvm->state != STATE_NEW)
        return cvm_error_new(REASON_conflict, "the instance was started already");
    if (!cvm->store.migrate)
        return cvm_error_new(REASON_conflict,
            "store '%s' is made, and brought up to date, by a server that starts",
            cvm->store_context.kind);
    struct migration *migration = calloc(1, sizeof *migration);
    if (!migration)
        return cvm_error_out_of_memory();
    migration->callback = callback;
    migration->user_data = user_data;
    cvm_op_start(&migration->op, cvm, SIDE_STORE, "migrate", migrated);
    cvm->store.migrate(cvm->store_context.self, &migration->op, print ? CVM_MIGRATE_PRINT : 0);
    return NULL;
}
