/* What a spreadsheet has made of a value that it took for a number, a date or a formula. Such a
 * value has lost what it was: it is refused, and nobody guesses. Pure. */
#ifndef CVM_CLI_IMPORT_SPREADSHEET_H
#define CVM_CLI_IMPORT_SPREADSHEET_H

#include <stdint.h>

/* What has become of a value, as the end of a sentence that begins with its column; NULL if nothing
 * is to be seen. */
const char *import_spreadsheet_harm(const char *text);

/* A column's numbers that are longer than a spreadsheet keeps. One of them may end in zeros by
 * itself; if all do, they were cut. Zeroes make an empty one. */
struct import_long_numbers {
    uint64_t count, cut;
    uint64_t zeros; /* that stand where digits are lost */
};

void import_long_numbers_add(struct import_long_numbers *numbers, const char *text);
/* 1 if the column was cut, beyond chance. */
int32_t import_long_numbers_are_cut(const struct import_long_numbers *numbers);

#endif
