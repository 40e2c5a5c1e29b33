/* A device whose clock was never set knows a lower bound of the time: the program was built at some
 * time, servers have told the time since, and the system's clock, if it is later than both, has
 * been set by someone (a clock that nobody set starts in the past). The latest of the three is
 * "now".
 *
 * A lower bound can prove that a certificate has expired. It can never prove that one is not valid
 * yet, so trust.c doesn't judge that. */
#include "clock.h"

#include "files.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_FILE "clock"

enum { CLOCK_SIZE = 32 };

static time_t later(time_t a, time_t b)
{
    return a > b ? a : b;
}

/* Seconds since 1970, as clock_remember wrote them; 0, which bounds nothing, if there are none. */
static time_t remembered(const struct store *store)
{
    char text[CLOCK_SIZE];
    if (file_read(store->folder, CLOCK_FILE, text, sizeof text) <= 0) {
        return 0;
    }
    return (time_t)strtoll(text, NULL, 10);
}

time_t clock_now(const struct store *store)
{
    const time_t bound = later((time_t)CVM_DEVICE_BUILD_DATE, remembered(store));
    return later(time(NULL), bound);
}

int clock_remember(const struct store *store, time_t server_time)
{
    if (server_time <= remembered(store)) {
        return EX_OK;
    }
    char text[CLOCK_SIZE];
    const int length = snprintf(text, sizeof text, "%" PRId64 "\n", (int64_t)server_time);
    if (file_write(store->folder, CLOCK_FILE, text, (size_t)length) != 0) {
        return report(EX_CONFIG, "%s/" CLOCK_FILE ": %s", store->path, strerror(errno));
    }
    return EX_OK;
}

bool clock_parse(const char *text, time_t *time)
{
    struct tm fields = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &fields);
    if (rest != NULL && *rest == '.') {
        rest += 1 + strspn(rest + 1, "0123456789");
    }
    if (rest == NULL || strcmp(rest, "Z") != 0) {
        return false;
    }
    *time = timegm(&fields);
    return *time > 0;
}
