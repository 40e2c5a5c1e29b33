/* A DynamoDB Local of the test program's own, and a store in it. */
#ifndef CVM_TESTS_DYNAMODB_H
#define CVM_TESTS_DYNAMODB_H

#include "support/harness.h"

/* cmocka's set-up and tear-down of a group. */
int dynamodb_start(void **state);
int dynamodb_stop(void **state);
/* The maker's table. Static. */
const char *dynamodb_location(void);
/* What an instance on it needs; with is_new other tables, which are empty. Static. */
const struct setting *dynamodb_settings(int is_new);

#endif
