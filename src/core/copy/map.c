/* An open table: places in a row, at most two thirds of them taken. */
#include "map.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#define FIRST_SIZE 1024

static void map_key(const char *id, uint64_t key[2])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    (void)SHA256((const uint8_t *)id, strlen(id), digest);
    memcpy(key, digest, 2 * sizeof *key);
    if (!key[0])
        key[0] = 1;
}

/* Where the key is, or would be. */
static struct copy_row *map_place(const struct copy_map *map, const uint64_t key[2])
{
    size_t i = (size_t)key[0] & (map->size - 1);
    while (map->rows[i].key[0] && (map->rows[i].key[0] != key[0] || map->rows[i].key[1] != key[1]))
        i = (i + 1) & (map->size - 1);
    return &map->rows[i];
}

static int32_t map_grow(struct copy_map *map)
{
    struct copy_map larger = {.size = map->size ? map->size * 2 : FIRST_SIZE, .count = map->count};
    larger.rows = calloc(larger.size, sizeof *larger.rows);
    if (!larger.rows)
        return -1;
    for (size_t i = 0; i < map->size; i++)
        if (map->rows[i].key[0])
            *map_place(&larger, map->rows[i].key) = map->rows[i];
    free(map->rows);
    *map = larger;
    return 0;
}

struct copy_row *cvm_copy_map_find(const struct copy_map *map, const char *id)
{
    uint64_t key[2];
    if (!map->size)
        return NULL;
    map_key(id, key);
    struct copy_row *row = map_place(map, key);
    return row->key[0] ? row : NULL;
}

struct copy_row *cvm_copy_map_add(struct copy_map *map, const char *id)
{
    uint64_t key[2];
    if (map->count * 3 >= map->size * 2 && map_grow(map))
        return NULL;
    map_key(id, key);
    struct copy_row *row = map_place(map, key);
    if (!row->key[0]) {
        memcpy(row->key, key, sizeof row->key);
        map->count++;
    }
    return row;
}

size_t cvm_copy_map_there(const struct copy_map *map)
{
    size_t count = 0;
    for (size_t i = 0; i < map->size; i++)
        count += map->rows[i].key[0] && map->rows[i].pass != COPY_GONE;
    return count;
}

size_t cvm_copy_map_unseen(const struct copy_map *map, uint32_t pass)
{
    size_t count = 0;
    for (size_t i = 0; i < map->size; i++)
        count += map->rows[i].key[0] && map->rows[i].pass != pass && map->rows[i].pass != COPY_GONE;
    return count;
}

void cvm_copy_map_clear(struct copy_map *map)
{
    free(map->rows);
    *map = (struct copy_map){.rows = NULL};
}
