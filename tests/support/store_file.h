/* Looking into the file store's file, and changing it, behind the instances' back. */
#ifndef CVM_TESTS_STORE_FILE_H
#define CVM_TESTS_STORE_FILE_H

#include "support/test.h"

/* Runs a statement, made as by printf, beside the instances. */
void sql(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with a text in the place of ?1. */
void sql_text(const char *statement, const char *text);
/* The first number that it answers; 0 without a row. */
int64_t sql_number(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* As is_recorded() (support/records.h), but by SQL: for a test that counts allocations. */
int32_t file_is_recorded(const char *certificate_id);

#endif
