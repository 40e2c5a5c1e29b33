/* The import's first half: the whole input is read, checked and sorted; nothing is written. */
#ifndef CVM_CLI_IMPORT_READ_H
#define CVM_CLI_IMPORT_READ_H

#include <stdint.h>

#include "import_check.h"
#include "import_sort.h"
#include "progress.h"

struct import_input {
    const char *path; /* "-": CSV on standard input */
    const char *name; /* in messages */
    struct import_check *check;
    struct import_sort *sort;
    const char *folder; /* of the sorter's temporary file */
    struct progress *progress;
    struct notes bad;    /* lines */
    struct notes shared; /* tokens that another row has too */
    uint64_t good;       /* rows */
    char sha256[65];     /* of all that was read, hex */
    int32_t says_flags;  /* is_enabled is filled somewhere: rows that leave it empty are bad */
};

/* Reads the input into the sorter and reports its bad lines, duplicates among them. 0, or an exit
 * code if it can't be read as a whole, after saying why. */
int32_t import_read(struct import_input *input);

#endif
