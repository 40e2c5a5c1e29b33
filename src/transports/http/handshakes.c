/* A hash table of the addresses that have handshakes under way, each with a list of them by age,
 * and a list of all addresses, to find the one that has most. */
#include "handshakes.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/rand.h>

#include "base/peer.h"

#define SLOTS      1024
#define FEW_OF     16 /* a sixteenth of the places are few */
#define NO_ADDRESS 0  /* never a peer's key */

struct handshakes_address {
    struct handshakes_address *next_in_slot;
    struct handshakes_address *next, **link; /* of all */
    uint64_t key;
    uint32_t count;
    struct cvm_handshake *oldest, **last; /* last: where the next newer one is linked in */
};

struct cvm_handshakes {
    pthread_mutex_t lock;
    uint32_t total, per_address, open;
    int32_t were_many;
    uint64_t seed, last_number;
    struct handshakes_address *slots[SLOTS], *addresses;
};

struct cvm_handshakes *cvm_handshakes_new(uint32_t total, uint32_t per_address)
{
    struct cvm_handshakes *handshakes = calloc(1, sizeof *handshakes);
    if (!handshakes)
        return NULL;
    handshakes->total = total;
    handshakes->per_address = per_address;
    (void)RAND_bytes((unsigned char *)&handshakes->seed, sizeof handshakes->seed);
    (void)pthread_mutex_init(&handshakes->lock, NULL); /* can't fail with default attributes */
    return handshakes;
}

/* Addresses go with their last handshake, so there are none by now. */
void cvm_handshakes_free(struct cvm_handshakes *handshakes)
{
    if (!handshakes)
        return;
    pthread_mutex_destroy(&handshakes->lock);
    free(handshakes);
}

/* --- Addresses -------------------------------------------------------------------------------- */

static struct handshakes_address **handshakes_find(struct cvm_handshakes *handshakes, uint64_t key)
{
    struct handshakes_address **link = &handshakes->slots[(key >> 40) % SLOTS];
    while (*link && (*link)->key != key)
        link = &(*link)->next_in_slot;
    return link;
}

/* The address of that key, a new one if there is none. NULL without memory. */
static struct handshakes_address *handshakes_address(
    struct cvm_handshakes *handshakes, uint64_t key)
{
    struct handshakes_address **slot = handshakes_find(handshakes, key), *address = *slot;
    if (address || !(address = calloc(1, sizeof *address)))
        return address;
    address->key = key;
    address->last = &address->oldest;
    address->next = handshakes->addresses;
    address->link = &handshakes->addresses;
    if (address->next)
        address->next->link = &address->next;
    handshakes->addresses = address;
    *slot = address;
    return address;
}

static void handshakes_forget(struct cvm_handshakes *handshakes, struct handshakes_address *address)
{
    *handshakes_find(handshakes, address->key) = address->next_in_slot;
    *address->link = address->next;
    if (address->next)
        address->next->link = address->link;
    free(address);
}

/* Of those that have as many, the one that has had its oldest for longest. It is looked for only
 * when all places are taken. */
static struct handshakes_address *handshakes_greediest(const struct cvm_handshakes *handshakes)
{
    struct handshakes_address *most = handshakes->addresses;
    for (struct handshakes_address *address = most; address; address = address->next)
        if (address->count > most->count ||
            (address->count == most->count && address->oldest->number < most->oldest->number))
            most = address;
    return most;
}

/* --- Handshakes ------------------------------------------------------------------------------- */

static void handshakes_link(struct cvm_handshakes *handshakes, struct cvm_handshake *handshake,
    struct handshakes_address *address)
{
    handshake->address = address;
    handshake->number = ++handshakes->last_number;
    handshake->newer = NULL;
    handshake->link = address->last;
    *address->last = handshake;
    address->last = &handshake->newer;
    address->count++;
    handshakes->open++;
}

static void handshakes_unlink(struct cvm_handshakes *handshakes, struct cvm_handshake *handshake)
{
    struct handshakes_address *address = handshake->address;
    *handshake->link = handshake->newer;
    if (handshake->newer)
        handshake->newer->link = handshake->link;
    else
        address->last = handshake->link;
    handshakes->open--;
    if (--address->count == 0)
        handshakes_forget(handshakes, address);
}

/* The one that goes for a new one of this address, which is linked in already, if one must. */
static struct cvm_handshake *handshakes_evict(
    struct cvm_handshakes *handshakes, const struct handshakes_address *address)
{
    struct cvm_handshake *evicted = NULL;
    if (address->key != NO_ADDRESS && address->count > handshakes->per_address)
        evicted = address->oldest;
    else if (handshakes->open > handshakes->total)
        evicted = handshakes_greediest(handshakes)->oldest;
    if (!evicted)
        return NULL;
    evicted->is_evicted = 1;
    handshakes_unlink(handshakes, evicted);
    return evicted;
}

/* Half of the places, at least one. */
static int32_t handshakes_are_many(const struct cvm_handshakes *handshakes)
{
    return handshakes->open >= handshakes->total - handshakes->total / 2;
}

int32_t cvm_handshakes_begin(struct cvm_handshakes *handshakes, struct cvm_handshake *handshake,
    const char *address, struct cvm_handshake **evicted)
{
    *evicted = NULL;
    pthread_mutex_lock(&handshakes->lock);
    uint64_t key = *address ? cvm_peer_key(handshakes->seed, address) : NO_ADDRESS;
    struct handshakes_address *its = handshakes_address(handshakes, key);
    if (its) {
        /* Linked in first, so that its address does not go with an older one that is evicted. */
        handshakes_link(handshakes, handshake, its);
        *evicted = handshakes_evict(handshakes, its);
        handshakes->were_many |= handshakes_are_many(handshakes);
    }
    pthread_mutex_unlock(&handshakes->lock);
    return its ? 0 : -1;
}

int32_t cvm_handshakes_end(struct cvm_handshakes *handshakes, struct cvm_handshake *handshake)
{
    pthread_mutex_lock(&handshakes->lock);
    int32_t is_evicted = handshake->is_evicted;
    if (!is_evicted)
        handshakes_unlink(handshakes, handshake);
    pthread_mutex_unlock(&handshakes->lock);
    return is_evicted;
}

int32_t cvm_handshakes_are_many(struct cvm_handshakes *handshakes)
{
    pthread_mutex_lock(&handshakes->lock);
    int32_t are_many = handshakes_are_many(handshakes);
    pthread_mutex_unlock(&handshakes->lock);
    return are_many;
}

int32_t cvm_handshakes_are_few_again(struct cvm_handshakes *handshakes)
{
    pthread_mutex_lock(&handshakes->lock);
    int32_t are_few = handshakes->were_many && handshakes->open <= handshakes->total / FEW_OF;
    if (are_few)
        handshakes->were_many = 0;
    pthread_mutex_unlock(&handshakes->lock);
    return are_few;
}
