/* The import's second half: the sorted rows go to the store in chunks. */
#ifndef CVM_CLI_IMPORT_WRITE_H
#define CVM_CLI_IMPORT_WRITE_H

#include <stdint.h>

#include "cvm/cvm.h"
#include "import_sort.h"
#include "progress.h"

struct import_output {
    cvm_t *cvm;
    struct import_sort *sort;
    struct progress *progress;
    int32_t replaces_tokens, leaves_unsaid;
    uint64_t expected; /* rows */
    uint64_t written;  /* rows, whatever became of them */
    uint64_t became[CVM_ROW_REPLACED + 1];
    struct notes conflicts;
};

/* Writes what the sorter holds, without duplicates. 0, or an exit code after saying why. */
int32_t import_write(struct import_output *output);

#endif
