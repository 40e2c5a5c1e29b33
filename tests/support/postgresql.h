/* A PostgreSQL server of the test program's own, and a store in it. */
#ifndef CVM_TESTS_POSTGRESQL_H
#define CVM_TESTS_POSTGRESQL_H

#include "support/harness.h"

/* cmocka's set-up and tear-down of a group. */
int postgresql_start(void **state);
int postgresql_stop(void **state);
/* What an instance on it needs; with is_new another store, which is empty. Static. */
const struct setting *postgresql_settings(int is_new);

#endif
