/* CSV (RFC 4180): a header that names the columns, and lines of fields. Pure. */
#ifndef CVM_CLI_IMPORT_CSV_H
#define CVM_CLI_IMPORT_CSV_H

#include <stdint.h>

#include "import_row.h"

#define IMPORT_COLUMNS 3

/* Which column stands where. */
struct import_csv {
    uint32_t count;
    uint32_t meaning[IMPORT_COLUMNS];
    char complaint[160]; /* what the functions here return points to this or is static */
};

/* Both write to the text, which ends in NUL, and return NULL or what is wrong with it. */
const char *import_csv_header(struct import_csv *csv, char *text, int32_t tokens_are_computed);
const char *import_csv_line(struct import_csv *csv, char *text, struct import_fields *fields);

#endif
