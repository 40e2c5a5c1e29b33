/* Keys. */
#include "key.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/hash.h"

const char *cvm_dynamo_key(char key[DYNAMO_KEY_SIZE], const char *prefix, const char *of)
{
    (void)snprintf(key, DYNAMO_KEY_SIZE, "%s%s", prefix, of);
    return key;
}

const char *cvm_dynamo_shard_key(
    char key[DYNAMO_KEY_SIZE], const char *prefix, const char *kind, uint32_t shard)
{
    (void)snprintf(key, DYNAMO_KEY_SIZE, "%s%s#%02" PRIu32, prefix, kind, shard);
    return key;
}

static uint32_t shard_of(const char *uid)
{
    return (uint32_t)(cvm_hash(uid) % DYNAMO_SHARDS);
}

const char *cvm_dynamo_due_key(char key[DYNAMO_KEY_SIZE], const char *kind, const char *uid)
{
    return cvm_dynamo_shard_key(key, "D#", kind, shard_of(uid));
}

const char *cvm_dynamo_listed_key(char key[DYNAMO_KEY_SIZE], const char *uid)
{
    return cvm_dynamo_shard_key(key, "R", "", shard_of(uid));
}

int64_t cvm_dynamo_now_us(struct store *store)
{
    int64_t now_us = cvm_now_ms() * 1000;
    store->last_us = now_us > store->last_us ? now_us : store->last_us + 1;
    return store->last_us;
}
