/* Exponential back-off with full jitter: each wait is drawn evenly from 0 to a limit that doubles.
 * A fleet that lost power together, or whose server went away, so comes back spread out in time. */
#include "retry.h"

#include "report.h"
#include "stop.h"

#include <openssl/rand.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

enum {
    LIMIT_S = 60,         /* no draw is from more than this */
    LONGEST_ASKED_S = 600 /* who is asked to wait longer ends, and is started again later */
};

void attempt_failed(struct attempt *attempt, int status, bool retryable, const char *format, ...)
{
    attempt->status = status;
    attempt->retryable = retryable;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(attempt->reason, sizeof attempt->reason, format, arguments);
    va_end(arguments);
}

/* An even draw from [0, 1). */
static double draw(void)
{
    uint32_t bits = 0;
    RAND_bytes((unsigned char *)&bits, sizeof bits);
    return bits / (UINT32_MAX + 1.0);
}

/* What was asked for is waited for in full; the jitter comes on top, or a server that tells
 * everybody the same number would meet everybody again at the same moment. */
static double wait_s(const struct retry *how, int tries, long at_least_s)
{
    double limit = how->base_s;
    for (int i = 0; i < tries && limit < LIMIT_S; i++) {
        limit *= 2;
    }
    return (double)at_least_s + draw() * (limit < LIMIT_S ? limit : LIMIT_S);
}

int retry_run(const struct retry *how, attempt_fn *attempt_once, void *subject)
{
    for (int tries = 0;; tries++) {
        struct attempt attempt = {0};
        attempt_once(subject, &attempt);
        if (attempt.status == EX_OK) {
            return EX_OK;
        }
        if (!attempt.retryable || stop_wait(how->stop_fd, 0)) {
            return report(attempt.status, "%s", attempt.reason);
        }
        if (tries == how->retries) {
            return report(attempt.status, "%s; given up after %d tries", attempt.reason, tries + 1);
        }
        if (attempt.at_least_s > LONGEST_ASKED_S) {
            return report(attempt.status, "%s; run again in %ld s, as the server asks",
                attempt.reason, attempt.at_least_s);
        }
        const double pause_s = wait_s(how, tries, attempt.at_least_s);
        report(attempt.status, "%s; next try in %.1f s", attempt.reason, pause_s);
        if (stop_wait(how->stop_fd, (int64_t)(pause_s * 1000))) {
            return attempt.status;
        }
    }
}
