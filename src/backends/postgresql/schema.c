/* The schema: its migrations, one for each version. */
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "statements.h"

/* Columns. Their types carry the lengths: PostgreSQL parses all CHECKs of a table anew for each
 * statement, a domain's only once, and looks at it when such a column is written. */
#define LENGTH(longest)                                                                            \
    "CREATE DOMAIN @text_" #longest                                                                \
    " AS text COLLATE \"C\" CHECK (octet_length(VALUE) <= " #longest ");"
#define TEXT(name, longest) " " #name " @text_" #longest ","
#define NUMBER(name, value) " " #name " bigint NOT NULL DEFAULT " #value ","

/* "@" is the schema and its dot. Migration i brings it from version i to i + 1; those that were
 * released never change, and each leaves tables with which the last release works too. A text that
 * is not set is NULL. Nothing here needs more than a table that is partitioned by uid (keys: by
 * key) can have. */
/* clang-format off */
static const char *const MIGRATIONS[] = {
    /* The rules are for rows that others insert: one that can't be read would hold up a whole page
     * of a scan. */
    "CREATE DOMAIN @uid AS text COLLATE \"C\" CHECK (VALUE !~ '[^!-~]'"
    " AND octet_length(VALUE) BETWEEN 1 AND 128);"
    LENGTH(8) LENGTH(24) LENGTH(32) LENGTH(40) LENGTH(64) LENGTH(128) LENGTH(256) LENGTH(8192)
    /* A column a line. */
    "CREATE TABLE @devices ("
    "device_uid @uid PRIMARY KEY,"
    TEXT(device_token, 256)
    NUMBER(is_enabled, 1)
    NUMBER(is_registered, 0)
    NUMBER(is_revoked, 0)
    NUMBER(is_suspended, 0)
    TEXT(thing_name, 128)
    TEXT(registered_on, 40)
    TEXT(certificate_id, 64)
    TEXT(public_key_sha256, 64)
    TEXT(key_origin, 8)
    NUMBER(first_issued_at, 0)
    NUMBER(last_issued_at, 0)
    NUMBER(reissue_count, 0)
    TEXT(lease_owner, 32)
    NUMBER(lease_until, 0)
    TEXT(lease_public_key_sha256, 64)
    TEXT(lease_certificate_id, 64)
    " revision bigint NOT NULL DEFAULT (random() * 4611686018427387903)::bigint + 1,"
    " change_id bigint NOT NULL DEFAULT 0);"
    "CREATE INDEX devices_thing ON @devices (thing_name) WHERE thing_name IS NOT NULL;"
    "CREATE INDEX devices_unsuspended ON @devices (device_uid)"
    " WHERE is_suspended = is_enabled AND certificate_id IS NOT NULL;"
    "CREATE INDEX devices_disabled ON @devices (device_uid)"
    " WHERE is_enabled = 0 AND certificate_id IS NOT NULL;"
    "CREATE INDEX devices_leased ON @devices (device_uid)"
    " WHERE lease_owner IS NOT NULL OR lease_certificate_id IS NOT NULL;"
    "CREATE TABLE @certificates ("
    "certificate_id @text_64 NOT NULL,"
    " device_uid @uid NOT NULL,"
    " state @text_8 NOT NULL,"
    TEXT(serial, 40)
    TEXT(issuer, 40)
    NUMBER(not_before, 0)
    NUMBER(not_after, 0)
    NUMBER(revoke_after, 0)
    NUMBER(revoked_at, 0)
    TEXT(reason, 24)
    TEXT(successor, 64)
    TEXT(public_key_sha256, 64)
    TEXT(pem, 8192)
    " issued_at bigint NOT NULL DEFAULT 0,"
    " change_id bigint NOT NULL DEFAULT 0,"
    " PRIMARY KEY (device_uid, certificate_id));"
    /* The last line of defence. */
    "CREATE UNIQUE INDEX certificates_current ON @certificates (device_uid)"
    " WHERE state = 'current';"
    "CREATE INDEX certificates_id ON @certificates (certificate_id);"
    "CREATE INDEX certificates_due ON @certificates (revoke_after, "
    "certificate_id)"
    " WHERE state = 'retiring';"
    "CREATE INDEX certificates_revoked ON @certificates (certificate_id)"
    " WHERE state IN ('revoked', 'retiring');"
    "CREATE INDEX certificates_public_key ON @certificates (public_key_sha256)"
    " WHERE public_key_sha256 IS NOT NULL;"
    /* Whose a key is: of one device, as long as a certificate for it may be
       accepted. */
    "CREATE TABLE @keys (public_key_sha256 text COLLATE \"C\" PRIMARY KEY,"
    " device_uid text COLLATE \"C\" NOT NULL,"
    " blocked_until bigint NOT NULL DEFAULT 0);" /* it was compromised: nobody's
                                                    until then */
    "CREATE TABLE @meta (name text COLLATE \"C\" PRIMARY KEY, value text NOT "
    "NULL,"
    " version bigint NOT NULL, change_id bigint NOT NULL DEFAULT 0);"
    /* For people: no token, and times as such. */
    "CREATE VIEW @fleet AS SELECT d.device_uid, CASE WHEN d.is_revoked <> 0 THEN 'revoked'"
    " WHEN d.is_enabled = 0 THEN 'disabled' WHEN d.is_registered <> 0 THEN 'registered'"
    " ELSE 'waiting' END AS state, d.thing_name, d.certificate_id, c.serial,"
    " to_timestamp(c.not_after / 1000) AS certificate_ends,"
    " to_timestamp(nullif(d.first_issued_at, 0) / 1000) AS first_issued,"
    " to_timestamp(nullif(d.last_issued_at, 0) / 1000) AS last_issued, d.reissue_count"
    " FROM @devices d LEFT JOIN @certificates c"
    " ON c.device_uid = d.device_uid AND c.certificate_id = d.certificate_id;",
};
/* clang-format on */

#define INSUFFICIENT_PRIVILEGE "42501"
#define UNDEFINED_TABLE        "42P01"
#define UNDEFINED_SCHEMA       "3F000"
#define IS_THERE               "42P07" /* a table of that name */

#define VERSION ((int)(sizeof MIGRATIONS / sizeof MIGRATIONS[0]))

/* --- What there is ---------------------------------------------------------------------------- */

/* result: NULL if there is none. */
static cvm_answer_t schema_fail(
    const struct session *session, const PGresult *result, char *error, size_t size)
{
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *message =
        result ? PQresultErrorMessage(result) : PQerrorMessage(session->connection);
    (void)snprintf(error, size, "%.*s", (int)strcspn(message, "\n"),
        *message ? message : "it does not answer");
    return state && (strcmp(state, INSUFFICIENT_PRIVILEGE) == 0 || strcmp(state, IS_THERE) == 0)
               ? CVM_ANSWER_INVALID
               : CVM_ANSWER_UNAVAILABLE;
}

/* Runs a statement without an answer. */
static cvm_answer_t schema_run(
    struct session *session, const char *form, const char *schema, char *error, size_t size)
{
    char *text = cvm_statement_render(form, schema);
    PGresult *result = text ? cvm_session_run(session, text) : NULL;
    cvm_answer_t answer = result && PQresultStatus(result) == PGRES_COMMAND_OK
                              ? CVM_ANSWER_OK
                              : schema_fail(session, result, error, size);
    PQclear(result);
    free(text);
    return answer;
}

struct version {
    int tables; /* 0: there are none */
    int least;  /* the oldest release's that works with them */
};

static cvm_answer_t schema_version(
    struct session *session, const char *schema, struct version *version, char *error, size_t size)
{
    char *text =
        cvm_statement_render("SELECT max(version), max(works_with) FROM @schema_version", schema);
    PGresult *result = text ? cvm_session_run(session, text) : NULL;
    const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    cvm_answer_t answer = CVM_ANSWER_OK;
    *version = (struct version){0, 0};
    if (result && PQresultStatus(result) == PGRES_TUPLES_OK)
        *version = (struct version){(int)strtol(PQgetvalue(result, 0, 0), NULL, 10),
            (int)strtol(PQgetvalue(result, 0, 1), NULL, 10)};
    else if (!state ||
             (strcmp(state, UNDEFINED_TABLE) != 0 && strcmp(state, UNDEFINED_SCHEMA) != 0))
        answer = schema_fail(session, result, error, size);
    PQclear(result);
    free(text);
    return answer;
}

/* NULL, or what is wrong with a version. */
static const char *schema_fault(const struct version *version)
{
    if (version->tables == 0)
        return "has no store yet: `cvm store migrate` makes one";
    if (version->tables < VERSION)
        return "is of an older release: `cvm store migrate` brings it up to date";
    return version->least > VERSION ? "was written by a newer release" : NULL;
}

/* Whether the role may do all that a server does. */
static cvm_answer_t schema_check_rights(
    struct session *session, const char *schema, char *error, size_t size)
{
    char form[400];
    (void)snprintf(form, sizeof form,
        "SELECT bool_and(has_table_privilege('\"%s\".' || name, of)) FROM"
        " unnest(ARRAY['devices', 'certificates', 'keys', 'meta']) AS name,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS of",
        schema);
    PGresult *result = cvm_session_run(session, form);
    cvm_answer_t answer = CVM_ANSWER_OK;
    if (!result || PQresultStatus(result) != PGRES_TUPLES_OK) {
        answer = schema_fail(session, result, error, size);
    } else if (*PQgetvalue(result, 0, 0) != 't') {
        (void)snprintf(error, size,
            "the role needs SELECT, INSERT, UPDATE and DELETE of the tables of schema %s", schema);
        answer = CVM_ANSWER_INVALID;
    }
    PQclear(result);
    return answer;
}

cvm_answer_t cvm_schema_check(struct session *session, const char *schema, char *error, size_t size)
{
    struct version version;
    cvm_answer_t answer = schema_version(session, schema, &version, error, size);
    const char *fault = answer == CVM_ANSWER_OK ? schema_fault(&version) : NULL;
    if (!fault)
        return answer == CVM_ANSWER_OK ? schema_check_rights(session, schema, error, size) : answer;
    (void)snprintf(error, size, "schema %s (version %d, this release has %d) %s", schema,
        version.tables, VERSION, fault);
    return CVM_ANSWER_INVALID;
}

/* --- Making it -------------------------------------------------------------------------------- */

/* Whoever comes second waits here, and finds it done. */
static const char MAKE_SCHEMA[] = "CREATE SCHEMA IF NOT EXISTS \"%s\"";
static const char MAKE_VERSIONS[] =
    "CREATE TABLE IF NOT EXISTS @schema_version (version bigint PRIMARY KEY,"
    " works_with bigint NOT NULL)";
/* Each migration so far leaves tables that need a release which knows it. */
#define NOTE_VERSION "INSERT INTO @schema_version VALUES (%d, %d)"
static const char LOCK[] = "LOCK TABLE @schema_version IN ACCESS EXCLUSIVE MODE";

static cvm_answer_t schema_migrate_all(
    struct session *session, const char *schema, char *text, size_t size)
{
    struct version version = {0, 0};
    cvm_answer_t answer = schema_run(session, LOCK, schema, text, size);
    if (answer == CVM_ANSWER_OK)
        answer = schema_version(session, schema, &version, text, size);
    if (answer == CVM_ANSWER_OK)
        (void)snprintf(text, size, "schema %s %s (version %d)", schema,
            version.tables == 0        ? "was made"
            : version.tables < VERSION ? "was brought up to date"
                                       : "is up to date",
            version.tables < VERSION ? VERSION : version.tables);
    for (int i = version.tables; answer == CVM_ANSWER_OK && i < VERSION; i++) {
        char done[80];
        (void)snprintf(done, sizeof done, NOTE_VERSION, i + 1, i + 1);
        answer = schema_run(session, MIGRATIONS[i], schema, text, size);
        if (answer == CVM_ANSWER_OK)
            answer = schema_run(session, done, schema, text, size);
    }
    return answer;
}

int32_t cvm_schema_is_there(struct session *session, const char *schema)
{
    char error[8];
    struct version version;
    return schema_version(session, schema, &version, error, sizeof error) == CVM_ANSWER_OK &&
           version.tables > 0;
}

/* "IF NOT EXISTS" is no lock: of two that make the same, one may fail, and finds it there. Why the
 * first one failed is told if nothing is there after all. */
static void schema_begin(struct session *session, const char *schema, char *why, size_t size)
{
    char form[160], next[160];
    (void)snprintf(form, sizeof form, MAKE_SCHEMA, schema);
    if (schema_run(session, form, schema, why, size) == CVM_ANSWER_OK)
        *why = 0;
    if (schema_run(session, MAKE_VERSIONS, schema, next, sizeof next) != CVM_ANSWER_OK && !*why)
        (void)snprintf(why, size, "%s", next);
}

cvm_answer_t cvm_schema_migrate(
    struct session *session, const char *schema, char *text, size_t size)
{
    char why[160] = "", ignored[8];
    if (!cvm_schema_is_there(session, schema))
        schema_begin(session, schema, why, sizeof why);
    cvm_answer_t answer = schema_run(session, "BEGIN", schema, text, size);
    if (answer == CVM_ANSWER_OK)
        answer = schema_migrate_all(session, schema, text, size);
    if (answer == CVM_ANSWER_OK)
        answer = schema_run(session, "COMMIT", schema, text, size);
    else
        (void)schema_run(session, "ROLLBACK", schema, ignored, sizeof ignored);
    if (answer != CVM_ANSWER_OK) {
        if (*why && strstr(text, "does not exist"))
            (void)snprintf(text, size, "%s", why);
        return answer;
    }
    answer = cvm_schema_check(session, schema, why, sizeof why);
    if (answer != CVM_ANSWER_OK)
        (void)snprintf(text, size, "%s", why);
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
        (void)snprintf(form, sizeof form, NOTE_VERSION, version + 1, version + 1);
        schema_print_one(out, form, schema);
    }
    (void)fputs("COMMIT;\n"
                "-- A server's role needs USAGE of the schema, and SELECT, INSERT, UPDATE and "
                "DELETE of its tables.\n",
        out);
}

cvm_answer_t cvm_schema_print(
    struct session *session, const char *schema, char **statements, char *text, size_t size)
{
    struct version version;
    size_t length;
    cvm_answer_t answer = schema_version(session, schema, &version, text, size);
    if (answer != CVM_ANSWER_OK)
        return answer;
    if (version.least > VERSION)
        return cvm_schema_check(session, schema, text, size);
    FILE *out = open_memstream(statements, &length);
    if (!out) {
        (void)snprintf(text, size, "out of memory");
        return CVM_ANSWER_UNAVAILABLE;
    }
    if (version.tables < VERSION)
        schema_print_all(out, schema, version.tables);
    return fclose(out) ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK;
}
