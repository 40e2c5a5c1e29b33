/* A PostgreSQL server of the test program's own, and a store in it. */
#ifndef CVM_TESTS_POSTGRESQL_H
#define CVM_TESTS_POSTGRESQL_H

#include "support/harness.h"

/* cmocka's set-up and tear-down of a group. */
int postgresql_start(void **state);
int postgresql_stop(void **state);
/* The same through pgbouncer, which is started for it. */
const struct setting *postgresql_pooled_settings(int is_new);
/* Its socket's folder, and a connection string. Static. */
const char *postgresql_folder(void);
const char *postgresql_location(void);
/* Its machine loses power, and comes back. */
void postgresql_restart(void);
/* All its processes stop (SIGSTOP), or go on. */
void postgresql_freeze(int is_frozen);
/* What an instance on it needs; with is_new another store, which is empty. Static. */
const struct setting *postgresql_settings(int is_new);

#endif
