/* Sorts any number of rows by uid in bounded memory: what doesn't fit goes to an unlinked temporary
 * file in sorted runs, which are merged when the rows are read. */
#ifndef CVM_CLI_IMPORT_SORT_H
#define CVM_CLI_IMPORT_SORT_H

#include <stddef.h>
#include <stdint.h>

#include "import_row.h"

struct import_sort;

/* memory: bytes for rows, at least 64 KiB; directory: where the temporary file goes, if there is
 * one. NULL without memory. */
struct import_sort *import_sort_new(size_t memory, const char *directory);
void import_sort_free(struct import_sort *sort);
/* Takes a copy of a row; duplicate_of is not kept. 0, or -1 with errno. */
int32_t import_sort_add(struct import_sort *sort, const struct import_row *row);
/* After the last row, and to read again: begins at the smallest uid. 0, or -1 with errno. */
int32_t import_sort_rewind(struct import_sort *sort);
/* The next row, in order of uid and then line; duplicate_of is filled in. Its uid is good until the
 * next call. 1, 0 at the end, -1 with errno. */
int32_t import_sort_next(struct import_sort *sort, struct import_row *row);

#endif
