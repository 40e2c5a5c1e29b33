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
/* 1 if the store leads to the certificate: as a device's current one, in a lease, or retiring. */
int32_t is_recorded(const char *certificate_id);
/* The device's lease is over. */
void expire_lease(const char *uid);
/* The harness's: at the end of a test. */
void store_file_close(void);

#endif
