/* A hash for tables whose keys no stranger chooses. */
#ifndef CVM_BASE_HASH_H
#define CVM_BASE_HASH_H

#include <stdint.h>

/* FNV-1a of a text, and MurmurHash3's last mixing: without it the last characters hardly reach the
 * upper half, and names that are numbered share a few places of a table. */
static inline uint64_t cvm_hash(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    return hash ^ hash >> 33;
}

#endif
