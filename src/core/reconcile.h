/* What the records say is due is carried out: certificates retired, suspensions put into effect,
 * leases cleared away that their owners left behind.
 * The record is the intent, so that no crash can forget it. */
#ifndef CVM_CORE_RECONCILE_H
#define CVM_CORE_RECONCILE_H

#include "cvm/cvm.h"

struct cvm_reconciler;

/* NULL without memory. */
struct cvm_reconciler *cvm_reconciler_new(cvm_t *cvm);
void cvm_reconciler_free(struct cvm_reconciler *reconciler);
/* Begins to look, every reconcile.interval. 0, or -1 without memory. */
int32_t cvm_reconcile_start(cvm_t *cvm);
/* Looks no more; who waits is told. */
void cvm_reconcile_stop(cvm_t *cvm);

#endif
