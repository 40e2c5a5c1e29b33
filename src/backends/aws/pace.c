/* Slots in time, a rate that is learned. */
#include "pace.h"

#include <stddef.h>

#include "base/clock.h"

#define LEAST_RATE 0.2  /* a second */
#define FALL       0.7  /* of the rate, for each time that it is throttled */
#define RISE       0.005/* of the quota, for each call that went well */
#define DAMP_MS    1000 /* throttling within this is one event */

void cvm_aws_pace_init(struct aws_pace *pace, double quota, struct aws_pace *outer)
{
    *pace = (struct aws_pace){.quota = quota, .rate = quota, .outer = outer};
}

int64_t cvm_aws_pace_wait_ms(const struct aws_pace *pace)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    return pace->next_ms > now_ms ? pace->next_ms - now_ms : 0;
}

void cvm_aws_pace_take(struct aws_pace *pace)
{
    for (; pace; pace = pace->outer)
        pace->next_ms =
            (int64_t)cvm_monotonic_ms() + cvm_aws_pace_wait_ms(pace) + (int64_t)(1000 / pace->rate);
}

void cvm_aws_pace_succeeded(struct aws_pace *pace)
{
    pace->rate += RISE * pace->quota;
    if (pace->rate > pace->quota)
        pace->rate = pace->quota;
}

void cvm_aws_pace_throttled(struct aws_pace *pace)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms();
    if (now_ms < pace->damped_until_ms)
        return;
    pace->damped_until_ms = now_ms + DAMP_MS;
    pace->rate = pace->rate * FALL > LEAST_RATE ? pace->rate * FALL : LEAST_RATE;
}
