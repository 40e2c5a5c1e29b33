/* A hash for tables whose keys no stranger chooses. */
#ifndef CVM_BASE_HASH_H
#define CVM_BASE_HASH_H

#include <stdint.h>

/* FNV-1a of a text. */
static inline uint64_t cvm_hash(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
