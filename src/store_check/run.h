/* How tests are run: each in a process of its own, told as TAP. */
#ifndef CVM_CHECK_RUN_H
#define CVM_CHECK_RUN_H

#include <stdint.h>

struct run {
    const char *reset; /* the shell's; empties the store before each test */
    const char *only;  /* part of the names; NULL for all */
    uint32_t timeout_s;
};

/* Prints the tests' names. */
void run_list(void);
/* How many failed. */
uint32_t run_all(const struct run *run);

#endif
