/* A scan on its way. */
#ifndef CVM_DYNAMODB_SCAN_H
#define CVM_DYNAMODB_SCAN_H

#include "store.h"

#define DYNAMO_MOST_STALE 25

struct scan {
    struct job job;
    cvm_scan_t what;
    int64_t before_ms;
    uint32_t limit, answered;
    char pk[DYNAMO_KEY_SIZE], sk[DYNAMO_KEY_SIZE]; /* behind which it goes on */
    cJSON *page;                                   /* items that are looked into */
    char last[DYNAMO_KEY_SIZE];
    int32_t is_last; /* the page, of its table or shard */
    /* By hints: */
    uint32_t shard;
    char after_uid[DYNAMO_KEY_SIZE],
        after_id[65]; /* of that device's certificates, those behind it */
    char page_end[DYNAMO_KEY_SIZE];
    const cJSON *stale[DYNAMO_MOST_STALE];
    uint32_t stale_count, stale_at;
};

#endif
