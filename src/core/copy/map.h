/* What a copy knows of each row: a number under its id's hash. 32 bytes a row, of which there may
 * be a hundred million. */
#ifndef CVM_CORE_COPY_MAP_H
#define CVM_CORE_COPY_MAP_H

#include <stddef.h>
#include <stdint.h>

/* Of a row that the target has no more either. */
#define COPY_GONE UINT32_MAX

struct copy_row {
    uint64_t key[2]; /* of SHA-256; the first isn't 0 */
    int64_t value;
    uint32_t pass; /* in which the source had it last */
};

struct copy_map {
    struct copy_row *rows;
    size_t size, count;
};

/* NULL if there is none. */
struct copy_row *cvm_copy_map_find(const struct copy_map *map, const char *id);
/* Finds it, or makes it with value 0. NULL without memory. Rows move. */
struct copy_row *cvm_copy_map_add(struct copy_map *map, const char *id);
/* How many rows the target has. */
size_t cvm_copy_map_there(const struct copy_map *map);
/* How many of them the source did not have in that pass. */
size_t cvm_copy_map_unseen(const struct copy_map *map, uint32_t pass);
void cvm_copy_map_clear(struct copy_map *map);

#endif
