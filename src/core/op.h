/* One operation of a store or platform: started on the loop, completed from any thread, once. */
#ifndef CVM_CORE_OP_H
#define CVM_CORE_OP_H

#include <stdatomic.h>

#include "backend/registry.h"
#include "cvm/plugin.h"
#include "error.h"
#include "loop.h"

struct cvm_key;

#define CVM_OP_TEXT 240

struct cvm_op_s {
    struct cvm_mail mail;
    cvm_t *cvm;
    void (*done)(cvm_op_t *op); /* on the loop */
    const char *call;           /* the verb, a metric's label */
    enum cvm_side side;
    uint64_t started_us;
    atomic_int is_complete;
    /* Of the caller's time, by the monotonic clock; 0: nobody waits. Its owner's: it stays from one
     * verb to the next. */
    _Atomic int64_t until_ms;
    cvm_answer_t answer;
    char text[CVM_OP_TEXT];
    cvm_record_t **records;
    uint32_t record_count, most_records; /* most: what was asked for at most; 0: nothing was */
    char *outs[CVM_OUT_COUNT];
    int64_t numbers[CVM_OUT_NUMBER_COUNT];
    struct cvm_key *key; /* create_certificate's */
};

/* Makes op ready for one verb; what it answered before is gone. The verb is called right after. */
void cvm_op_start(
    cvm_op_t *op, cvm_t *cvm, enum cvm_side side, const char *call, void (*done)(cvm_op_t *op));
/* When the caller was told to ask again, in seconds; 0: the backend did not say. */
uint32_t cvm_op_retry_after_s(const cvm_op_t *op);
/* Frees what the operation answered. */
void cvm_op_clear(cvm_op_t *op);
/* Takes record i out of the answer; NULL past the end. The caller frees it. */
cvm_record_t *cvm_op_take(cvm_op_t *op, uint32_t i);
/* Takes over what another operation answered, as its own. */
void cvm_op_take_over(cvm_op_t *op, cvm_op_t *from);
/* What an answer means to a caller; REASON_ok for CVM_ANSWER_OK. */
enum cvm_reason cvm_op_reason(const cvm_op_t *op);
/* The same as an error with what the backend said; NULL for CVM_ANSWER_OK. */
cvm_error_t *cvm_op_error(const cvm_op_t *op);

#endif
