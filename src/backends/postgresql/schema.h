/* The tables, and which release made them. */
#ifndef CVM_POSTGRESQL_SCHEMA_H
#define CVM_POSTGRESQL_SCHEMA_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/plugin.h"
#include "session.h"

/* Blocks; in a thread. Both: OK, INVALID (what is there is no store of this release's) or
 * UNAVAILABLE, and why. */
cvm_answer_t cvm_schema_check(
    struct session *session, const char *schema, char *error, size_t size);
/* 1 if there is one, of whatever release. */
int32_t cvm_schema_is_there(struct session *session, const char *schema);
/* Makes the tables, or brings them up to date, and says so; several may try at once. */
cvm_answer_t cvm_schema_migrate(
    struct session *session, const char *schema, char *text, size_t size);
/* *statements: what that would run, freed by the caller. Else text says why not. */
cvm_answer_t cvm_schema_print(
    struct session *session, const char *schema, char **statements, char *text, size_t size);

#endif
