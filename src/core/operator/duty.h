/* Who carries out what is due, of several servers on one store: on a platform outside, whose quota
 * is one for all of them, a server at a time. It holds a lease, a value of the store's; another one
 * takes over when that ends. What a verb or a registration makes due is not held up: that is its
 * device's. */
#ifndef CVM_CORE_OPERATOR_DUTY_H
#define CVM_CORE_OPERATOR_DUTY_H

#include "op.h"

#define CVM_DUTY "reconciler" /* in the store's meta: the owner, and until when */

struct cvm_duty {
    cvm_op_t op;
    char owner[33], value[64]; /* the value as it is written */
    int64_t until_ms; /* by the store's clock; the lease's end, as it was last known */
    int32_t is_mine, is_asked;
    void (*told)(cvm_t *cvm, const cvm_error_t *error);
};

/* May this instance begin? Then, or once the store has answered, told() hears of it, on the loop:
 * by duty->is_mine, or by an error. */
void cvm_duty_ask(
    cvm_t *cvm, struct cvm_duty *duty, void (*told)(cvm_t *cvm, const cvm_error_t *error));
/* Does it still hold, for what was begun? */
int32_t cvm_duty_holds(const cvm_t *cvm, const struct cvm_duty *duty);
void cvm_duty_clear(struct cvm_duty *duty);

#endif
