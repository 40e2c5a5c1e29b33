/* The schema: its migrations, one for each version. */
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "statements.h"

/* "@" is the schema and its dot. Migration i brings it from version i to i + 1; those that were
 * released never change, and each leaves tables with which the last release works too. A text that
 * is not set is NULL. Nothing here needs more than a table that is partitioned by uid (keys: by
 * key) can have. */
static const char *const MIGRATIONS[] = {
    "CREATE TABLE @devices (device_uid text COLLATE \"C\" PRIMARY KEY,"
    " device_token text COLLATE \"C\", is_enabled bigint NOT NULL DEFAULT 1,"
    " is_registered bigint NOT NULL DEFAULT 0, is_revoked bigint NOT NULL DEFAULT 0,"
    " is_suspended bigint NOT NULL DEFAULT 0, thing_name text COLLATE \"C\","
    " registered_on text COLLATE \"C\", certificate_id text COLLATE \"C\","
    " public_key_sha256 text COLLATE \"C\", key_origin text COLLATE \"C\","
    " first_issued_at bigint NOT NULL DEFAULT 0, last_issued_at bigint NOT NULL DEFAULT 0,"
    " reissue_count bigint NOT NULL DEFAULT 0, lease_owner text COLLATE \"C\","
    " lease_until bigint NOT NULL DEFAULT 0, lease_public_key_sha256 text COLLATE \"C\","
    " lease_certificate_id text COLLATE \"C\","
    /* Of rows that others insert, too. */
    " revision bigint NOT NULL DEFAULT (random() * 4611686018427387903)::bigint + 1,"
    " change_id bigint NOT NULL DEFAULT 0);"
    "CREATE INDEX devices_thing ON @devices (thing_name) WHERE thing_name IS NOT NULL;"
    "CREATE INDEX devices_unsuspended ON @devices (device_uid)"
    " WHERE is_suspended = is_enabled AND certificate_id IS NOT NULL;"
    "CREATE INDEX devices_disabled ON @devices (device_uid)"
    " WHERE is_enabled = 0 AND certificate_id IS NOT NULL;"
    "CREATE INDEX devices_leased ON @devices (device_uid)"
    " WHERE lease_owner IS NOT NULL OR lease_certificate_id IS NOT NULL;"
    "CREATE TABLE @certificates (certificate_id text COLLATE \"C\" NOT NULL,"
    " device_uid text COLLATE \"C\" NOT NULL, state text COLLATE \"C\" NOT NULL,"
    " serial text COLLATE \"C\", issuer text COLLATE \"C\", not_before bigint NOT NULL,"
    " not_after bigint NOT NULL, revoke_after bigint NOT NULL, revoked_at bigint NOT NULL,"
    " reason text COLLATE \"C\", successor text COLLATE \"C\","
    " public_key_sha256 text COLLATE \"C\", pem text COLLATE \"C\", issued_at bigint NOT NULL,"
    " change_id bigint NOT NULL DEFAULT 0, PRIMARY KEY (device_uid, certificate_id));"
    /* The last line of defence. */
    "CREATE UNIQUE INDEX certificates_current ON @certificates (device_uid)"
    " WHERE state = 'current';"
    "CREATE INDEX certificates_id ON @certificates (certificate_id);"
    "CREATE INDEX certificates_due ON @certificates (revoke_after, certificate_id)"
    " WHERE state = 'retiring';"
    "CREATE INDEX certificates_revoked ON @certificates (certificate_id)"
    " WHERE state IN ('revoked', 'retiring');"
    "CREATE INDEX certificates_public_key ON @certificates (public_key_sha256)"
    " WHERE public_key_sha256 IS NOT NULL;"
    /* Whose a key is: of one device, as long as a certificate for it may be accepted. */
    "CREATE TABLE @keys (public_key_sha256 text COLLATE \"C\" PRIMARY KEY,"
    " device_uid text COLLATE \"C\" NOT NULL,"
    " blocked_until bigint NOT NULL DEFAULT 0);" /* it was compromised: nobody's until then */
    "CREATE INDEX keys_device ON @keys (device_uid);"
    "CREATE TABLE @meta (name text COLLATE \"C\" PRIMARY KEY, value text NOT NULL,"
    " version bigint NOT NULL, change_id bigint NOT NULL DEFAULT 0);",
};
#define VERSION ((int)(sizeof MIGRATIONS / sizeof MIGRATIONS[0]))

/* --- What there is ---------------------------------------------------------------------------- */

static cvm_answer_t schema_fail(PGconn *connection, char *error, size_t size)
{
    (void)snprintf(error, size, "%s", PQerrorMessage(connection));
    error[strcspn(error, "\n")] = 0;
    return CVM_ANSWER_UNAVAILABLE;
}

/* Runs a statement without an answer. */
static cvm_answer_t schema_run(
    PGconn *connection, const char *form, const char *schema, char *error, size_t size)
{
    char *text = cvm_statement_render(form, schema);
    PGresult *result = text ? PQexec(connection, text) : NULL;
    cvm_answer_t answer = result && PQresultStatus(result) == PGRES_COMMAND_OK
                              ? CVM_ANSWER_OK
                              : schema_fail(connection, error, size);
    PQclear(result);
    free(text);
    return answer;
}

/* *version: 0 if there are no tables. */
static cvm_answer_t schema_version(
    PGconn *connection, const char *schema, int *version, char *error, size_t size)
{
    char *text = cvm_statement_render("SELECT max(version) FROM @schema_version", schema);
    PGresult *result = text ? PQexec(connection, text) : NULL;
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    cvm_answer_t answer = CVM_ANSWER_OK;
    *version = 0;
    if (result && PQresultStatus(result) == PGRES_TUPLES_OK)
        *version = (int)strtol(PQgetvalue(result, 0, 0), NULL, 10);
    else if (!state || (strcmp(state, "42P01") != 0 && strcmp(state, "3F000") != 0))
        answer = schema_fail(connection, error, size); /* neither table nor schema is no failure */
    PQclear(result);
    free(text);
    return answer;
}

/* NULL, or what is wrong with a version. */
static const char *schema_fault(int version)
{
    if (version == 0)
        return "has no store yet: `cvm store migrate` makes one";
    if (version < VERSION)
        return "is of an older release: `cvm store migrate` brings it up to date";
    return version > VERSION ? "was written by a newer release" : NULL;
}

cvm_answer_t cvm_schema_check(PGconn *connection, const char *schema, char *error, size_t size)
{
    int version;
    cvm_answer_t answer = schema_version(connection, schema, &version, error, size);
    const char *fault = answer == CVM_ANSWER_OK ? schema_fault(version) : NULL;
    if (!fault)
        return answer;
    (void)snprintf(error, size, "schema %s (version %d, this release has %d) %s", schema, version,
        VERSION, fault);
    return CVM_ANSWER_INVALID;
}

/* --- Making it -------------------------------------------------------------------------------- */

/* Whoever comes second waits here, and finds it done. */
static const char MAKE_SCHEMA[] = "CREATE SCHEMA IF NOT EXISTS \"%s\"";
static const char MAKE_VERSIONS[] =
    "CREATE TABLE IF NOT EXISTS @schema_version (version bigint PRIMARY KEY)";
#define NOTE_VERSION "INSERT INTO @schema_version VALUES (%d)"
static const char LOCK[] = "LOCK TABLE @schema_version IN ACCESS EXCLUSIVE MODE";

static cvm_answer_t schema_migrate_all(
    PGconn *connection, const char *schema, char *text, size_t size)
{
    int version = 0;
    cvm_answer_t answer = schema_run(connection, LOCK, schema, text, size);
    if (answer == CVM_ANSWER_OK)
        answer = schema_version(connection, schema, &version, text, size);
    if (answer == CVM_ANSWER_OK)
        (void)snprintf(text, size, "schema %s %s (version %d)", schema,
            version == 0        ? "was made"
            : version < VERSION ? "was brought up to date"
                                : "is up to date",
            version < VERSION ? VERSION : version);
    for (; answer == CVM_ANSWER_OK && version < VERSION; version++) {
        char done[80];
        (void)snprintf(done, sizeof done, NOTE_VERSION, version + 1);
        answer = schema_run(connection, MIGRATIONS[version], schema, text, size);
        if (answer == CVM_ANSWER_OK)
            answer = schema_run(connection, done, schema, text, size);
    }
    return answer;
}

int32_t cvm_schema_is_there(PGconn *connection, const char *schema)
{
    char error[8];
    int version;
    return schema_version(connection, schema, &version, error, sizeof error) == CVM_ANSWER_OK &&
           version > 0;
}

/* "IF NOT EXISTS" is no lock: of two that make the same, one may fail, and finds it there. */
static void schema_begin(PGconn *connection, const char *schema)
{
    char form[160], error[8];
    (void)snprintf(form, sizeof form, MAKE_SCHEMA, schema);
    (void)schema_run(connection, form, schema, error, sizeof error);
    (void)schema_run(connection, MAKE_VERSIONS, schema, error, sizeof error);
}

cvm_answer_t cvm_schema_migrate(PGconn *connection, const char *schema, char *text, size_t size)
{
    if (!cvm_schema_is_there(connection, schema))
        schema_begin(connection, schema);
    cvm_answer_t answer = schema_run(connection, "BEGIN", schema, text, size);
    if (answer == CVM_ANSWER_OK)
        answer = schema_migrate_all(connection, schema, text, size);
    char ignored[8];
    if (answer == CVM_ANSWER_OK)
        answer = schema_run(connection, "COMMIT", schema, text, size);
    else
        (void)schema_run(connection, "ROLLBACK", schema, ignored, sizeof ignored);
    if (answer != CVM_ANSWER_OK)
        return answer;
    char fault[160];
    answer = cvm_schema_check(connection, schema, fault, sizeof fault);
    if (answer != CVM_ANSWER_OK)
        (void)snprintf(text, size, "%s", fault);
    return answer;
}

/* --- Printing it ------------------------------------------------------------------------------ */

/* A statement a line. */
static void schema_print_one(FILE *out, const char *form, const char *schema)
{
    char *text = cvm_statement_render(form, schema);
    for (const char *at = text; at && *at; at++)
        if (fputc(*at, out) == ';' && at[1])
            (void)fputc('\n', out);
    if (text && *text && text[strlen(text) - 1] != ';')
        (void)fputc(';', out);
    (void)fputc('\n', out);
    free(text);
}

static void schema_print_all(FILE *out, const char *schema, int version)
{
    char form[160];
    (void)fputs("BEGIN;\n", out);
    if (version == 0) {
        (void)snprintf(form, sizeof form, MAKE_SCHEMA, schema);
        schema_print_one(out, form, schema);
        schema_print_one(out, MAKE_VERSIONS, schema);
    }
    schema_print_one(out, LOCK, schema);
    for (; version < VERSION; version++) {
        schema_print_one(out, MIGRATIONS[version], schema);
        (void)snprintf(form, sizeof form, NOTE_VERSION, version + 1);
        schema_print_one(out, form, schema);
    }
    (void)fputs("COMMIT;\n"
                "-- A server's role needs USAGE of the schema, and SELECT, INSERT, UPDATE and "
                "DELETE of its tables.\n",
        out);
}

cvm_answer_t cvm_schema_print(
    PGconn *connection, const char *schema, char **statements, char *text, size_t size)
{
    int version;
    size_t length;
    cvm_answer_t answer = schema_version(connection, schema, &version, text, size);
    if (answer != CVM_ANSWER_OK)
        return answer;
    if (version > VERSION)
        return cvm_schema_check(connection, schema, text, size);
    FILE *out = open_memstream(statements, &length);
    if (!out) {
        (void)snprintf(text, size, "out of memory");
        return CVM_ANSWER_UNAVAILABLE;
    }
    if (version < VERSION)
        schema_print_all(out, schema, version);
    return fclose(out) ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK;
}
