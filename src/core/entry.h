/* What each call of the API begins with: is this the process and the thread that may call, and are
 * the arguments there? A call out of turn is an error, not a crash. */
#ifndef CVM_CORE_ENTRY_H
#define CVM_CORE_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/cvm.h"

/* For calls that belong to the thread that runs the instance. function: __func__; has_all: whatever
 * else must not be NULL is not. NULL if the call may go on; "invalid_argument", "wrong_process" or
 * "wrong_thread", the caller's. */
static inline cvm_error_t *cvm_entry(const cvm_t *cvm, const char *function, int32_t has_all);
/* The same for calls that any thread may make. */
static inline cvm_error_t *cvm_entry_of_any_thread(
    const cvm_t *cvm, const char *function, int32_t has_all);
/* "invalid_argument" if not has_all, else NULL: for calls that take no instance. */
static inline cvm_error_t *cvm_check_arguments(const char *function, int32_t has_all);
/* NULL while requests are taken, else "overloaded". */
cvm_error_t *cvm_check_ready(const cvm_t *cvm);
/* For calls that return no error. */
int32_t cvm_may_enter(const cvm_t *cvm);

/* From now on the instance belongs to this thread. */
void cvm_bind_thread(cvm_t *cvm);
/* 1 if the instance belongs to another thread. */
int32_t cvm_is_elsewhere(const cvm_t *cvm);

/* --- Here, so that whoever analyzes a call sees what is not NULL behind it ----------------------
 */

cvm_error_t *cvm_entry_null(const char *function); /* never NULL */
cvm_error_t *cvm_entry_process(const cvm_t *cvm, const char *function);
cvm_error_t *cvm_entry_thread(const cvm_t *cvm, const char *function);

static inline cvm_error_t *cvm_entry_missing(const char *function)
{
    cvm_error_t *error = cvm_entry_null(function);
    if (!error)
        __builtin_unreachable();
    return error;
}

static inline cvm_error_t *cvm_check_arguments(const char *function, int32_t has_all)
{
    return has_all ? NULL : cvm_entry_missing(function);
}

static inline cvm_error_t *cvm_entry_of_any_thread(
    const cvm_t *cvm, const char *function, int32_t has_all)
{
    return cvm && has_all ? cvm_entry_process(cvm, function) : cvm_entry_missing(function);
}

static inline cvm_error_t *cvm_entry(const cvm_t *cvm, const char *function, int32_t has_all)
{
    return cvm && has_all ? cvm_entry_thread(cvm, function) : cvm_entry_missing(function);
}

#endif
