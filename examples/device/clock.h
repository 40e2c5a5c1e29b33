/* What time it is at least. */
#ifndef CVM_DEVICE_CLOCK_H
#define CVM_DEVICE_CLOCK_H

#include "store.h"

#include <stdbool.h>
#include <time.h>

/* The latest time that is known to have passed. */
time_t clock_now(const struct store *store);

/* Remembers a time that an authenticated server told, if it is later than what is known. 0 or an
 * exit status, reported. */
int clock_remember(const struct store *store, time_t server_time);

/* RFC 3339 in UTC, "2026-01-31T12:00:00Z", with or without a fraction. */
bool clock_parse(const char *text, time_t *time);

#endif
