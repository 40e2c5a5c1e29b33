/* Reads the system's clocks, and lets tests turn them. */
#include "clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static _Atomic int64_t wall_ahead_ms, monotonic_ahead_ms;

/* The month's number from 1 on; 0 if it is none. */
static int read_month(const char *text)
{
    static const char NAMES[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int month = 1; month <= 12; month++)
        if (strncmp(text, NAMES + 3 * (size_t)(month - 1), 3) == 0)
            return month;
    return 0;
}

int64_t cvm_read_utc(const char *text, const char *form)
{
    int parts[6] = {0}; /* as FIELDS has them */
    static const char FIELDS[] = "YMDhms";
    for (; *form; form++, text++) {
        const char *field = strchr(FIELDS, *form);
        if (field && *text >= '0' && *text <= '9')
            parts[field - FIELDS] = parts[field - FIELDS] * 10 + (*text - '0');
        else if (*form == 'b' && (parts[1] = read_month(text)))
            text += strlen("bb"), form += strlen("bb");
        else if (field || *form == 'b' || !*text || (*form != '?' && *form != *text))
            return -1;
    }
    const struct tm utc = {.tm_year = parts[0] - 1900,
        .tm_mon = parts[1] - 1,
        .tm_mday = parts[2],
        .tm_hour = parts[3],
        .tm_min = parts[4],
        .tm_sec = parts[5]};
    return parts[1] < 1 || parts[1] > 12 ? -1 : cvm_utc_ms(&utc);
}

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
    const struct timespec wait = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    (void)nanosleep(&wait, NULL);
}

/* --- The calendar ----------------------------------------------------------------------------- */

#define EPOCH_DAYS                                                                                 \
    719468 /* from 1 March of the year 0, where years of the rule below begin, to 1970 */

/* Days from 1970 to the first day of a month (0 to 12), of years from 1 on. In a year that begins
 * in March the leap day is the last, and five months have 153 days. */
static int64_t days_before(int64_t year, int64_t month)
{
    int64_t months = year * 12 + month - 2; /* since March of the year 0 */
    int64_t years = months / 12, leap_days = years / 4 - years / 100 + years / 400;
    return years * 365 + leap_days + (months % 12 * 153 + 2) / 5 - EPOCH_DAYS;
}

int64_t cvm_utc_ms(const struct tm *utc)
{
    int64_t days = days_before(utc->tm_year + INT64_C(1900), utc->tm_mon) + utc->tm_mday - 1;
    return (((days * 24 + utc->tm_hour) * 60 + utc->tm_min) * 60 + utc->tm_sec) * 1000;
}

void cvm_utc(int64_t ms, struct tm *utc)
{
    int64_t seconds = ms >= 0 && ms < CVM_UTC_END_MS ? ms / 1000 : 0;
    int64_t days = seconds / 86400, year = 1970 + days / 366; /* or a few more */
    while (days_before(year + 1, 0) <= days)
        year++;
    int32_t month = 0;
    while (month < 11 && days_before(year, month + 1) <= days)
        month++;
    *utc = (struct tm){.tm_year = (int)(year - 1900),
        .tm_mon = month,
        .tm_mday = (int)(days - days_before(year, month)) + 1,
        .tm_hour = (int)(seconds % 86400 / 3600),
        .tm_min = (int)(seconds % 3600 / 60),
        .tm_sec = (int)(seconds % 60),
        .tm_wday = (int)((days + 4) % 7), /* 1 January 1970 was a Thursday */
        .tm_yday = (int)(days - days_before(year, 0))};
}

char *cvm_print_utc(int64_t ms, const char *form, char *text, size_t size)
{
    struct tm utc;
    cvm_utc(ms, &utc);
    if (!strftime(text, size, form, &utc))
        *text = 0;
    return text;
}

char *cvm_rfc3339(int64_t ms, char text[CVM_RFC3339_SIZE])
{
    return cvm_print_utc(ms, "%Y-%m-%dT%H:%M:%SZ", text, CVM_RFC3339_SIZE);
}

char *cvm_rfc3339_ms(int64_t ms, char text[CVM_RFC3339_SIZE])
{
    size_t used = strlen(cvm_print_utc(ms, "%Y-%m-%dT%H:%M:%S", text, CVM_RFC3339_SIZE));
    (void)snprintf(text + used, CVM_RFC3339_SIZE - used, ".%03dZ", (int)(ms % 1000));
    return text;
}
