/* Sorts rows in one block of memory: packed rows from its front, their index from its end. A full
 * block becomes a run of the temporary file. */
#include "import_sort.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "import_pack.h"
#include "import_runs.h"

/* Fleets' uids begin alike, so the key is the eight bytes behind what all uids share: it settles
 * nearly every comparison without a look at the row. */
struct entry {
    uint64_t key;
    const uint8_t *packed;
};

struct import_sort {
    uint8_t *memory;
    size_t size, used; /* bytes */
    size_t count;      /* entries */
    int32_t is_sorted;
    struct import_runs runs;
    size_t next; /* entry */
    char last_uid[IMPORT_LONGEST_UID + 1];
    uint64_t last_line;
};

struct import_sort *import_sort_new(size_t memory, const char *directory)
{
    struct import_sort *sort = calloc(1, sizeof *sort);
    if (!sort)
        return NULL;
    sort->size = memory / sizeof(struct entry) * sizeof(struct entry);
    sort->memory = malloc(sort->size);
    import_runs_init(&sort->runs, directory);
    if (!sort->memory) {
        free(sort);
        return NULL;
    }
    return sort;
}

void import_sort_free(struct import_sort *sort)
{
    if (!sort)
        return;
    import_runs_clear(&sort->runs);
    free(sort->memory);
    free(sort);
}

static struct entry *index_of(const struct import_sort *sort)
{
    return (struct entry *)(void *)(sort->memory + sort->size) - sort->count;
}

static size_t shared_prefix(const struct import_sort *sort)
{
    const struct entry *index = index_of(sort);
    const char *first = packed_uid(index[0].packed);
    size_t shared = strlen(first);
    for (size_t i = 1; i < sort->count; i++) {
        const char *uid = packed_uid(index[i].packed);
        if (strncmp(first, uid, shared) == 0)
            continue;
        shared = 0;
        while (uid[shared] && uid[shared] == first[shared])
            shared++;
    }
    return shared;
}

static uint64_t key_of(const char *text)
{
    uint64_t key = 0;
    for (size_t i = 0; i < sizeof key; i++) {
        key = key << 8 | (uint8_t)*text;
        text += *text != 0;
    }
    return key;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    if (left->key != right->key)
        return left->key < right->key ? -1 : 1;
    return packed_compare(left->packed, right->packed);
}

static void sort_block(struct import_sort *sort)
{
    if (!sort->count || sort->is_sorted)
        return;
    struct entry *index = index_of(sort);
    size_t shared = shared_prefix(sort);
    for (size_t i = 0; i < sort->count; i++)
        index[i].key = key_of(packed_uid(index[i].packed) + shared);
    qsort(index, sort->count, sizeof *index, compare_entries);
    sort->is_sorted = 1;
}

static int32_t spill(struct import_sort *sort)
{
    sort_block(sort);
    if (import_runs_begin(&sort->runs))
        return -1;
    for (size_t i = 0; i < sort->count; i++)
        if (import_runs_put(&sort->runs, index_of(sort)[i].packed))
            return -1;
    sort->used = sort->count = 0;
    return import_runs_end(&sort->runs);
}

int32_t import_sort_add(struct import_sort *sort, const struct import_row *row)
{
    size_t length = strnlen(row->uid, IMPORT_LONGEST_UID + 1);
    if (length > IMPORT_LONGEST_UID) {
        errno = EINVAL;
        return -1;
    }
    size_t wanted = PACKED_UID + length + 1 + sizeof(struct entry);
    if (sort->size - sort->used - sort->count * sizeof(struct entry) < wanted && spill(sort))
        return -1;
    uint8_t *packed = sort->memory + sort->used;
    pack(packed, row, length);
    sort->used += packed_size(packed);
    sort->count++;
    index_of(sort)[0].packed = packed;
    sort->is_sorted = 0;
    return 0;
}

int32_t import_sort_rewind(struct import_sort *sort)
{
    sort->next = 0;
    sort->last_uid[0] = 0;
    if (!sort->runs.count) {
        sort_block(sort);
        return 0;
    }
    if (sort->count && spill(sort))
        return -1;
    return import_runs_merge(&sort->runs, sort->memory, sort->size);
}

static int32_t next_packed(struct import_sort *sort, const uint8_t **packed)
{
    if (sort->runs.count)
        return import_runs_next(&sort->runs, packed);
    if (sort->next == sort->count)
        return 0;
    *packed = index_of(sort)[sort->next++].packed;
    return 1;
}

int32_t import_sort_next(struct import_sort *sort, struct import_row *row)
{
    const uint8_t *packed = NULL;
    int32_t found = next_packed(sort, &packed);
    if (found <= 0)
        return found;
    unpack(packed, row);
    if (strcmp(row->uid, sort->last_uid) == 0) {
        row->duplicate_of = sort->last_line;
    } else {
        memcpy(sort->last_uid, row->uid, (size_t)packed[0] + 1);
        sort->last_line = row->line;
    }
    return 1;
}
