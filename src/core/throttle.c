/* The throttle: a table of token buckets, one for each peer and kind, each with the sum of the
 * lines that its bucket did not pay for. The table has a fixed size: peers beyond it are summed up
 * together, by kind. */
#include "throttle.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "base/clock.h"
#include "base/peer.h"
#include "loop.h"

#define PERIOD_MS  10000 /* of the sums */
#define PEERS      128   /* times kinds; the most lines that a period's sums can be */
#define KINDS      48    /* more than there are */
#define LAST_UIDS  3
#define UID_SIZE   129
#define PEER_SIZE  64
#define KIND_SIZE  64
#define MINUTE_MS  60000
#define OTHER_KIND "other"

struct bucket {
    double left;
    uint64_t at_ms;
};

/* What was not written. */
struct sum {
    char peer[PEER_SIZE], kind[KIND_SIZE]; /* peer "": of many */
    enum cvm_log_level level;
    uint64_t count;
    char uids[LAST_UIDS][UID_SIZE]; /* a ring: the next one goes to place uid_count % LAST_UIDS */
    uint64_t uid_count;
};

struct cvm_throttle {
    struct cvm_loop *loop;
    struct cvm_log *log;
    struct cvm_timer *timer; /* the loop's thread only; NULL once it is stopped */
    struct cvm_mail wake;
    double per_address, total; /* a minute */
    uint64_t seed;
    pthread_mutex_t lock; /* of all that follows */
    struct bucket all;
    uint64_t keys[PEERS]; /* 0: unused. Apart, to be looked through fast */
    struct bucket buckets[PEERS];
    struct sum sums[PEERS], rest[KINDS];
    int32_t has_sums; /* the timer runs, or will */
    uint64_t since_ms;
};

/* --- Buckets ---------------------------------------------------------------------------------- */

static void throttle_refill(struct bucket *bucket, double per_minute, uint64_t now_ms)
{
    if (now_ms > bucket->at_ms)
        bucket->left += (double)(now_ms - bucket->at_ms) * per_minute / MINUTE_MS;
    if (bucket->left > per_minute)
        bucket->left = per_minute;
    bucket->at_ms = now_ms;
}

static int32_t throttle_can_pay(const struct bucket *bucket, double per_minute)
{
    return per_minute <= 0 || bucket->left >= 1;
}

/* Takes a line's price from both buckets, or from none. 1 if they could pay. */
static int32_t throttle_pay(
    struct cvm_throttle *throttle, struct bucket *bucket, double per_address, uint64_t now_ms)
{
    throttle_refill(&throttle->all, throttle->total, now_ms);
    throttle_refill(bucket, throttle->per_address, now_ms);
    if (!throttle_can_pay(&throttle->all, throttle->total) ||
        !throttle_can_pay(bucket, per_address))
        return 0;
    throttle->all.left -= throttle->total > 0;
    bucket->left -= per_address > 0;
    return 1;
}

/* --- The table -------------------------------------------------------------------------------- */

/* Forgets whoever has nothing to tell and may have as much as a newcomer. */
static void throttle_sweep(struct cvm_throttle *throttle, uint64_t now_ms)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        if (!throttle->keys[i] || throttle->sums[i].count)
            continue;
        throttle_refill(&throttle->buckets[i], throttle->per_address, now_ms);
        if (throttle->buckets[i].left >= throttle->per_address)
            throttle->keys[i] = 0;
    }
}

static int32_t throttle_find(const struct cvm_throttle *throttle, uint64_t key)
{
    for (int32_t i = 0; i < PEERS; i++)
        if (throttle->keys[i] == key)
            return i;
    return -1;
}

/* The place of a peer's lines of a kind, a new one if there is none; -1 when the table is full. */
static int32_t throttle_place(
    struct cvm_throttle *throttle, const char *peer, const char *kind, uint64_t now_ms)
{
    uint64_t key = cvm_peer_key(throttle->seed, peer);
    for (const char *c = kind; *c; c++)
        key = cvm_peer_mix(key + (unsigned char)*c);
    key |= 1;
    int32_t i = throttle_find(throttle, key);
    if (i >= 0)
        return i;
    i = throttle_find(throttle, 0);
    if (i < 0) {
        throttle_sweep(throttle, now_ms);
        i = throttle_find(throttle, 0);
    }
    if (i < 0)
        return -1;
    throttle->keys[i] = key;
    throttle->buckets[i] = (struct bucket){throttle->per_address, now_ms};
    (void)snprintf(throttle->sums[i].peer, PEER_SIZE, "%s", peer);
    (void)snprintf(throttle->sums[i].kind, KIND_SIZE, "%s", kind);
    return i;
}

/* Where the lines of a kind are summed up for which the table has no place. */
static struct sum *throttle_rest(struct cvm_throttle *throttle, const char *kind)
{
    uint32_t i = 0;
    while (i < KINDS - 1 && *throttle->rest[i].kind && strcmp(throttle->rest[i].kind, kind) != 0)
        i++;
    if (!*throttle->rest[i].kind)
        (void)snprintf(throttle->rest[i].kind, KIND_SIZE, "%s", i < KINDS - 1 ? kind : OTHER_KIND);
    return &throttle->rest[i];
}

/* --- Counting --------------------------------------------------------------------------------- */

static void throttle_count(
    struct cvm_throttle *throttle, struct sum *sum, enum cvm_log_level level, const char *uid)
{
    sum->level = sum->count && sum->level < level ? sum->level : level; /* the gravest */
    sum->count++;
    if (*uid)
        (void)snprintf(sum->uids[sum->uid_count++ % LAST_UIDS], UID_SIZE, "%s", uid);
    if (throttle->has_sums)
        return;
    throttle->has_sums = 1;
    throttle->since_ms = cvm_monotonic_ms();
    cvm_loop_post(throttle->loop, &throttle->wake);
}

int32_t cvm_throttle_takes(struct cvm_throttle *throttle, enum cvm_log_level level,
    const char *peer, const char *kind, const char *uid)
{
    pthread_mutex_lock(&throttle->lock);
    uint64_t now_ms = cvm_monotonic_ms(); /* under the lock: no thread may come with an older one */
    int32_t i = throttle_place(throttle, peer, kind, now_ms);
    /* Callers that name no peer are in their own hands: they have the total alone. */
    double per_address = *peer ? throttle->per_address : 0;
    int32_t is_paid = i >= 0 && throttle_pay(throttle, &throttle->buckets[i], per_address, now_ms);
    if (!is_paid)
        throttle_count(
            throttle, i >= 0 ? &throttle->sums[i] : throttle_rest(throttle, kind), level, uid);
    pthread_mutex_unlock(&throttle->lock);
    return is_paid;
}

/* --- Telling ---------------------------------------------------------------------------------- */

/* The last uids, the oldest first. */
static void throttle_print_uids(const struct sum *sum, char *text, size_t size)
{
    uint64_t first = sum->uid_count > LAST_UIDS ? sum->uid_count - LAST_UIDS : 0;
    size_t used = 0;
    *text = 0;
    for (uint64_t i = first; i < sum->uid_count && used < size; i++)
        used += (size_t)snprintf(
            text + used, size - used, "%s%s", i > first ? " " : "", sum->uids[i % LAST_UIDS]);
}

static void throttle_write(
    const struct cvm_throttle *throttle, const struct sum *sum, uint64_t period_ms)
{
    char text[KIND_SIZE + 64], uids[LAST_UIDS * UID_SIZE];
    uint64_t period_s = (period_ms + 500) / 1000;
    (void)snprintf(text, sizeof text, "%llu more in %llu s: %s", (unsigned long long)sum->count,
        (unsigned long long)(period_s ? period_s : 1), sum->kind);
    throttle_print_uids(sum, uids, sizeof uids);
    const struct cvm_log_field fields[] = {{"text", text}, {"peer", sum->peer}, {"uids", uids}};
    cvm_log_write(throttle->log, sum->level, "summed up", fields, sizeof fields / sizeof fields[0]);
}

/* Tells one sum and begins it anew; nobody waits for the log meanwhile. */
static void throttle_tell_one(struct cvm_throttle *throttle, struct sum *sum, uint64_t period_ms)
{
    struct sum told;
    pthread_mutex_lock(&throttle->lock);
    told = *sum;
    sum->count = sum->uid_count = 0;
    pthread_mutex_unlock(&throttle->lock);
    if (told.count)
        throttle_write(throttle, &told, period_ms);
}

static void throttle_tell(void *argument)
{
    struct cvm_throttle *throttle = argument;
    pthread_mutex_lock(&throttle->lock);
    uint64_t period_ms = cvm_monotonic_ms() - throttle->since_ms;
    throttle->has_sums = 0;
    pthread_mutex_unlock(&throttle->lock);
    for (uint32_t i = 0; i < PEERS; i++)
        throttle_tell_one(throttle, &throttle->sums[i], period_ms);
    for (uint32_t i = 0; i < KINDS; i++)
        throttle_tell_one(throttle, &throttle->rest[i], period_ms);
}

/* On the loop: something is summed up for the first time since the last sums were told. */
static void throttle_wake(struct cvm_mail *mail)
{
    struct cvm_throttle *throttle = CVM_CONTAINER(mail, struct cvm_throttle, wake);
    if (throttle->timer)
        cvm_timer_start(throttle->timer, PERIOD_MS);
    else
        throttle_tell(throttle);
}

/* --- Life ------------------------------------------------------------------------------------- */

struct cvm_throttle *cvm_throttle_new(
    struct cvm_loop *loop, struct cvm_log *log, int64_t per_address, int64_t total)
{
    struct cvm_throttle *throttle = calloc(1, sizeof *throttle);
    if (!throttle)
        return NULL;
    throttle->timer = cvm_timer_new(loop, throttle_tell, throttle);
    if (!throttle->timer ||
        RAND_bytes((unsigned char *)&throttle->seed, sizeof throttle->seed) != 1) {
        cvm_timer_free(throttle->timer);
        free(throttle);
        return NULL;
    }
    (void)pthread_mutex_init(&throttle->lock, NULL); /* can't fail with default attributes */
    throttle->loop = loop;
    throttle->log = log;
    throttle->wake.open = throttle_wake;
    throttle->per_address = (double)per_address;
    throttle->total = (double)total;
    throttle->all = (struct bucket){throttle->total, cvm_monotonic_ms()};
    return throttle;
}

void cvm_throttle_stop(struct cvm_throttle *throttle)
{
    if (!throttle || !throttle->timer)
        return;
    cvm_timer_free(throttle->timer);
    throttle->timer = NULL;
    throttle_tell(throttle);
    pthread_mutex_lock(&throttle->lock);
    throttle->has_sums = 1; /* so that nobody posts to a loop that closes */
    pthread_mutex_unlock(&throttle->lock);
}

void cvm_throttle_free(struct cvm_throttle *throttle)
{
    if (!throttle)
        return;
    pthread_mutex_destroy(&throttle->lock);
    free(throttle);
}
