/* How many of something there may be, in total and from one address. Shared by all workers. */
#ifndef CVM_TRANSPORTS_LIMITS_H
#define CVM_TRANSPORTS_LIMITS_H

#include <stdint.h>

struct cvm_limits;

struct cvm_limits *cvm_limits_new(uint32_t total, uint32_t per_address);
void cvm_limits_free(struct cvm_limits *limits);
/* Takes a place. address "" is counted in the total alone. 0, or -1 if there is none. */
int32_t cvm_limits_enter(struct cvm_limits *limits, const char *address);
/* Counts a place that was taken with "" for an address too, which is learnt now. 0, or -1 if the
 * address has all that it may have; the place stays taken then, as it was. */
int32_t cvm_limits_name(struct cvm_limits *limits, const char *address);
/* Gives the place back, with the address that it is counted for. */
void cvm_limits_leave(struct cvm_limits *limits, const char *address);

#endif
