/* Ctrl-C in what takes long: it ends between two pieces of work, and says what was done. */
#ifndef CVM_CLI_INTERRUPT_H
#define CVM_CLI_INTERRUPT_H

#include <stdint.h>

/* From now on SIGINT, SIGTERM and SIGHUP are noted; a second one ends the program. */
void interrupt_catch(void);
/* 1 once one has come. */
int32_t interrupt_came(void);

#endif
