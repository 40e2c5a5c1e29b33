/* Reads the system's clocks, and lets tests turn them. */
#include "clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static _Atomic int64_t wall_ahead_ms, monotonic_ahead_ms;

void cvm_clock_turn(int64_t wall_ms, int64_t monotonic_ms)
{
    atomic_store(&wall_ahead_ms, wall_ms);
    atomic_store(&monotonic_ahead_ms, monotonic_ms);
}

int64_t cvm_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 +
           atomic_load_explicit(&wall_ahead_ms, memory_order_relaxed);
}

uint64_t cvm_monotonic_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ahead_ms = atomic_load_explicit(&monotonic_ahead_ms, memory_order_relaxed);
    return (uint64_t)((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + ahead_ms * 1000);
}

uint64_t cvm_monotonic_ms(void)
{
    return cvm_monotonic_us() / 1000;
}

void cvm_sleep_us(uint32_t us)
{
    const struct timespec wait = {us / 1000000, (long)(us % 1000000) * 1000};
    (void)nanosleep(&wait, NULL);
}

static void broken_down(int64_t ms, struct tm *utc)
{
    time_t seconds = (time_t)(ms / 1000);
    if (!gmtime_r(&seconds, utc))
        *utc = (struct tm){.tm_mday = 1, .tm_year = 70};
}

char *cvm_rfc3339(int64_t ms, char text[CVM_RFC3339_SIZE])
{
    struct tm utc;
    broken_down(ms, &utc);
    if (!strftime(text, CVM_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc))
        *text = 0;
    return text;
}

char *cvm_rfc3339_ms(int64_t ms, char text[CVM_RFC3339_SIZE])
{
    struct tm utc;
    broken_down(ms, &utc);
    size_t used = strftime(text, CVM_RFC3339_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(text + used, CVM_RFC3339_SIZE - used, ".%03dZ", (int)(ms % 1000));
    return text;
}
