/* Who looks for what is due, of several servers on one store: on a platform outside, whose quota is
 * one for all of them, a server at a time. It holds a lease, a value of the store's; another one
 * takes over when that ends. It is not prolonged during a pass: one that takes longer ends with it,
 * and the next pass goes on, here or elsewhere. What a verb or a registration makes due waits for
 * nobody. */
#ifndef CVM_CORE_OPERATOR_DUTY_H
#define CVM_CORE_OPERATOR_DUTY_H

#include "op.h"

#define CVM_DUTY "reconciler" /* in the store's meta: the owner, and until when */

struct cvm_duty {
    cvm_op_t op;
    char owner[17], value[64]; /* this instance; the value as it is to be written */
    int64_t until_ms;          /* by the store's clock: when the lease that is known of ends */
    int64_t wanted_until_ms;   /* of the one that is being taken */
    int32_t is_mine, is_asked;
    void (*told)(cvm_t *cvm, const cvm_error_t *error);
};

/* 0, or -1 without random numbers. */
int32_t cvm_duty_init(struct cvm_duty *duty);
/* May this instance begin? Then, or once the store has answered, told() hears of it, on the loop:
 * duty->is_mine, or an error. */
void cvm_duty_ask(
    cvm_t *cvm, struct cvm_duty *duty, void (*told)(cvm_t *cvm, const cvm_error_t *error));
/* May it go on with what it has begun? */
int32_t cvm_duty_holds(const cvm_t *cvm, const struct cvm_duty *duty);
void cvm_duty_clear(struct cvm_duty *duty);

#endif
