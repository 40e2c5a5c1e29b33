/* One question: may the instance act on its clock? A certificate or a CRL that is made by a wrong
 * clock is useless, or refuses every device. */
#ifndef CVM_CORE_TRUSTED_CLOCK_H
#define CVM_CORE_TRUSTED_CLOCK_H

#include "op.h"

#define CVM_CLOCK_MARK "clock_mark" /* in the store's meta: milliseconds since 1970 */

struct cvm_trusted_clock {
    cvm_op_t op; /* reads or advances the mark */
    int32_t is_busy, is_doubted, is_read;
    int64_t begins_ms, ends_ms; /* the issuing CA's life; 0: not told */
    int64_t mark_ms;            /* the latest time on record */
    int64_t version;            /* of the mark in the store; 0: there is none */
    char wanted[24];            /* the mark's text */
    /* The store's clock, where it has one: */
    cvm_op_t store_op;
    struct cvm_timer *timer;
    int32_t is_store_asked;
    int64_t offset_ms; /* that it was ahead of the machine's when it was asked */
    _Atomic int64_t ahead_of_monotonic_ms; /* 0: not known */
    /* Since when wall and monotonic clock are compared. */
    int64_t from_wall_ms;
    uint64_t from_monotonic_ms, asked_ms;
    char why[240];
};

/* NULL if it may, or why not; static until the next call. Once an hour this advances the mark. On
 * the loop. */
const char *cvm_clock_doubt(cvm_t *cvm);
/* The same as an error: cvm_check_clock(), inside the library. */
cvm_error_t *cvm_clock_error(cvm_t *cvm);
/* The wall clock of the instance, which is the store's where it has one: milliseconds since 1970.
 * Any thread. */
int64_t cvm_wall_ms(const cvm_t *cvm);
/* From now on the clock must lie within these times. */
void cvm_clock_bound(cvm_t *cvm, int64_t begins_ms, int64_t ends_ms);
/* Takes what meta_get answered for the mark. */
void cvm_clock_take_mark(cvm_t *cvm, const cvm_op_t *op);
void cvm_clock_clear(cvm_t *cvm);

int32_t cvm_store_clock_is_known(const cvm_t *cvm);
/* Takes what the store's now answered, or its meta_get beside a value or none. */
void cvm_store_clock_take(cvm_t *cvm, const cvm_op_t *op);
/* Asks for it, if the store has a clock. */
void cvm_store_clock_ask(cvm_t *cvm);
/* Asks each minute from now on. 0, or -1 without memory. */
int32_t cvm_store_clock_start(cvm_t *cvm);
void cvm_store_clock_stop(cvm_t *cvm);

#endif
