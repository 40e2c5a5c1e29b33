/* The DynamoDB store inside: each operation is a job that makes a few calls, one after the other,
 * on the instance's loop. */
#ifndef CVM_DYNAMODB_STORE_H
#define CVM_DYNAMODB_STORE_H

#include "aws/job.h"
#include "cvm/plugin.h"

/* clang-format off */
/* Two tables. In the maker's, whose key is device_uid, is what the reference system has, and cvm_revision. Ours has
 *
 *   pk                sk    what it is
 *   U#uid             S     a device's state: what the maker's row does not say of it; the ids of its certificates; `current`,
 *                           the one that is
 *   C#certificate_id  C     a certificate, whole
 *   M                 name  a value
 *   K#public_key      K     whose key it is or was; until when nobody may have it (`lost_until`)
 *   T#thing           T     whose thing it is
 *   D#kind#shard      uid   a device to be looked at, not before `due`: a lease that ends, a certificate that retires, a suspension
 *   R#shard           uid   a device that a CRL may list something of; for the platform `local` alone
 *
 * The maker's row, U, C and M are the truth. K, T, D and R are hints, which lead to it: each is written by the transaction that
 * gives it its reason, with a new `stamp`; whoever follows it looks at the rows; and whoever finds that it leads nowhere takes it
 * away if its stamp is still the same (docs/decisions/dynamodb-in-two-tables.md). */
/* clang-format on */

#define DYNAMO_TABLE_SIZE   256
#define DYNAMO_KEY_SIZE     280 /* of what we make keys of */
#define DYNAMO_SHARDS       4
#define DYNAMO_MOST_CHANGED 96 /* certificates of one change: DynamoDB has 100 actions */
#define DYNAMO_TEXT_SIZE    300

enum table { MAKERS, OURS, TABLE_COUNT };

#define DYNAMO_STATES 16

struct job;

struct store {
    struct aws_backend aws;
    char tables[TABLE_COUNT][DYNAMO_TABLE_SIZE];
    int32_t lists_revoked; /* the platform publishes CRLs */
    int64_t last_us;       /* key.c: that was handed out last */
    /* read.c: which certificates some devices had when their states were read last. They are looked
     * at together with the state when it is read again, and not after it. */
    cJSON *states[DYNAMO_STATES];
};

/* --- look.c: items by their keys -------------------------------------------------------------- */

enum look_state { LOOK_WANTED, LOOK_FOUND, LOOK_DONE };

struct look_item {
    enum table table;
    char *pk, *sk; /* sk: NULL in the maker's table */
    cJSON *item;   /* NULL: there is none */
    enum look_state state;
};

/* What is read at once: consistently, but not all of it at one instant. */
struct look {
    struct look_item *items;
    uint32_t *index; /* places and 1, by the keys' hash */
    uint32_t count, size;
    int32_t failed; /* no memory */
    uint32_t tries;
    void (*then)(struct job *job);
};

/* --- job.c ------------------------------------------------------------------------------------ */

/* What DynamoDB is asked for. */
enum dynamo_call {
    GET_ITEM,
    BATCH_GET_ITEM,
    QUERY,
    SCAN,
    DESCRIBE_TABLE,
    CREATE_TABLE,
    FIRST_WRITE, /* from here on they write devices, certificates or values */
    PUT_ITEM = FIRST_WRITE,
    UPDATE_ITEM,
    DELETE_ITEM,
    TRANSACT_WRITE_ITEMS,
    BATCH_EXECUTE_STATEMENT,
};

/* One operation on its way. Each verb has a struct of its own, which begins with one. */
struct job {
    struct aws_job aws;
    struct store *store;
    void (*clear)(struct job *job);
    void (*then)(struct job *job);
    int32_t takes_conditions; /* `then` sees errors that a condition failed */
    int32_t takes_all;        /* and all others */
    struct look look;
};

/* As cvm_aws_job() and its like do. */
void *cvm_dynamo_job(struct store *store, cvm_op_t *op, size_t size, enum aws_verb verb,
    void (*clear)(struct job *job));
const cvm_host_t *cvm_dynamo_host(const struct job *job);
struct cvm_buffer *cvm_dynamo_body(struct job *job);
/* Makes the call; then(job) has its answer in job->aws.call.answer. Other outcomes end the job. */
void cvm_dynamo_call(struct job *job, enum dynamo_call name, void (*then)(struct job *job));
int32_t cvm_dynamo_wait(struct job *job, int64_t ms, void (*then)(struct job *job));
void cvm_dynamo_end(struct job *job, cvm_answer_t answer, const char *text);
void cvm_dynamo_fail(struct job *job);
void cvm_dynamo_out_of_memory(struct job *job);

/* Adds a key; -1 without memory, else its place. One that was added already keeps its place. */
int32_t cvm_dynamo_look_add(struct look *look, enum table table, const char *pk, const char *sk);
/* Reads what was not read yet. */
void cvm_dynamo_look(struct job *job, void (*then)(struct job *job));
/* What was found; NULL: nothing, or no such place. */
const cJSON *cvm_dynamo_found(const struct look *look, int32_t place);
const cJSON *cvm_dynamo_find(
    const struct look *look, enum table table, const char *pk, const char *sk);
void cvm_dynamo_look_clear(struct look *look);

/* --- verbs ------------------------------------------------------------------------------------ */

/* read.c */
void cvm_dynamo_get(void *self, cvm_op_t *op, const char *device_uid);
void cvm_dynamo_get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit);
void cvm_dynamo_forget_states(struct store *store);
void cvm_dynamo_find_uid(void *self, cvm_op_t *op, cvm_find_by_t by, const char *value);
void cvm_dynamo_ready(void *self, cvm_op_t *op);
void cvm_dynamo_now(void *self, cvm_op_t *op);
/* value.c */
void cvm_dynamo_meta_get(void *self, cvm_op_t *op, const char *name);
void cvm_dynamo_meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted);
/* change.c */
void cvm_dynamo_change(void *self, cvm_op_t *op, const cvm_change_t *wanted);
/* load.c */
void cvm_dynamo_load(void *self, cvm_op_t *op, const cvm_loading_t *loading);
/* scan.c */
void cvm_dynamo_scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit);
/* check.c */
void cvm_dynamo_check(void *self, cvm_op_t *op, const char *cursor);
/* tables.c */
void cvm_dynamo_open(void *self, cvm_op_t *op, uint32_t how);
void cvm_dynamo_migrate(void *self, cvm_op_t *op, uint32_t how);

/* --- store.c ---------------------------------------------------------------------------------- */

/* 62 random bits and at least 1. */
int64_t cvm_dynamo_random(void);
#endif
