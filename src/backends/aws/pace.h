/* How fast calls of one kind may follow each other: a quota of the account's, of which others may
 * take as well. The rate falls when the service throttles, and rises again slowly. On the loop. */
#ifndef CVM_AWS_PACE_H
#define CVM_AWS_PACE_H

#include <stdint.h>

struct aws_pace {
    double quota, rate; /* calls a second */
    double next_ms;     /* the next free slot, by the monotonic clock */
    int64_t damped_until_ms;
    /* Calls are that one's too, at whose rate they come at most: a part of a larger quota. NULL:
     * there is none. */
    struct aws_pace *outer;
};

void cvm_aws_pace_init(struct aws_pace *pace, double quota, struct aws_pace *outer);
/* Milliseconds until the next free slot. */
int64_t cvm_aws_pace_wait_ms(const struct aws_pace *pace);
/* Takes that slot. */
void cvm_aws_pace_take(struct aws_pace *pace);
void cvm_aws_pace_succeeded(struct aws_pace *pace);
void cvm_aws_pace_throttled(struct aws_pace *pace);

#endif
