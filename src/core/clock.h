/* Wall-clock time as it is stored and shown. Durations are measured by the loop (loop.h). */
#ifndef CVM_CORE_CLOCK_H
#define CVM_CORE_CLOCK_H

#include <stdint.h>

#define CVM_RFC3339_SIZE 32

/* Milliseconds since 1970. */
int64_t cvm_now_ms(void);
/* RFC 3339 in UTC, whole seconds: "2026-01-31T12:00:00Z". Returns text. */
char *cvm_rfc3339(int64_t ms, char text[CVM_RFC3339_SIZE]);
/* The same with milliseconds, for logs. */
char *cvm_rfc3339_ms(int64_t ms, char text[CVM_RFC3339_SIZE]);

#endif
