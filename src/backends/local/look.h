/* Whether a device could connect with what it is given. */
#ifndef CVM_LOCAL_LOOK_H
#define CVM_LOCAL_LOOK_H

#include "platform.h"

/* On the loop. Looks at the files, reports each to the host, and then completes op, which may be
 * NULL.
 */
void cvm_look(struct platform *platform, cvm_op_t *op);
/* NULL is fine. */
void cvm_look_free(struct look *look);

#endif
