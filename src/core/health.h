/* What a registration, and a device's first connection after it, depend on besides the store and
 * the clock: certificates and CRLs that end, and files that others may spoil. Each is a subject,
 * named by its file. */
#ifndef CVM_CORE_HEALTH_H
#define CVM_CORE_HEALTH_H

#include <stdint.h>

#include "cvm/cvm.h"

struct cvm_health;

struct cvm_health *cvm_health_new(cvm_t *cvm);
/* On the loop, before it closes. NULL is fine, here and in free. */
void cvm_health_stop(struct cvm_health *health);
void cvm_health_free(struct cvm_health *health);

/* On the loop. Tells what is known of the subject of that name: what is wrong with it, or NULL and
 * when it begins and ends (milliseconds since 1970; 0: never). From notice_ms before its end the
 * log warns. Without memory nothing is noted. */
void cvm_health_set(cvm_t *cvm, const char *name, const char *problem, int64_t begins_ms,
    int64_t ends_ms, int64_t notice_ms);
/* On the loop. NULL, or what is wrong with the first subject that is not well now. */
cvm_error_t *cvm_health_check(cvm_t *cvm);

#endif
