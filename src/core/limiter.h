/* Failed proofs by address: a bounded table of token buckets. */
#ifndef CVM_CORE_LIMITER_H
#define CVM_CORE_LIMITER_H

#include <stdint.h>

struct cvm_limiter;

/* per_minute 0 limits nothing. NULL without memory. */
struct cvm_limiter *cvm_limiter_new(int64_t per_minute);
void cvm_limiter_free(struct cvm_limiter *limiter);
/* Counts a failure from an address (text without port, IPv6 by its /64). Returns 0 while it is
 * within the limit, else the seconds until the next one would be. */
uint32_t cvm_limiter_fail(struct cvm_limiter *limiter, const char *address, uint64_t now_ms);

#endif
