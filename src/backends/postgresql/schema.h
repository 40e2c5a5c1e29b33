/* The tables, and which release made them. */
#ifndef CVM_POSTGRESQL_SCHEMA_H
#define CVM_POSTGRESQL_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "cvm/plugin.h"

/* Blocks; in a thread. Both: OK, INVALID (what is there is no store of this release's) or
 * UNAVAILABLE, and why. */
cvm_answer_t cvm_schema_check(PGconn *connection, const char *schema, char *error, size_t size);
/* Makes the tables, or brings them up to date; several may try at once. */
cvm_answer_t cvm_schema_migrate(PGconn *connection, const char *schema, char *error, size_t size);

#endif
