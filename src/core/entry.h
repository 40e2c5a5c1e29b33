/* What each call of the API begins with: is this the process and the thread that may call, and are
 * the arguments there? A call out of turn is an error, not a crash. */
#ifndef CVM_CORE_ENTRY_H
#define CVM_CORE_ENTRY_H

#include <stdint.h>

#include "cvm/cvm.h"

/* For calls that belong to the thread that runs the instance. function: __func__; has_all: whatever
 * else must not be NULL is not. NULL if the call may go on; "invalid_argument", "wrong_process" or
 * "wrong_thread", the caller's. */
cvm_error_t *cvm_entry(const cvm_t *cvm, const char *function, int32_t has_all);
/* The same for calls that any thread may make. */
cvm_error_t *cvm_entry_of_any_thread(const cvm_t *cvm, const char *function, int32_t has_all);
/* For calls that return no error. */
int32_t cvm_may_enter(const cvm_t *cvm);
/* "invalid_argument" if not has_all, else NULL: for calls that take no instance. */
cvm_error_t *cvm_check_arguments(const char *function, int32_t has_all);

/* From now on the instance belongs to this thread. */
void cvm_bind_thread(cvm_t *cvm);
/* 1 if the instance belongs to another thread. */
int32_t cvm_is_elsewhere(const cvm_t *cvm);

#endif
