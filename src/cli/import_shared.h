/* Tokens that several devices have: whoever holds one can claim all of them. Found in bounded
 * memory, however many rows there are. */
#ifndef CVM_CLI_IMPORT_SHARED_H
#define CVM_CLI_IMPORT_SHARED_H

#include <stdint.h>

#include "import_sort.h"

/* Tells of a row whose token the row in line `first` has too. */
typedef void (*import_shared_cb)(void *argument, const struct import_row *row, uint64_t first);

/* Looks through all rows of the sorter, of which there are `rows`. 0, or -1 with errno. */
int32_t import_shared_find(
    struct import_sort *sort, uint64_t rows, import_shared_cb callback, void *argument);

#endif
