/* SIGINT and SIGTERM, as a descriptor that becomes readable and stays so. */
#ifndef CVM_DEVICE_STOP_H
#define CVM_DEVICE_STOP_H

#include <stdbool.h>
#include <stdint.h>

/* Catches the two signals, ignores SIGPIPE, and returns the descriptor; -1 on failure. */
int stop_open(void);

/* Sleeps for `ms` milliseconds, or less if asked to stop; true if so. 0 only asks. */
bool stop_wait(int stop_fd, int64_t ms);

/* Milliseconds on a clock that no one sets; for deadlines only. */
int64_t monotonic_ms(void);

#endif
