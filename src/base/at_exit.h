/* The end of the process. exit() has OpenSSL free what it works with while other threads go on: one
 * that is inside it then crashes. So each thread of the library says where it may be inside, and
 * exit() waits for those that are and lets no other in. Kept for the whole process; any thread. */
#ifndef CVM_BASE_AT_EXIT_H
#define CVM_BASE_AT_EXIT_H

#include <stdint.h>

/* To be called when OpenSSL has been started, so that exit() comes here first. 0, or -1. */
int32_t cvm_at_exit_init(void);
/* What may call OpenSSL begins, in this thread. When the process ends, it does not return. */
void cvm_at_exit_enter(void);
void cvm_at_exit_leave(void);
/* Around a call of the program's own code: it may wait for what the process's end has taken away.
 * Returns what resume takes. */
uint32_t cvm_at_exit_suspend(void);
void cvm_at_exit_resume(uint32_t depth);

/* Calls the program back. */
#define CVM_CALL_OUT(call)                                                                         \
    do {                                                                                           \
        uint32_t at_exit_depth = cvm_at_exit_suspend();                                            \
        call;                                                                                      \
        cvm_at_exit_resume(at_exit_depth);                                                         \
    } while (0)

#endif
