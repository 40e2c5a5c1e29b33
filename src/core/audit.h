/* The audit: one JSON line for each change of state, and for what looks like a clone (beyond a rate
 * those are summed up). */
#ifndef CVM_CORE_AUDIT_H
#define CVM_CORE_AUDIT_H

#include "cvm/cvm.h"

/* request_id, peer, certificate_id and detail may be NULL. */
void cvm_audit(cvm_t *cvm, const char *event, const char *uid, const char *request_id,
    const char *peer, const char *certificate_id, const char *detail);
void cvm_actor_clear(cvm_t *cvm);

#endif
