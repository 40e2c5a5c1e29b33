/* The schema: its migrations, one for each user_version, and the text of every statement. Column
 * lists come from the field tables in plugin.h, in their order. */
#include <stdio.h>

#include "base/files.h"
#include "cvm/plugin.h"
#include "db.h"

/* Migration i brings a database from version i to i + 1. Those that were released never change. */
static const char *const MIGRATIONS[] = {
    "CREATE TABLE devices ("
    " device_uid TEXT PRIMARY KEY, device_token TEXT, is_enabled INTEGER NOT NULL,"
    " is_registered INTEGER NOT NULL, is_revoked INTEGER NOT NULL, is_suspended INTEGER NOT NULL,"
    " thing_name TEXT, registered_on TEXT, certificate_id TEXT, public_key_sha256 TEXT,"
    " key_origin TEXT, first_issued_at INTEGER, last_issued_at INTEGER, reissue_count INTEGER,"
    " lease_owner TEXT, lease_until INTEGER, lease_public_key_sha256 TEXT,"
    " lease_certificate_id TEXT, revision INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX devices_public_key ON devices(public_key_sha256)"
    " WHERE public_key_sha256 IS NOT NULL;"
    "CREATE INDEX devices_unsuspended ON devices(device_uid)"
    " WHERE is_suspended = is_enabled AND certificate_id IS NOT NULL;"
    "CREATE INDEX devices_disabled ON devices(device_uid)"
    " WHERE is_enabled = 0 AND certificate_id IS NOT NULL;"
    "CREATE INDEX devices_leased ON devices(device_uid)"
    " WHERE lease_owner IS NOT NULL OR lease_certificate_id IS NOT NULL;"
    "CREATE TABLE certificates ("
    " certificate_id TEXT NOT NULL UNIQUE, device_uid TEXT NOT NULL, state TEXT NOT NULL,"
    " serial TEXT, issuer TEXT, not_before INTEGER, not_after INTEGER, revoke_after INTEGER,"
    " revoked_at INTEGER, reason TEXT, successor TEXT, public_key_sha256 TEXT, pem TEXT);"
    "CREATE INDEX certificates_device ON certificates(device_uid);"
    "CREATE INDEX certificates_due ON certificates(certificate_id) WHERE state = 'retiring';"
    "CREATE INDEX certificates_revoked ON certificates(certificate_id)"
    " WHERE state IN ('revoked', 'retiring');"
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
    /* One current certificate a device, at most; what is due by its time. */
    "UPDATE certificates SET state = 'retiring', revoke_after = 0, reason = 'superseded'"
    " WHERE state = 'current' AND certificate_id IS NOT"
    " (SELECT d.certificate_id FROM devices d WHERE d.device_uid = certificates.device_uid);"
    "CREATE UNIQUE INDEX certificates_current ON certificates(device_uid)"
    " WHERE state = 'current';"
    "DROP INDEX certificates_due;"
    "CREATE INDEX certificates_due ON certificates(revoke_after, certificate_id)"
    " WHERE state = 'retiring';",
    /* Values have versions; a thing leads to its device. */
    ("ALTER TABLE meta ADD COLUMN version INTEGER NOT NULL DEFAULT 1;"
     "CREATE INDEX devices_thing ON devices(thing_name) WHERE thing_name IS NOT NULL;"
     "CREATE INDEX certificates_public_key ON certificates(public_key_sha256)"
     " WHERE public_key_sha256 IS NOT NULL;"),
};
#define VERSION ((int)(sizeof MIGRATIONS / sizeof MIGRATIONS[0]))

/* Lists made of the field tables; the key stands before each of them. */
#define NAME(id, name, kind, longest)      "," #name
#define QUALIFIED(id, name, kind, longest) ",c." #name
#define MARK(id, name, kind, longest)      ",?"
#define SET(id, name, kind, longest)       "," #name "=?"

#define DEVICE_NAMES      "device_uid" CVM_DEVICE_OTHER_FIELDS(NAME)
#define CERTIFICATE_NAMES "certificate_id" CVM_CERTIFICATE_OTHER_FIELDS(NAME)
/* Without the PEM, which is most of a row. */
#define SCANNED_NAMES "certificate_id" CVM_CERTIFICATE_SCANNED_FIELDS(NAME) ",NULL"
/* 62 bits, not 0. */
#define RANDOM "((random() & 4611686018427387903) + 1)"

static const char *const STATEMENTS[STATEMENT_COUNT] = {
    [BEGIN_READ] = "BEGIN",
    [BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [BEGIN_JOB] = "SAVEPOINT job",
    [KEEP_JOB] = "RELEASE job",
    [UNDO_JOB] = "ROLLBACK TO job",
    [GET_DEVICE] = "SELECT " DEVICE_NAMES " FROM devices WHERE device_uid = ?1",
    [INSERT_DEVICE] =
        "INSERT INTO devices (" DEVICE_NAMES ")"
        " VALUES (?" CVM_DEVICE_OTHER_FIELDS(MARK) ")"
                                                   " ON CONFLICT(device_uid) DO NOTHING",
    /* The last of two values for a column counts: this revision only opens the list. */
    [UPDATE_DEVICE] = "UPDATE devices SET revision = 0" CVM_DEVICE_OTHER_FIELDS(
        SET) " WHERE device_uid = ? AND revision = ?",
    [DELETE_DEVICE] = "DELETE FROM devices WHERE device_uid = ?1 AND revision = ?2",
    [WRITE_CERTIFICATE] =
        "INSERT INTO certificates (" CERTIFICATE_NAMES ")"
        " VALUES (?" CVM_CERTIFICATE_OTHER_FIELDS(
            MARK) ")"
                  " ON CONFLICT(certificate_id) DO UPDATE SET state = excluded.state,"
                  " revoke_after = excluded.revoke_after,"
                  " revoked_at = excluded.revoked_at,"
                  " reason = iif(certificates.state = 'retiring' AND excluded.state = 'revoked',"
                  "  certificates.reason, excluded.reason),"
                  " successor = excluded.successor"
                  " WHERE certificates.state <> 'revoked'"
                  " AND certificates.device_uid = excluded.device_uid",
    [GET_CERTIFICATES] = "SELECT " CERTIFICATE_NAMES " FROM certificates WHERE device_uid = ?1"
                         " ORDER BY state = 'revoked', rowid DESC LIMIT ?3",
    /* A scan's last column is its cursor: where the page after that row begins. Each has an index
     * that holds no row but those that it answers, and names it: the planner would rather walk
     * through all certificates in their order. */
    [SCAN_DEVICES] = "SELECT " DEVICE_NAMES ", device_uid FROM devices WHERE device_uid > ?1"
                     " ORDER BY device_uid LIMIT ?3",
    /* In two parts, so that a deadline that becomes "at once" meanwhile leads on in the scan and
     * not back. */
    [SCAN_DUE] = "SELECT " SCANNED_NAMES ", printf('%020d ', revoke_after) || certificate_id"
                 " FROM certificates INDEXED BY certificates_due"
                 " WHERE state = 'retiring' AND revoke_after <= ?2"
                 " AND (revoke_after, certificate_id) >"
                 "  (CAST(substr(?1, 1, 20) AS INTEGER), substr(?1, 22))"
                 " ORDER BY revoke_after, certificate_id LIMIT ?3",
    [SCAN_DUE_AT_ONCE] = "SELECT " SCANNED_NAMES ", '" CVM_AT_ONCE_CURSOR "' || certificate_id"
                         " FROM certificates INDEXED BY certificates_due"
                         " WHERE state = 'retiring' AND revoke_after = 0 AND certificate_id > ?1"
                         " ORDER BY certificate_id LIMIT ?3",
    [SCAN_UNSUSPENDED] = "SELECT " DEVICE_NAMES ", device_uid"
                         " FROM devices INDEXED BY devices_unsuspended"
                         " WHERE is_suspended = is_enabled AND certificate_id IS NOT NULL"
                         " AND device_uid > ?1 ORDER BY device_uid LIMIT ?3",
    [SCAN_ENDED_LEASES] = "SELECT " DEVICE_NAMES ", device_uid"
                          " FROM devices INDEXED BY devices_leased WHERE lease_until <= ?2"
                          " AND (lease_owner IS NOT NULL OR lease_certificate_id IS NOT NULL)"
                          " AND device_uid > ?1 ORDER BY device_uid LIMIT ?3",
    [SCAN_REVOKED] = "SELECT " SCANNED_NAMES ", certificate_id"
                     " FROM certificates INDEXED BY certificates_revoked"
                     " WHERE state IN ('revoked', 'retiring') AND certificate_id > ?1"
                     " AND (state = 'revoked' OR revoke_after <= ?2) AND not_after > ?2"
                     " ORDER BY certificate_id LIMIT ?3",
    /* No uid holds a space, and every character of one comes after it. */
    [SCAN_SUSPENDED] = "SELECT c.certificate_id" CVM_CERTIFICATE_SCANNED_FIELDS(
        QUALIFIED) ",NULL, d.device_uid || ' ' || c.certificate_id"
                   " FROM devices d INDEXED BY devices_disabled CROSS JOIN certificates c"
                   " ON c.device_uid = d.device_uid WHERE d.is_enabled = 0"
                   " AND d.certificate_id IS NOT NULL"
                   " AND d.device_uid >= substr(?1, 1, instr(?1, ' ') - 1)"
                   " AND d.device_uid || ' ' || c.certificate_id > ?1"
                   " AND c.state IN ('current', 'retiring') AND c.not_after > ?2"
                   " ORDER BY d.device_uid, c.certificate_id LIMIT ?3",
    [SCAN_CERTIFICATES] = "SELECT " CERTIFICATE_NAMES ", certificate_id FROM certificates"
                          " WHERE certificate_id > ?1 ORDER BY certificate_id LIMIT ?3",
    /* Without what is this file's alone. */
    [SCAN_META] = "SELECT name, version, name FROM meta WHERE name > ?1"
                  " AND name <> 'space' ORDER BY name LIMIT ?3",
    [FIND_CERTIFICATE] = "SELECT device_uid FROM certificates WHERE certificate_id = ?1",
    [FIND_THING] = "SELECT device_uid FROM devices WHERE thing_name = ?1 LIMIT 1",
    [FIND_KEY] = "SELECT device_uid FROM devices WHERE public_key_sha256 = ?1 UNION ALL"
                 " SELECT device_uid FROM certificates WHERE public_key_sha256 = ?1 LIMIT 1",
    [LOAD_CERTIFICATE] =
        "INSERT INTO certificates (" CERTIFICATE_NAMES ")"
        " VALUES (?" CVM_CERTIFICATE_OTHER_FIELDS(MARK) ")"
                                                        " ON CONFLICT(certificate_id) DO NOTHING",
    /* Another device's that retires, or one that was revoked for keyCompromise and has not ended.
     */
    [IS_KEY_TAKEN] = "SELECT 1 FROM certificates c WHERE c.public_key_sha256 = ?1 AND"
                     " ((c.state = 'retiring' AND c.device_uid <> ?2 AND EXISTS"
                     "  (SELECT 1 FROM devices d WHERE d.device_uid = c.device_uid))"
                     " OR (c.reason = 'keyCompromise' AND c.state IN ('retiring', 'revoked')"
                     "  AND c.not_after > ?3)) LIMIT 1",
    [GET_TOKEN] = "SELECT device_token FROM devices WHERE device_uid = ?1",
    [REPLACE_TOKEN] = ("UPDATE devices SET device_token = ?2, revision = revision + 1"
                       " WHERE device_uid = ?1"),
    [IS_FROZEN] = "SELECT 1 FROM meta WHERE name = '" CVM_FROZEN "'",
    [GET_META] = "SELECT value, version FROM meta WHERE name = ?1",
    [INSERT_META] = "INSERT INTO meta VALUES (?1, ?2, " RANDOM ")"
                    " ON CONFLICT(name) DO NOTHING RETURNING version",
    [UPDATE_META] = "UPDATE meta SET value = ?2, version = version + 1"
                    " WHERE name = ?1 AND version = ?3 RETURNING version",
    [DELETE_META] = "DELETE FROM meta WHERE name = ?1 AND version = ?3 RETURNING version",
};

const char *cvm_schema_statement(enum statement statement)
{
    return STATEMENTS[statement];
}

static int get_version(struct db *db, int *version)
{
    sqlite3_stmt *prepared = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, "PRAGMA user_version", -1, &prepared, NULL);
    if (rc == SQLITE_OK && sqlite3_step(prepared) == SQLITE_ROW)
        *version = sqlite3_column_int(prepared, 0);
    return rc == SQLITE_OK ? sqlite3_finalize(prepared) : rc;
}

static void explain_version(char *error, size_t error_size, const char *path, int version)
{
    char why[96];
    if (version == 0)
        (void)snprintf(why, sizeof why, "no store yet (`cvm serve --create-store` makes one)");
    else if (version > 0 && version < VERSION)
        (void)snprintf(why, sizeof why,
            "of an older release (schema %d): a server brings it up to date when it starts",
            version);
    else if (version > VERSION)
        (void)snprintf(why, sizeof why, "written by a newer release (schema %d, this one knows %d)",
            version, VERSION);
    else
        (void)snprintf(why, sizeof why, "not a store of ours (schema %d)", version);
    cvm_files_explain(error, error_size, path, why);
}

static int migrate_from(struct db *db, int version)
{
    char set_version[48];
    int rc = sqlite3_exec(db->sqlite, MIGRATIONS[version], NULL, NULL, NULL);
    (void)snprintf(set_version, sizeof set_version, "PRAGMA user_version = %d", version + 1);
    return rc == SQLITE_OK ? sqlite3_exec(db->sqlite, set_version, NULL, NULL, NULL) : rc;
}

int cvm_schema_migrate(
    struct db *db, enum schema_wish wish, int *retired, char *error, size_t error_size)
{
    const char *path = sqlite3_db_filename(db->sqlite, NULL);
    int rc = cvm_db_run(db, wish == SCHEMA_CHECK ? BEGIN_READ : BEGIN_WRITE), version = 0;
    int changes = sqlite3_total_changes(db->sqlite);
    if (rc == SQLITE_OK)
        rc = get_version(db, &version);
    int is_wrong = version < 0 || version > VERSION ||
                   (wish == SCHEMA_CHECK && version != VERSION) ||
                   (wish == SCHEMA_UPDATE && version == 0);
    if (rc == SQLITE_OK && is_wrong) {
        explain_version(error, error_size, path, version);
        (void)cvm_db_run(db, ROLLBACK);
        return SQLITE_MISMATCH;
    }
    for (; rc == SQLITE_OK && version < VERSION; version++)
        rc = migrate_from(db, version);
    *retired = sqlite3_total_changes(db->sqlite) - changes;
    if (rc == SQLITE_OK)
        rc = cvm_db_run(db, COMMIT);
    if (rc != SQLITE_OK) {
        cvm_files_explain(error, error_size, path, sqlite3_errmsg(db->sqlite));
        (void)cvm_db_run(db, ROLLBACK);
    }
    return rc;
}
