/* Trying again: what an attempt reports, and how long to wait before the next. */
#ifndef CVM_DEVICE_RETRY_H
#define CVM_DEVICE_RETRY_H

#include <stdbool.h>

struct retry {
    int retries;   /* attempts after the first */
    double base_s; /* the first wait is drawn from 0 to this; the range doubles each time */
    int stop_fd;
};

/* What came of one attempt; status 0 is success. */
struct attempt {
    int status;
    bool retryable;
    long at_least_s; /* what the other side asked to wait, 0 if nothing */
    char reason[512];
};

typedef void attempt_fn(void *subject, struct attempt *attempt);

/* Fills in a failure. */
void attempt_failed(struct attempt *attempt, int status, bool retryable, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Attempts until one succeeds, one fails for good, the retries are used up, or a signal says stop.
 * Reports each failure. Returns 0 or the last failure's status. */
int retry_run(const struct retry *how, attempt_fn *attempt_once, void *subject);

#endif
