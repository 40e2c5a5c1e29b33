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

cvm_error_t *cvm_check_arguments(const char *function, int32_t has_all)
{
    if (has_all)
        return NULL;
    return cvm_error_new(
        REASON_invalid_argument, "%s: an argument that it needs is NULL", function);
}

cvm_error_t *cvm_entry_of_any_thread(const cvm_t *cvm, const char *function, int32_t has_all)
{
    if (cvm && cvm->process != getpid())
        return cvm_error_new(REASON_wrong_process,
            "%s: the instance belongs to the process that made it, and this is its child",
            function);
    return cvm_check_arguments(function, cvm && has_all);
}

cvm_error_t *cvm_entry(const cvm_t *cvm, const char *function, int32_t has_all)
{
    cvm_error_t *error = cvm_entry_of_any_thread(cvm, function, has_all);
    if (!error && cvm_is_elsewhere(cvm))
        error = cvm_error_new(REASON_wrong_thread,
            "%s: another thread runs the instance; cvm_post() has it call this", function);
    return error;
}

int32_t cvm_may_enter(const cvm_t *cvm)
{
    return cvm && cvm->process == getpid() && !cvm_is_elsewhere(cvm);
}
