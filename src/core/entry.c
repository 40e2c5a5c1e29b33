/* Whose call it is. */
#include "entry.h"

#include <unistd.h>

#include "error.h"
#include "instance.h"

/* An address that no other thread has at the same time. */
static void *entry_this_thread(void)
{
    static _Thread_local char here;
    return &here;
}

void cvm_bind_thread(cvm_t *cvm)
{
    atomic_store(&cvm->thread, entry_this_thread());
}

int32_t cvm_is_elsewhere(const cvm_t *cvm)
{
    const void *thread = atomic_load(&cvm->thread);
    return thread && thread != entry_this_thread();
}

cvm_error_t *cvm_entry_null(const char *function)
{
    return cvm_error_new(
        REASON_invalid_argument, "%s: an argument that it needs is NULL", function);
}

cvm_error_t *cvm_entry_process(const cvm_t *cvm, const char *function)
{
    if (cvm->process == getpid())
        return NULL;
    return cvm_error_new(REASON_wrong_process,
        "%s: the instance belongs to the process that made it, and this is its child", function);
}

cvm_error_t *cvm_entry_thread(const cvm_t *cvm, const char *function)
{
    cvm_error_t *error = cvm_entry_process(cvm, function);
    if (!error && cvm_is_elsewhere(cvm))
        error = cvm_error_new(REASON_wrong_thread,
            "%s: another thread runs the instance; cvm_post() has it call this", function);
    return error;
}

cvm_error_t *cvm_check_ready(const cvm_t *cvm)
{
    return cvm_is_started(cvm) ? NULL
                               : cvm_error_new(REASON_overloaded, "the instance is not ready");
}

int32_t cvm_may_enter(const cvm_t *cvm)
{
    return cvm && cvm->process == getpid() && !cvm_is_elsewhere(cvm);
}
