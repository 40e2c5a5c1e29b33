/* The one clock, wall and monotonic: nobody else reads one, but OpenSSL where it verifies. Timers
 * are the loop's (core/loop.h). */
#ifndef CVM_BASE_CLOCK_H
#define CVM_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define CVM_RFC3339_SIZE 32

/* Wall-clock time as it is stored and shown: milliseconds since 1970. Any thread. */
int64_t cvm_now_ms(void);
/* A clock that nobody sets, for durations. Any thread. */
uint64_t cvm_monotonic_us(void);
uint64_t cvm_monotonic_ms(void);
/* Blocks the thread. */
void cvm_sleep_us(uint32_t us);

/* The calendar, by numbers of 64 bits: time_t has 32 on some machines, and ends in 2038 there. */
struct tm;
#define CVM_UTC_END_MS INT64_C(253402300800000) /* the year 10000 */
/* A time's parts in UTC; of one outside 1970 to 9999 those of 1970's beginning. */
void cvm_utc(int64_t ms, struct tm *utc);
int64_t cvm_utc_ms(const struct tm *utc);
/* As strftime() prints it; "" where there is no room. Returns text. */
char *cvm_print_utc(int64_t ms, const char *form, char *text, size_t size);
/* RFC 3339 in UTC, whole seconds: "2026-01-31T12:00:00Z". Returns text. */
char *cvm_rfc3339(int64_t ms, char text[CVM_RFC3339_SIZE]);
/* The same with milliseconds, for logs. */
char *cvm_rfc3339_ms(int64_t ms, char text[CVM_RFC3339_SIZE]);

/* Reads a time in UTC, milliseconds since 1970; -1 if text does not begin in that form. In it Y, M,
 * D, h, m and s stand for a digit each, bbb for an English month's name, ? for anything, and all
 * else for itself. */
int64_t cvm_read_utc(const char *text, const char *form);

/* For tests: from now on both clocks are ahead of the system's by so much (negative: behind). */
void cvm_clock_turn(int64_t wall_ms, int64_t monotonic_ms);

#endif
