/* Removing the parts of CRLs that were replaced. */
#ifndef CVM_LOCAL_SWEEP_H
#define CVM_LOCAL_SWEEP_H

#include "heads.h"
#include "platform.h"

/* On the loop. Removes those that were replaced an hour ago, and all but the last few of an
 * issuer's, if there are others than before; once a minute at most, and in its own time. What fails
 * is left for the next one. */
void cvm_sweep(struct platform *platform, const struct crl_heads *heads);

#endif
