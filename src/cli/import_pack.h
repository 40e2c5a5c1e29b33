/* A row as bytes: in the sorter's memory and in its temporary file. */
#ifndef CVM_CLI_IMPORT_PACK_H
#define CVM_CLI_IMPORT_PACK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "import_row.h"

/* Length of the uid, flag, line, hash, uid, NUL. */
#define PACKED_FLAG    1
#define PACKED_LINE    2
#define PACKED_HASH    (PACKED_LINE + sizeof(uint64_t))
#define PACKED_UID     (PACKED_HASH + IMPORT_HASH_BYTES)
#define PACKED_LONGEST (PACKED_UID + IMPORT_LONGEST_UID + 1)

static inline size_t packed_size(const uint8_t *packed)
{
    return PACKED_UID + packed[0] + 1;
}

static inline const char *packed_uid(const uint8_t *packed)
{
    return (const char *)packed + PACKED_UID;
}

static inline uint64_t packed_line(const uint8_t *packed)
{
    uint64_t line;
    memcpy(&line, packed + PACKED_LINE, sizeof line);
    return line;
}

static inline void pack(uint8_t *packed, const struct import_row *row, size_t uid_length)
{
    packed[0] = (uint8_t)uid_length;
    packed[PACKED_FLAG] = (uint8_t)row->flag;
    memcpy(packed + PACKED_LINE, &row->line, sizeof row->line);
    memcpy(packed + PACKED_HASH, row->hash, IMPORT_HASH_BYTES);
    memcpy(packed + PACKED_UID, row->uid, uid_length + 1);
}

static inline void unpack(const uint8_t *packed, struct import_row *row)
{
    *row = (struct import_row){
        .uid = packed_uid(packed),
        .line = packed_line(packed),
        .flag = (enum import_flag)packed[PACKED_FLAG],
    };
    memcpy(row->hash, packed + PACKED_HASH, IMPORT_HASH_BYTES);
}

/* The order of rows: by uid, then by line. */
static inline int32_t packed_compare(const uint8_t *a, const uint8_t *b)
{
    int32_t order = strcmp(packed_uid(a), packed_uid(b));
    if (order)
        return order;
    return packed_line(a) < packed_line(b) ? -1 : packed_line(a) > packed_line(b);
}

#endif
