/* The signals that a server obeys, as a descriptor to wait for beside others. */
#ifndef CVM_CLI_SIGNALS_H
#define CVM_CLI_SIGNALS_H

#include <stdint.h>

/* From now on SIGTERM, SIGINT and SIGHUP are noted, and SIGPIPE is ignored. The descriptor, or -1.
 */
int signals_open(void);
/* The next one that came, or 0. */
int signals_next(void);
/* SIGTERM and SIGINT end the process again, at once. */
void signals_leave(void);
/* Whether it was opened or not. */
void signals_close(void);

#endif
