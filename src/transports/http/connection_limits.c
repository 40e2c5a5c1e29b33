/* A hash table of addresses that have connections open; IPv6 counts by /64. */
#include "connection_limits.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "address.h"

#define SLOTS 4096

struct entry {
    struct entry *next;
    uint64_t key[2];
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

/* The link that holds the address's entry, or where one would go. */
static struct entry **find(struct cvm_limits *limits, const char *address, uint64_t key[2])
{
    uint8_t bytes[16] = {0};
    int32_t is_address = !cvm_address_bytes(address, bytes);
    memcpy(key, bytes, sizeof bytes);
    if (is_address && strchr(address, ':'))
        key[1] = 0; /* a host has a whole /64 */
    uint64_t hash = (key[0] ^ limits->seed) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ key[1] ^ (hash >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    struct entry **link = &limits->slots[(hash >> 40) % SLOTS];
    while (*link && ((*link)->key[0] != key[0] || (*link)->key[1] != key[1]))
        link = &(*link)->next;
    return link;
}

static int32_t enter_address(struct cvm_limits *limits, const char *address)
{
    uint64_t key[2];
    struct entry **link = find(limits, address, key);
    if (!*link) {
        *link = calloc(1, sizeof **link);
        if (!*link)
            return -1;
        memcpy((*link)->key, key, sizeof key);
    }
    if ((*link)->count >= limits->per_address)
        return -1;
    (*link)->count++;
    return 0;
}

int32_t cvm_limits_enter(struct cvm_limits *limits, const char *address)
{
    pthread_mutex_lock(&limits->lock);
    int32_t failed = limits->open >= limits->total || (address && enter_address(limits, address));
    if (!failed)
        limits->open++;
    pthread_mutex_unlock(&limits->lock);
    return failed ? -1 : 0;
}

void cvm_limits_leave(struct cvm_limits *limits, const char *address)
{
    pthread_mutex_lock(&limits->lock);
    limits->open--;
    if (address) {
        uint64_t key[2];
        struct entry **link = find(limits, address, key), *entry = *link;
        if (entry && --entry->count == 0) {
            *link = entry->next;
            free(entry);
        }
    }
    pthread_mutex_unlock(&limits->lock);
}
