/* Sets of a few entries, found by a hash. A full set gives up the one whose time comes first: it is
 * tried early rather than never, and memory stays bounded. */
#include "backoff.h"

#include <stdlib.h>

#include "base/hash.h"

#define SETS 1024
#define WAYS 8

struct entry {
    uint64_t key; /* 0: unused */
    uint64_t next_ms, wait_ms;
};

struct cvm_backoff {
    struct entry (*sets)[WAYS]; /* made when something fails */
};

struct cvm_backoff *cvm_backoff_new(void)
{
    return calloc(1, sizeof(struct cvm_backoff));
}

void cvm_backoff_free(struct cvm_backoff *backoff)
{
    if (backoff)
        free(backoff->sets);
    free(backoff);
}

/* Never 0. */
static uint64_t backoff_key(const char *what)
{
    return cvm_hash(what) | 1;
}

static struct entry *backoff_find(const struct cvm_backoff *backoff, uint64_t key)
{
    struct entry *set = backoff->sets ? backoff->sets[(key >> 32) % SETS] : NULL;
    for (uint32_t i = 0; set && i < WAYS; i++)
        if (set[i].key == key)
            return &set[i];
    return NULL;
}

int32_t cvm_backoff_waits(const struct cvm_backoff *backoff, const char *what, uint64_t now_ms)
{
    const struct entry *entry = backoff_find(backoff, backoff_key(what));
    return entry && now_ms < entry->next_ms;
}

/* An unused entry, or the one that is due first; NULL without memory. */
static struct entry *backoff_make(struct cvm_backoff *backoff, uint64_t key)
{
    if (!backoff->sets && !(backoff->sets = calloc(SETS, sizeof backoff->sets[0])))
        return NULL;
    struct entry *set = backoff->sets[(key >> 32) % SETS], *first = set;
    for (uint32_t i = 1; i < WAYS && first->key; i++)
        if (!set[i].key || set[i].next_ms < first->next_ms)
            first = &set[i];
    *first = (struct entry){.key = key};
    return first;
}

void cvm_backoff_failed(struct cvm_backoff *backoff, const char *what, uint64_t now_ms,
    uint64_t first_ms, uint64_t longest_ms)
{
    uint64_t key = backoff_key(what);
    struct entry *entry = backoff_find(backoff, key);
    if (!entry && !(entry = backoff_make(backoff, key)))
        return;
    entry->wait_ms = entry->wait_ms ? 2 * entry->wait_ms : first_ms;
    if (entry->wait_ms > longest_ms)
        entry->wait_ms = longest_ms;
    entry->next_ms = now_ms + entry->wait_ms;
}

void cvm_backoff_succeeded(struct cvm_backoff *backoff, const char *what)
{
    struct entry *entry = backoff_find(backoff, backoff_key(what));
    if (entry)
        *entry = (struct entry){.key = 0};
}
