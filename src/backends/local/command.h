/* Running ca.crl_command. */
#ifndef CVM_LOCAL_COMMAND_H
#define CVM_LOCAL_COMMAND_H

#include <stdatomic.h>
#include <stdint.h>

/* Runs a shell command and waits for it; blocks, so call it in a thread. What takes longer than 30
 * s, or when must_end becomes true, is killed, with all that it started. Its output goes to
 * standard error. 0 if it succeeded, or -1. */
int32_t cvm_command_run(const char *command, atomic_int *must_end);

#endif
