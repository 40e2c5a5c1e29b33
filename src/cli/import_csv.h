/* CSV (RFC 4180): a header that names the columns, and lines of fields. Pure. */
#ifndef CVM_CLI_IMPORT_CSV_H
#define CVM_CLI_IMPORT_CSV_H

#include <stdint.h>

#include "import_row.h"
#include "import_spreadsheet.h"

#define IMPORT_COLUMNS     3
#define IMPORT_MOST_FIELDS 256 /* of a header: a spreadsheet may add empty ones without end */

/* Which column stands where. */
struct import_csv {
    char separator;
    uint32_t count;
    uint32_t meaning[IMPORT_MOST_FIELDS]; /* IMPORT_COLUMNS: none */
    struct import_long_numbers long_numbers[IMPORT_COLUMNS];
    char complaint[320]; /* what the functions here return points to this or is static */
};

/* Both write to the text, which ends in NUL, and return NULL or what is wrong with it. */
const char *import_csv_header(struct import_csv *csv, char *text, int32_t tokens_are_computed);
/* No field at all: the line is empty. */
const char *import_csv_line(struct import_csv *csv, char *text, struct import_fields *fields);
/* After the last line: what is wrong with a whole column, or NULL. */
const char *import_csv_finish(struct import_csv *csv);

#endif
