/* A hash table of the addresses that have places. */
#include "transports/common/limits.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/rand.h>

#include "base/peer.h"

#define SLOTS 4096

struct entry {
    struct entry *next;
    uint64_t key;
    uint32_t count;
};

struct cvm_limits {
    pthread_mutex_t lock;
    uint32_t total, per_address, open;
    uint64_t seed;
    struct entry *slots[SLOTS];
};

struct cvm_limits *cvm_limits_new(uint32_t total, uint32_t per_address)
{
    struct cvm_limits *limits = calloc(1, sizeof *limits);
    if (!limits)
        return NULL;
    limits->total = total;
    limits->per_address = per_address;
    (void)RAND_bytes((unsigned char *)&limits->seed, sizeof limits->seed);
    (void)pthread_mutex_init(&limits->lock, NULL); /* can't fail with default attributes */
    return limits;
}

void cvm_limits_free(struct cvm_limits *limits)
{
    if (!limits)
        return;
    for (uint32_t i = 0; i < SLOTS; i++) {
        for (struct entry *entry = limits->slots[i], *next; entry; entry = next) {
            next = entry->next;
            free(entry);
        }
    }
    pthread_mutex_destroy(&limits->lock);
    free(limits);
}

/* The link that holds the entry of the key, or where one would go. */
static struct entry **limits_find(struct cvm_limits *limits, uint64_t key)
{
    struct entry **link = &limits->slots[(key >> 40) % SLOTS];
    while (*link && (*link)->key != key)
        link = &(*link)->next;
    return link;
}

static int32_t limits_count(struct cvm_limits *limits, const char *address)
{
    uint64_t key = cvm_peer_key(limits->seed, address);
    struct entry **link = limits_find(limits, key);
    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (!*link)
            return -1;
        (*link)->key = key;
    }
    if ((*link)->count >= limits->per_address)
        return -1;
    (*link)->count++;
    return 0;
}

int32_t cvm_limits_enter(struct cvm_limits *limits, const char *address)
{
    pthread_mutex_lock(&limits->lock);
    int32_t failed = limits->open >= limits->total || (*address && limits_count(limits, address));
    if (!failed)
        limits->open++;
    pthread_mutex_unlock(&limits->lock);
    return failed ? -1 : 0;
}

int32_t cvm_limits_name(struct cvm_limits *limits, const char *address)
{
    pthread_mutex_lock(&limits->lock);
    int32_t failed = *address && limits_count(limits, address);
    pthread_mutex_unlock(&limits->lock);
    return failed ? -1 : 0;
}

void cvm_limits_leave(struct cvm_limits *limits, const char *address)
{
    pthread_mutex_lock(&limits->lock);
    limits->open--;
    if (*address) {
        struct entry **link = limits_find(limits, cvm_peer_key(limits->seed, address));
        struct entry *entry = *link;
        if (entry && --entry->count == 0) {
            *link = entry->next;
            free(entry);
        }
    }
    pthread_mutex_unlock(&limits->lock);
}
