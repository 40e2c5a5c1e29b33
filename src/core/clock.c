/* Wall-clock time: now, and its RFC 3339 form. */
#include "clock.h"

#include <stdio.h>
#include <time.h>

int64_t cvm_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
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
