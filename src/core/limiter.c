/* The limiter. Sets of a few buckets, found by a keyed hash; a full set gives up its fullest
 * bucket, so that whoever failed most lately is remembered and memory stays bounded. */
#include "limiter.h"

#include <stdlib.h>

#include <openssl/rand.h>

#include "base/peer.h"

#define SETS 1024
#define WAYS 4

struct bucket {
    uint64_t key; /* 0: unused */
    uint64_t at_ms;
    double left;
};

struct cvm_limiter {
    double per_ms, most;
    uint64_t seed;
    struct bucket buckets[SETS][WAYS];
};

struct cvm_limiter *cvm_limiter_new(int64_t per_minute)
{
    struct cvm_limiter *limiter = calloc(1, sizeof *limiter);
    if (!limiter)
        return NULL;
    limiter->most = (double)per_minute;
    limiter->per_ms = (double)per_minute / 60000.0;
    if (RAND_bytes((unsigned char *)&limiter->seed, sizeof limiter->seed) != 1) {
        free(limiter);
        return NULL;
    }
    return limiter;
}

void cvm_limiter_free(struct cvm_limiter *limiter)
{
    free(limiter);
}

static void refill(const struct cvm_limiter *limiter, struct bucket *bucket, uint64_t now_ms)
{
    bucket->left += (double)(now_ms - bucket->at_ms) * limiter->per_ms;
    if (bucket->left > limiter->most)
        bucket->left = limiter->most;
    bucket->at_ms = now_ms;
}

/* The address's bucket; a new one takes the place of an unused one or of the fullest. */
static struct bucket *find(struct cvm_limiter *limiter, uint64_t key, uint64_t now_ms)
{
    struct bucket *set = limiter->buckets[(key >> 32) % SETS], *fullest = set;
    for (uint32_t i = 0; i < WAYS; i++) {
        if (set[i].key)
            refill(limiter, &set[i], now_ms);
        if (set[i].key == key)
            return &set[i];
        if (fullest->key && (!set[i].key || set[i].left > fullest->left))
            fullest = &set[i];
    }
    *fullest = (struct bucket){key, now_ms, limiter->most};
    return fullest;
}

uint32_t cvm_limiter_fail(struct cvm_limiter *limiter, const char *address, uint64_t now_ms)
{
    if (limiter->most <= 0 || !*address) /* who sets no address limits by himself */
        return 0;
    struct bucket *bucket = find(limiter, cvm_peer_key(limiter->seed, address), now_ms);
    if (bucket->left >= 1) {
        bucket->left -= 1;
        return 0;
    }
    return 1 + (uint32_t)((1 - bucket->left) / limiter->per_ms / 1000);
}
