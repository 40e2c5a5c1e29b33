/* Lines that anybody can cause are written in full up to a rate; what is beyond it is summed up, so
 * that no stranger can fill a log. */
#ifndef CVM_CORE_THROTTLE_H
#define CVM_CORE_THROTTLE_H

#include <stdint.h>

#include "log.h"

struct cvm_loop;
struct cvm_throttle;

/* For the lines of one log. A peer's lines of one kind are written in full up to per_address a
 * minute, all peers' and kinds' up to total; 0 turns a bound off. The sums are written on the loop.
 * NULL without memory. */
struct cvm_throttle *cvm_throttle_new(
    struct cvm_loop *loop, struct cvm_log *log, int64_t per_address, int64_t total);
/* Any thread. Returns 1 if the line is to be written. Else it is counted, and told in the next sum,
 * at its level: "6214 more in 10 s: KIND", with the peer and the last few uids. peer and uid may be
 * "", then it is bounded by the total alone. IPv6 peers of one /64 are one; kind is one of a few.
 */
int32_t cvm_throttle_takes(struct cvm_throttle *throttle, enum cvm_log_level level,
    const char *peer, const char *kind, const char *uid);
/* On the loop, before it closes: writes what is summed up, and lets go of the loop. NULL is fine.
 */
void cvm_throttle_stop(struct cvm_throttle *throttle);
/* NULL is fine. */
void cvm_throttle_free(struct cvm_throttle *throttle);

/* The throttle of the instance's log, for transports. */
struct cvm_throttle *cvm_throttle_of(cvm_t *cvm);

#endif
