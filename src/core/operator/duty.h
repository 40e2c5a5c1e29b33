/* Who looks for what is due, of several servers on one store: on a platform outside, whose quota is
 * one for all of them, a server at a time. It holds a lease, a value of the store's; another one
 * takes over when that ends, or is given back. What a verb or a registration makes due waits for
 * nobody. */
#ifndef CVM_CORE_OPERATOR_DUTY_H
#define CVM_CORE_OPERATOR_DUTY_H

#include "op.h"

#define CVM_DUTY "reconciler" /* in the store's meta: the owner, and until when */

struct cvm_duty {
    cvm_op_t op;
    char owner[17], value[64]; /* this instance; the value as it is to be written */
    /* When the lease that is known of ends. By the monotonic clock: whoever sets another one moves
     * no lease that runs. */
    int64_t until_ms, wanted_until_ms;
    int64_t version; /* of the value, if it is this instance's */
    int32_t is_mine, is_asked, is_stopped;
    void (*told)(cvm_t *cvm, const cvm_error_t *error);
};

/* 0, or -1 without random numbers. */
int32_t cvm_duty_init(struct cvm_duty *duty);
/* May this instance begin, or go on? Then, or once the store has answered, told() hears of it, on
 * the loop: duty->is_mine, or an error. */
void cvm_duty_ask(
    cvm_t *cvm, struct cvm_duty *duty, void (*told)(cvm_t *cvm, const cvm_error_t *error));
/* Does it have to ask again, while it goes on? */
int32_t cvm_duty_must_ask(const cvm_t *cvm, const struct cvm_duty *duty);
/* How long it is known to be another's. */
uint64_t cvm_duty_others_ms(const struct cvm_duty *duty);
/* Gives it back, and takes it no more. */
void cvm_duty_stop(cvm_t *cvm, struct cvm_duty *duty);
void cvm_duty_clear(struct cvm_duty *duty);

#endif
