/*
 * The text of every statement. Each operation is one statement where it can be, so that a batch of
 * them costs one exchange, and what is expected of an operation (a conflict, a key that another
 * device has) is a row that it answers and never an error, which would fail the whole batch.
 *
 * In the forms "@" stands for the schema and its dot, and "?" for parameters that are counted: ?t a
 * text, ?b a number, ?T and ?B arrays of them, and ?9| says that the next one is the ninth. Column
 * lists come from the field tables in plugin.h, in their order. Texts compare as bytes: the columns
 * are COLLATE "C".
 *
 * A change leaves its id (a random number) in the rows that it writes. One whose outcome nobody
 * knows is asked for again and takes its own trace for the row as it was read: so it answers what
 * the first one did, and has to wait for its commit as that had to.
 */
#include "statements.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cvm/plugin.h"

#define NAME(id, name, kind, longest)         "," #name
#define QUALIFIED(id, name, kind, longest)    ",c." #name
#define WRITTEN_NAME(id, name, kind, longest) ",w." #name
#define VALUE_TEXT                            ",?t"
#define VALUE_NUMBER                          ",?b"
#define ARRAY_TEXT                            ",?T"
#define ARRAY_NUMBER                          ",?B"
#define VALUE(id, name, kind, longest)        VALUE_##kind
#define ARRAY(id, name, kind, longest)        ARRAY_##kind
#define NAMED_VALUE(id, name, kind, longest)  VALUE_##kind " AS " #name
#define SET_TEXT                              "?t"
#define SET_NUMBER                            "?b"
#define SET(id, name, kind, longest)          "," #name "=" SET_##kind

#define DEVICE_NAMES      "device_uid" CVM_DEVICE_OTHER_FIELDS(NAME)
#define CERTIFICATE_NAMES "certificate_id" CVM_CERTIFICATE_OTHER_FIELDS(NAME)
/* Without the PEM, which is most of a row. */
#define SCANNED_NAMES "certificate_id" CVM_CERTIFICATE_SCANNED_FIELDS(NAME) ",NULL"

#define NOW_MS "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
#define NOW_US "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

/* --- Changes ---------------------------------------------------------------------------------- */

/*
 * The parameters, by what a change has:
 *
 *   many certificates   $4 the key that the device is to have anew, $5 the keys that it may lose,
 *                       $6 and $7 those that nobody may have any more, and until when,
 *                       $8 to $20 the certificates (arrays), from $21 on the device's fields
 *   one certificate     and no key that is lost: $4 the key, $5 to $17 the certificate, from $18 on
 *                       the device's fields
 *   none, and no key    from $4 on the device's fields
 *
 * and in all of them $1 the uid, $2 the revision as it was read (or the first one), $3 the change's
 * id. Each part of a statement costs, needed or not: hence the three.
 *
 * No part joins two tables: a plan that is made while they are empty serves while they grow.
 */
#define MANY_CERTIFICATES                                                                          \
    "(SELECT * FROM unnest(?8|?T" CVM_CERTIFICATE_OTHER_FIELDS(                                    \
        ARRAY) ") WITH ORDINALITY AS g(" CERTIFICATE_NAMES ",place) ORDER BY place)"
#define ONE_CERTIFICATE                                                                            \
    "(SELECT ?5|?t AS certificate_id" CVM_CERTIFICATE_OTHER_FIELDS(NAMED_VALUE) ")"

/* A second current certificate would be the index's error. */
#define CURRENT_BESIDE(ids)                                                                        \
    "EXISTS (SELECT FROM @certificates x WHERE x.device_uid = $1 AND x.state = 'current'"          \
    " AND x.certificate_id <> " ids ")"
#define ONE_CURRENT_OF_MANY                                                                        \
    "NOT ('current' = ANY ($10::text[]) AND " CURRENT_BESIDE("ALL ($8::text[])") ")"
#define IT_IS_THE_CURRENT_ONE "NOT ($7::text = 'current' AND " CURRENT_BESIDE("$5::text") ")"

/* Fails, by 22P02, once the store is frozen. A statement looks after it has its lock on the tables,
 * which whoever freezes the store waits for. */
#define NOT_FROZEN "(SELECT name::integer FROM @meta WHERE name = '" CVM_FROZEN "') IS NULL"
/* The value that freezes and thaws it is written all the same. */
#define MAY_PUT "($1::text = '" CVM_FROZEN "' OR " NOT_FROZEN ")"

/* The key is nobody's, its own, or was another's whose certificate has ended. */
#define CLAIMED                                                                                    \
    "claimed AS (INSERT INTO @keys AS k (public_key_sha256, device_uid)"                           \
    " SELECT $4::text, device_uid FROM allowed WHERE $4 IS NOT NULL"                               \
    " ON CONFLICT (public_key_sha256) DO UPDATE SET device_uid = excluded.device_uid,"             \
    " blocked_until = 0 WHERE (k.device_uid = excluded.device_uid AND k.blocked_until = 0)"        \
    " OR (k.blocked_until <> 0 AND k.blocked_until <= " NOW_MS ") RETURNING 1)"
#define KEY_IS_ITS_OWN "($4 IS NULL OR EXISTS (SELECT FROM claimed))"

/* clang-format off */
#define STORED(certificates, condition)                                                            \
    "stored AS (INSERT INTO @certificates AS c (" CERTIFICATE_NAMES ",issued_at,change_id)"        \
    " SELECT w.certificate_id" CVM_CERTIFICATE_OTHER_FIELDS(WRITTEN_NAME)                          \
    "," NOW_US ",$3::bigint FROM " certificates " AS w WHERE " condition                           \
    " AND (SELECT 1 FROM @certificates o WHERE o.certificate_id = w.certificate_id"                \
    " AND o.device_uid <> w.device_uid LIMIT 1) IS NULL"                                           \
    " ON CONFLICT (device_uid, certificate_id) DO UPDATE SET state = excluded.state,"              \
    " revoke_after = excluded.revoke_after, revoked_at = excluded.revoked_at,"                     \
    " reason = CASE WHEN c.state IN ('retiring', 'revoked') AND excluded.state = 'revoked'"        \
    " THEN c.reason ELSE excluded.reason END, successor = excluded.successor,"                     \
    " change_id = excluded.change_id"                                                              \
    " WHERE c.state <> 'revoked' OR c.change_id = excluded.change_id RETURNING 1)"
/* clang-format on */

/* A key is free once no certificate of the device's that may still be accepted has it. */
#define FREED(condition)                                                                           \
    "freed AS (DELETE FROM @keys k WHERE k.device_uid = $1 AND k.blocked_until = 0"                \
    " AND k.public_key_sha256 = ANY($5::text[]) AND " condition                                    \
    " AND (SELECT 1 FROM @certificates c WHERE c.device_uid = $1"                                  \
    " AND c.public_key_sha256 = k.public_key_sha256 AND c.state <> 'revoked'"                      \
    " AND c.certificate_id <> ALL ($8::text[]) LIMIT 1) IS NULL)"

#define BLOCKED(condition)                                                                         \
    "blocked AS (INSERT INTO @keys AS k (public_key_sha256, device_uid, blocked_until)"            \
    " SELECT b.key, $1, b.until FROM unnest($6::text[], $7::bigint[]) AS b(key, until) "           \
    "WHERE " condition " ON CONFLICT (public_key_sha256)"                                          \
    " DO UPDATE SET blocked_until = greatest(k.blocked_until, excluded.blocked_until))"

/* A load's row, before it is tried: that costs more than a look. */
#define IS_NEW "(SELECT 1 FROM @devices d WHERE d.device_uid = g.device_uid) IS NULL"

/* Fails the transaction, by division_by_zero: see link.c. */
#define GUARD(condition) "1 / CASE WHEN " condition " THEN 0 ELSE 1 END"

#define CHANGED_DEVICE "EXISTS (SELECT FROM changed)"
#define IS_ANY(part)   "(EXISTS (SELECT FROM " part "))::integer"
#define CAME_TO        " SELECT " IS_ANY("allowed") ", " IS_ANY("changed")
/* Of interest only if it was not changed. */
#define REVISION_NOW                                                                               \
    ", (SELECT revision FROM @devices d WHERE d.device_uid = $1 AND NOT " CHANGED_DEVICE ")"
#define WITH_IT                                                                                    \
    STORED(MANY_CERTIFICATES, CHANGED_DEVICE)                                                      \
    "," FREED(CHANGED_DEVICE) "," BLOCKED(CHANGED_DEVICE) CAME_TO

/* As it was read, or as this very change has left it. */
#define AS_READ                                                                                    \
    "d.device_uid = $1 AND (d.revision = $2::bigint"                                               \
    " OR (d.revision = $2::bigint + 1 AND d.change_id = $3::bigint))"
#define LOCKED(condition)                                                                          \
    "locked AS (SELECT device_uid FROM @devices d WHERE " AS_READ " FOR UPDATE),"                  \
    "allowed AS (SELECT device_uid FROM locked WHERE " condition " AND " NOT_FROZEN ")"
/* first: the number of the device's first field, and a bar. */
#define CHANGED_LOCKED(first)                                                                      \
    "changed AS (UPDATE @devices d SET change_id = $3::bigint?" first CVM_DEVICE_OTHER_FIELDS(     \
        SET) " FROM allowed a WHERE d.device_uid = a.device_uid AND " KEY_IS_ITS_OWN               \
             " RETURNING 1)"

/* By hand: a clause a line. */
/* clang-format off */
static const char *const FORMS[STATEMENT_COUNT] = {
    [GET_DEVICE] = "SELECT " DEVICE_NAMES " FROM @devices WHERE device_uid = ?t",
    [GET_CERTIFICATES] =
        "SELECT " CERTIFICATE_NAMES " FROM @certificates WHERE device_uid = ?t"
        " ORDER BY state = 'revoked', issued_at DESC, certificate_id LIMIT ?b",

    /* $1 the cursor, $2 the time, $3 the limit. A scan's last column is its cursor:
     * where the page after that row begins. */
    [SCAN_DEVICES] = "SELECT " DEVICE_NAMES ", device_uid FROM @devices"
                     " WHERE device_uid > $1::text AND $2::bigint IS NOT NULL"
                     " ORDER BY device_uid LIMIT $3::bigint",
    /* In two parts, so that a deadline that becomes "at once" meanwhile leads on in
     * the scan and not back: $1 is "1", 20 digits and an id in the first, "2" and
     * an id in the second.
     */
    [SCAN_DUE] =
        "SELECT * FROM ((SELECT " SCANNED_NAMES
        ", '1' || lpad(revoke_after::text, 20, '0') || certificate_id AS place"
        " FROM @certificates WHERE state = 'retiring' AND revoke_after <> 0"
        " AND revoke_after <= $2::bigint AND left($1::text, 1) = '1'"
        " AND (revoke_after, certificate_id) > (CASE WHEN left($1, 1) = '1'"
        " THEN substr($1, 2, 20)::bigint ELSE 0 END, substr($1, 22))"
        " ORDER BY revoke_after, certificate_id LIMIT $3::bigint)"
        " UNION ALL (SELECT " SCANNED_NAMES ", '2' || certificate_id FROM @certificates"
        " WHERE state = 'retiring' AND revoke_after = 0 AND certificate_id >"
        " CASE WHEN left($1, 1) = '2' THEN substr($1, 2) ELSE '' END"
        " ORDER BY certificate_id LIMIT $3::bigint)) AS due ORDER BY place LIMIT "
        "$3::bigint",
    [SCAN_UNSUSPENDED] = "SELECT " DEVICE_NAMES ", device_uid FROM @devices"
                         " WHERE is_suspended = is_enabled AND certificate_id IS NOT NULL"
                         " AND device_uid > $1::text AND $2::bigint IS NOT NULL"
                         " ORDER BY device_uid LIMIT $3::bigint",
    [SCAN_ENDED_LEASES] =
        "SELECT " DEVICE_NAMES ", device_uid FROM @devices"
        " WHERE (lease_owner IS NOT NULL OR lease_certificate_id IS NOT NULL)"
        " AND lease_until <= $2::bigint AND device_uid > $1::text"
        " ORDER BY device_uid LIMIT $3::bigint",
    [SCAN_REVOKED] = "SELECT " SCANNED_NAMES ", certificate_id FROM @certificates"
                     " WHERE state IN ('revoked', 'retiring') AND certificate_id > $1::text"
                     " AND (state = 'revoked' OR revoke_after <= $2::bigint)"
                     " AND not_after > $2::bigint ORDER BY certificate_id LIMIT $3::bigint",
    /* No uid holds a space, and every character of one comes after it. */
    [SCAN_SUSPENDED] = "SELECT c.certificate_id" CVM_CERTIFICATE_SCANNED_FIELDS(
        QUALIFIED) ",NULL, d.device_uid || ' ' || c.certificate_id"
                   " FROM @devices d JOIN @certificates c ON c.device_uid = "
                   "d.device_uid"
                   " WHERE d.is_enabled = 0 AND d.certificate_id IS NOT NULL"
                   " AND d.device_uid >= split_part($1::text, ' ', 1)"
                   " AND (d.device_uid, c.certificate_id) >"
                   " (split_part($1::text, ' ', 1), split_part($1::text, ' ', 2))"
                   " AND c.state IN ('current', 'retiring') AND c.not_after > "
                   "$2::bigint"
                   " ORDER BY d.device_uid, c.certificate_id LIMIT $3::bigint",
    [SCAN_CERTIFICATES] = "SELECT " CERTIFICATE_NAMES ", certificate_id FROM @certificates"
                          " WHERE certificate_id > $1::text AND $2::bigint IS NOT NULL"
                          " ORDER BY certificate_id LIMIT $3::bigint",
    [SCAN_META] = "SELECT name, version, name FROM @meta WHERE name > $1::text"
                  " AND $2::bigint IS NOT NULL ORDER BY name LIMIT $3::bigint",

    [FIND_CERTIFICATE] =
        "SELECT device_uid FROM @certificates WHERE certificate_id = ?t LIMIT 1",
    [FIND_THING] = "SELECT device_uid FROM @devices WHERE thing_name = ?t LIMIT 1",
    [FIND_KEY] = "SELECT device_uid FROM @keys WHERE public_key_sha256 = ?t UNION ALL"
                 " SELECT device_uid FROM @certificates WHERE public_key_sha256 = $1 LIMIT "
                 "1",
    [GET_META] = "SELECT value, version FROM @meta WHERE name = ?t",
    [GET_NOW] = "SELECT " NOW_MS,
    [GET_READY] = "SELECT " CVM_SQL_READ_ONLY
                  ", EXISTS (SELECT FROM @meta WHERE name = '" CVM_FROZEN "')",
    /* By a function, since a batch is no transaction block to the server. All that writes waits
     * behind it, so not for long. */
    [LOCK_ALL] = "DO $$ BEGIN PERFORM set_config('lock_timeout', '5s', true);"
                 " LOCK TABLE @devices, @certificates, @keys, @meta IN EXCLUSIVE MODE; END $$",
    /* Gives a transaction that may have found nothing to write a commit to wait
       for. */
    [FENCE] = "SELECT pg_logical_emit_message(true, 'cvm', '')",

    [INSERT_DEVICE] =
        "WITH allowed AS (SELECT $1::text AS device_uid WHERE " ONE_CURRENT_OF_MANY
        " AND " NOT_FROZEN " AND NOT EXISTS (SELECT FROM @devices d WHERE d.device_uid = $1"
        " AND d.change_id <> $3::bigint)),"
        CLAIMED ","
        "changed AS (INSERT INTO @devices AS d (" DEVICE_NAMES ",change_id)"
        " SELECT device_uid?21|" CVM_DEVICE_OTHER_FIELDS(VALUE) ",$3::bigint FROM allowed"
        " WHERE " KEY_IS_ITS_OWN
        " ON CONFLICT (device_uid) DO UPDATE SET change_id = excluded.change_id"
        " WHERE d.change_id = excluded.change_id RETURNING 1),"
        WITH_IT
        /* Somebody else's came in between: the key is not to stay behind. */
        ", " GUARD("EXISTS (SELECT FROM claimed) AND NOT " CHANGED_DEVICE)
        ", $2::bigint",
    [UPDATE_DEVICE] =
        "WITH " LOCKED(ONE_CURRENT_OF_MANY) "," CLAIMED "," CHANGED_LOCKED("21|") ","
        WITH_IT REVISION_NOW,
    [UPDATE_DEVICE_WITH_ONE] =
        "WITH " LOCKED(IT_IS_THE_CURRENT_ONE) "," CLAIMED "," CHANGED_LOCKED("18|") ","
        STORED(ONE_CERTIFICATE, CHANGED_DEVICE) CAME_TO REVISION_NOW,
    [UPDATE_DEVICE_ALONE] =
        "WITH changed AS (UPDATE @devices d SET change_id = $3::bigint?4|"
        CVM_DEVICE_OTHER_FIELDS(SET) " WHERE " AS_READ " AND " NOT_FROZEN " RETURNING 1),"
        "allowed AS (SELECT FROM changed)" CAME_TO REVISION_NOW,
    [DELETE_DEVICE] =
        "WITH allowed AS (SELECT 1 WHERE $4::text IS NULL),"
        "changed AS (DELETE FROM @devices WHERE device_uid = $1 AND revision = $2::bigint"
        " AND " NOT_FROZEN " RETURNING 1),"
        "given_up AS (DELETE FROM @keys k WHERE k.device_uid = $1 AND k.blocked_until = 0"
        " AND k.public_key_sha256 = ANY ($5::text[] || $19::text[]"
        " || ARRAY(SELECT c.public_key_sha256::text"
        " FROM @certificates c WHERE c.device_uid = $1)) AND " CHANGED_DEVICE "),"
        STORED(MANY_CERTIFICATES, CHANGED_DEVICE) "," BLOCKED(CHANGED_DEVICE) CAME_TO REVISION_NOW,
    /* owner: as it is once nobody else changes it. */
    [WRITE_CERTIFICATES] =
        "WITH owner AS (SELECT public_key_sha256 FROM @devices d WHERE d.device_uid = $1"
        " FOR UPDATE),"
        "allowed AS (SELECT 1 WHERE " ONE_CURRENT_OF_MANY
        " AND $2::bigint IS NOT NULL AND $4::text IS NULL AND " NOT_FROZEN "),"
        STORED(MANY_CERTIFICATES, "EXISTS (SELECT FROM allowed)") ","
        FREED("EXISTS (SELECT FROM stored) AND NOT EXISTS (SELECT FROM owner o"
              " WHERE o.public_key_sha256 = k.public_key_sha256)") ","
        BLOCKED("EXISTS (SELECT FROM stored)")
        " SELECT " IS_ANY("allowed") ", " IS_ANY("stored"),

    /* $1 the name, $2 the value, $3 the version (as it was read, or the first), $4
     * the change.
     */
    [INSERT_META] = "INSERT INTO @meta AS m (name, value, version, change_id)"
                    " SELECT ?t, ?t, ?b, ?b WHERE " MAY_PUT " ON CONFLICT (name)"
                    " DO UPDATE SET change_id = excluded.change_id"
                    " WHERE m.change_id = excluded.change_id RETURNING version",
    [UPDATE_META] =
        "UPDATE @meta SET value = $2::text, version = $3::bigint + 1,"
        " change_id = $4::bigint WHERE name = $1::text AND (version = $3::bigint"
        " OR (version = $3::bigint + 1 AND change_id = $4::bigint)) AND " MAY_PUT " RETURNING "
        "version",
    [DELETE_META] = "DELETE FROM @meta WHERE name = $1::text AND version = $3::bigint"
                    " AND $2::text IS NULL AND $4::bigint IS NOT NULL AND " MAY_PUT
                    " RETURNING version",

    /* $1 the change's id for what is inserted; one more for what is replaced. What is given is not
     * joined with a table, but looked up row by row: the planner would rather read all of it. */
    [LOAD_DEVICES] =
        "INSERT INTO @devices (" DEVICE_NAMES ",change_id) SELECT " DEVICE_NAMES
        ",$1::bigint FROM unnest(?2|?T" CVM_DEVICE_OTHER_FIELDS(
            ARRAY) ") AS g(" DEVICE_NAMES
                   ") WHERE " IS_NEW " ORDER BY device_uid ON CONFLICT (device_uid) DO NOTHING",
    /* An import's rows have no more than this. */
    [LOAD_PLAIN_DEVICES] =
        "INSERT INTO @devices (device_uid, device_token, is_enabled, revision, change_id)"
        " SELECT device_uid, device_token, is_enabled, revision, $1::bigint"
        " FROM unnest(?2|?T,?T,?B,?B) AS g(device_uid, device_token, is_enabled, revision)"
        " WHERE " IS_NEW " ORDER BY device_uid ON CONFLICT (device_uid) DO NOTHING",
    /* $2 keys and $3 whose: of devices that this load has inserted. */
    [LOAD_KEYS] =
        "WITH given AS (SELECT DISTINCT g.key, g.uid FROM unnest(?2|?T,?T) AS g(key, uid)"
        " WHERE g.key IS NOT NULL AND (SELECT d.change_id FROM @devices d"
        " WHERE d.device_uid = g.uid) = $1::bigint),"
        "claimed AS (INSERT INTO @keys AS k (public_key_sha256, device_uid)"
        " SELECT key, uid FROM given ORDER BY key ON CONFLICT (public_key_sha256)"
        " DO UPDATE SET device_uid = excluded.device_uid"
        " WHERE k.device_uid = excluded.device_uid RETURNING 1)"
        " SELECT " GUARD("(SELECT count(*) FROM claimed) < (SELECT count(*) FROM given)"),
    [LOAD_CERTIFICATES] =
        "INSERT INTO @certificates (" CERTIFICATE_NAMES ",issued_at,change_id)"
        " SELECT " CERTIFICATE_NAMES ",not_before * 1000,$1::bigint FROM unnest(?2|"
        "?T" CVM_CERTIFICATE_OTHER_FIELDS(
            ARRAY) ") AS g(" CERTIFICATE_NAMES
                   ") WHERE (SELECT o.device_uid FROM @certificates o"
                   " WHERE o.certificate_id = g.certificate_id"
                   " AND o.device_uid <> g.device_uid LIMIT 1) IS NULL"
                   " ORDER BY device_uid, certificate_id"
                   " ON CONFLICT (device_uid, certificate_id) DO NOTHING",
    /* $2 certificates: the keys of those that may be accepted are their devices', if there are such,
     * and of those that were compromised nobody's. */
    [LOAD_CERTIFICATE_KEYS] =
        "WITH given AS (SELECT public_key_sha256 AS key, min(device_uid) AS uid,"
        " count(DISTINCT device_uid) AS owners,"
        " max(CASE WHEN state = 'revoked' THEN not_after ELSE 0 END) AS until"
        " FROM @certificates c WHERE certificate_id = ANY(?2|?T) AND $1::bigint IS NOT NULL"
        " AND public_key_sha256 IS NOT NULL AND ((state = 'revoked' AND reason = 'keyCompromise')"
        " OR (state IN ('current', 'retiring') AND (SELECT 1 FROM @devices d"
        " WHERE d.device_uid = c.device_uid) IS NOT NULL)) GROUP BY public_key_sha256),"
        "claimed AS (INSERT INTO @keys AS k (public_key_sha256, device_uid, blocked_until)"
        " SELECT key, uid, until FROM given ORDER BY key ON CONFLICT (public_key_sha256)"
        " DO UPDATE SET blocked_until = greatest(k.blocked_until, excluded.blocked_until)"
        " WHERE k.device_uid = excluded.device_uid OR excluded.blocked_until <> 0 RETURNING 1)"
        " SELECT " GUARD("(SELECT count(*) FROM claimed) < (SELECT count(*) FROM given)"
                         " OR EXISTS (SELECT FROM given WHERE owners > 1 AND until = 0)"),
    /* $2 uids and $3 tokens. Of several for one device the last one counts. */
    [REPLACE_TOKENS] =
        "UPDATE @devices d SET device_token = g.token, revision = d.revision + 1,"
        " change_id = $1::bigint + 1 FROM (SELECT DISTINCT ON (uid) uid, token"
        " FROM unnest(?2|?T,?T) WITH ORDINALITY AS u(uid, token, place) ORDER BY "
        "uid, "
        "place "
        "DESC)"
        " g WHERE d.device_uid = g.uid"
        " AND d.change_id <> $1::bigint"
        " AND d.device_token IS DISTINCT FROM g.token",
    [LOAD_STATES] = "SELECT device_uid, device_token, change_id FROM @devices"
                    " WHERE device_uid = ANY(?2|?T) AND $1::bigint IS NOT NULL AND " NOT_FROZEN " "
                    "ORDER BY device_uid",
};
/* clang-format on */

/* --- Rendering -------------------------------------------------------------------------------- */

#define LARGEST_TEXT 8192

const char *cvm_statement_name(enum statement statement, char name[CVM_STATEMENT_NAME_SIZE])
{
    (void)snprintf(name, CVM_STATEMENT_NAME_SIZE, "cvm_%d", (int)statement);
    return name;
}

/* Prints a parameter as the form says, and reads on behind it. */
static const char *statement_parameter(const char *form, int *number, char *text, size_t size)
{
    static const struct {
        char letter;
        const char *type;
    } TYPES[] = {{'t', "text"}, {'b', "bigint"}, {'T', "text[]"}, {'B', "bigint[]"}};
    text[0] = 0;
    if (*form >= '0' && *form <= '9') {
        char *end;
        *number = (int)strtol(form, &end, 10);
        return end + 1; /* the | */
    }
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++)
        if (TYPES[i].letter == *form)
            (void)snprintf(text, size, "$%d::%s", (*number)++, TYPES[i].type);
    return form + 1;
}

char *cvm_statement_render(const char *form, const char *schema)
{
    char *text = malloc(LARGEST_TEXT);
    size_t length = 0;
    int number = 1;
    while (text && *form && length < LARGEST_TEXT - 1) {
        char part[80];
        if (*form == '@') {
            (void)snprintf(part, sizeof part, "\"%s\".", schema);
            form++;
        } else if (*form == '?') {
            form = statement_parameter(form + 1, &number, part, sizeof part);
        } else {
            part[0] = *form++;
            part[1] = 0;
        }
        length += (size_t)snprintf(text + length, LARGEST_TEXT - length, "%s", part);
    }
    if (text && length >= LARGEST_TEXT) {
        free(text);
        text = NULL;
    }
    return text;
}

char *cvm_statement_text(enum statement statement, const char *schema)
{
    return cvm_statement_render(FORMS[statement], schema);
}
