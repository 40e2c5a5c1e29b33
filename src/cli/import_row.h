/* What the import's parts hand to each other: a line's texts, and the row that they make. */
#ifndef CVM_CLI_IMPORT_ROW_H
#define CVM_CLI_IMPORT_ROW_H

#include <stdint.h>

#define IMPORT_LONGEST_UID 128
#define IMPORT_HASH_BYTES  32

/* A line's fields, ended by NUL, in the reader's memory; NULL for what the line doesn't have. */
struct import_fields {
    const char *uid, *token, *is_enabled;
};

/* UNSAID: the cell is empty, which is fine where all cells of its column are. */
enum import_flag { IMPORT_DISABLED, IMPORT_ENABLED, IMPORT_UNSAID };

struct import_row {
    const char *uid;
    uint64_t line;
    uint64_t duplicate_of; /* the line that has this uid already; 0 for none */
    enum import_flag flag;
    uint8_t hash[IMPORT_HASH_BYTES]; /* SHA-256 of the token */
};

#endif
