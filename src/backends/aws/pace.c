/* Slots in time, a rate that is learned. */
#include "pace.h"

#include <stddef.h>

#include "base/clock.h"

#define LEAST_RATE 0.2   /* a second */
#define FALL       0.7   /* of the rate, for each time that it is throttled */
#define RISE       0.005 /* of the quota, for each call that went well */
#define DAMP_MS    1000  /* throttling within this is one event */

void cvm_aws_pace_init(struct aws_pace *pace, double quota, struct aws_pace *outer)
{
    *pace = (struct aws_pace){.quota = quota, .rate = quota, .outer = outer};
}

static double slot_ms(const struct aws_pace *pace)
{
    double now_ms = (double)cvm_monotonic_ms();
    return pace->next_ms > now_ms ? pace->next_ms : now_ms;
}

int64_t cvm_aws_pace_wait_ms(const struct aws_pace *pace)
{
    return (int64_t)(slot_ms(pace) - (double)cvm_monotonic_ms());
}

/* A part's share of what the whole has learned. */
static double rate_of(const struct aws_pace *pace)
{
    double share = pace->outer ? pace->outer->rate * pace->quota / pace->outer->quota : pace->rate;
    return share < pace->rate ? share : pace->rate;
}

void cvm_aws_pace_take(struct aws_pace *pace)
{
    for (; pace; pace = pace->outer)
        pace->next_ms = slot_ms(pace) + 1000 / rate_of(pace);
}

void cvm_aws_pace_succeeded(struct aws_pace *pace)
{
    for (; pace; pace = pace->outer) {
        pace->rate += RISE * pace->quota;
        if (pace->rate > pace->quota)
            pace->rate = pace->quota;
    }
}

static double least_rate(const struct aws_pace *pace)
{
    return pace->quota < LEAST_RATE ? pace->quota : LEAST_RATE;
}

void cvm_aws_pace_throttled(struct aws_pace *pace)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    for (; pace; pace = pace->outer) {
        if (now_ms < pace->damped_until_ms)
            continue;
        pace->damped_until_ms = now_ms + DAMP_MS;
        pace->rate *= FALL;
        if (pace->rate < least_rate(pace))
            pace->rate = least_rate(pace);
    }
}
