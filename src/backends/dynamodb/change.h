/* A change on its way: what it is made of, and what is known of the rows that it is about. */
#ifndef CVM_DYNAMODB_CHANGE_H
#define CVM_DYNAMODB_CHANGE_H

#include "item.h"
#include "store.h"

#define CVM_DYNAMO_TOO_MANY "too many certificates in one change: DynamoDB takes 100 items at once"
#define MOST_ACTIONS        100 /* of a transaction; DynamoDB's limit */

/* What an action of the transaction is about: by that it is told what became of it if it fails. */
enum subject { OF_ROW, OF_STATE, OF_LOOKED, OF_HINT };

/* What a change is a part of. */
enum change_mode {
    CHANGE_SWAP,
    CHANGE_LOAD,  /* certificates that are there stay as they are */
    CHANGE_CHECK, /* likewise, and nothing is written: only whether it could be */
};

struct change {
    struct job job;
    const cvm_change_t *wanted; /* the caller's, until it is complete */
    const char *uid;            /* whose it is */
    int64_t revision;           /* that it gives the device */
    enum change_mode mode;
    char token[33];
    int32_t has_looked;
    uint32_t rounds; /* of looks that others made out of date */
    uint32_t waits;
    /* The plan: */
    struct expression expression; /* of the action that is written */
    enum subject subjects[MOST_ACTIONS];
    uint32_t action_count;
    uint32_t written; /* certificates */
    uint8_t is_written[DYNAMO_MOST_CHANGED];
};

/* plan.c: writes the request into the job's body. OK: send it; or what there is to answer at once.
 */
cvm_answer_t cvm_dynamo_plan(struct change *change);
/* judge.c: what is to be known before the plan can be made, into the job's look. 1 if there is
 * something that was not looked at. */
int32_t cvm_dynamo_plan_looks(struct change *change);
/* judge.c: 1 if a plan without a look may do. */
int32_t cvm_dynamo_plan_needs_no_look(const struct change *change);

/* change.c: as the verb does it, but ended() is called instead. 0, or -1 without memory. */
int32_t cvm_dynamo_change_begin(struct store *store, const cvm_change_t *wanted,
    enum change_mode mode, void (*ended)(void *argument, cvm_answer_t answer, const char *text),
    void *argument);

#endif
