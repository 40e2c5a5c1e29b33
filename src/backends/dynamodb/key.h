/* The keys of our table; store.h has the list. */
#ifndef CVM_DYNAMODB_KEY_H
#define CVM_DYNAMODB_KEY_H

#include <stdint.h>

#include "store.h"

/* Kinds of what is due. */
#define DUE_LEASES      "lease"
#define DUE_RETIREMENTS "retirement"
#define DUE_SUSPENSIONS "suspension"

/* Each writes into key and returns it. */
const char *cvm_dynamo_key(char key[DYNAMO_KEY_SIZE], const char *prefix, const char *of);
/* D#kind#shard and R#shard, of a device's shard or of that one. */
const char *cvm_dynamo_due_key(char key[DYNAMO_KEY_SIZE], const char *kind, const char *uid);
const char *cvm_dynamo_listed_key(char key[DYNAMO_KEY_SIZE], const char *uid);
const char *cvm_dynamo_shard_key(
    char key[DYNAMO_KEY_SIZE], const char *prefix, const char *kind, uint32_t shard);
/* Microseconds since 1970, each time more: what is issued later sorts behind. */
int64_t cvm_dynamo_now_us(struct store *store);

#endif
