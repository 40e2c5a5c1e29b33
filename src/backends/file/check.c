/* Looking for damage: SQLite's own check, and what our rows must be to each other. */
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "file.h"
#include "visit.h"

#define MOST_FINDINGS 100 /* of each kind */

/* Each answers a name for each finding. */
static const struct {
    const char *sql, *kind, *finding;
} CHECKS[] = {
    {"SELECT device_uid FROM devices WHERE is_registered = 1 AND certificate_id IS NULL", "device",
        "is registered without a certificate"},
    {"SELECT d.device_uid FROM devices d WHERE d.certificate_id IS NOT NULL AND NOT EXISTS"
     " (SELECT 1 FROM certificates c WHERE c.certificate_id = d.certificate_id)",
        "device", "has a certificate that is not there"},
    {"SELECT c.certificate_id FROM certificates c WHERE c.state = 'current' AND NOT EXISTS"
     " (SELECT 1 FROM devices d WHERE d.device_uid = c.device_uid"
     "  AND d.certificate_id = c.certificate_id)",
        "certificate", "is current, and no device's"},
    {"SELECT certificate_id FROM certificates WHERE state NOT IN"
     " ('pending', 'current', 'retiring', 'revoked')",
        "certificate", "is in a state that does not exist"},
    {"SELECT device_uid FROM devices WHERE length(device_uid) > 128 OR length(device_token) > 256"
     " OR length(thing_name) > 128",
        "device", "has a text that is too long"},
};

struct checking {
    void (*found)(void *argument, const char *line);
    void *argument;
};

static int check_integrity(const struct checking *checking, struct db *db)
{
    sqlite3_stmt *prepared = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, "PRAGMA integrity_check", -1, &prepared, NULL);
    while (rc == SQLITE_OK && sqlite3_step(prepared) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(prepared, 0);
        if (line && strcmp(line, "ok") != 0)
            checking->found(checking->argument, line);
    }
    return rc == SQLITE_OK ? sqlite3_finalize(prepared) : rc;
}

static int check_rows(const struct checking *checking, struct db *db, size_t which)
{
    sqlite3_stmt *prepared = NULL;
    int count = 0;
    int rc = sqlite3_prepare_v2(db->sqlite, CHECKS[which].sql, -1, &prepared, NULL);
    while (rc == SQLITE_OK && count++ < MOST_FINDINGS && sqlite3_step(prepared) == SQLITE_ROW) {
        char line[256];
        (void)snprintf(line, sizeof line, "%s '%.128s' %s", CHECKS[which].kind,
            (const char *)sqlite3_column_text(prepared, 0), CHECKS[which].finding);
        checking->found(checking->argument, line);
    }
    return rc == SQLITE_OK ? sqlite3_finalize(prepared) : rc;
}

/* Damage may keep a query from being made; what else does is no damage. */
static int check_is_damage(int rc)
{
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB ||
           (rc & 0xff) == SQLITE_ERROR;
}

/* SQLITE_OK if it could look everywhere, or the error. */
static int check_database(const struct checking *checking, struct db *db)
{
    int rc = check_integrity(checking, db);
    for (size_t i = 0; rc == SQLITE_OK && i < sizeof CHECKS / sizeof CHECKS[0]; i++)
        rc = check_rows(checking, db, i);
    if (!check_is_damage(rc))
        return rc;
    checking->found(checking->argument, sqlite3_errmsg(db->sqlite));
    return SQLITE_OK;
}

cvm_answer_t cvm_file_check(const char *path, void (*found)(void *argument, const char *line),
    void *argument, char *error, size_t error_size)
{
    const struct checking checking = {found, argument};
    struct visit visit;
    cvm_answer_t answer = cvm_visit(&visit, path, VISIT_READ, error, error_size);
    if (answer == CVM_ANSWER_OK && check_database(&checking, &visit.db) != SQLITE_OK) {
        cvm_files_explain(error, error_size, path, sqlite3_errmsg(visit.db.sqlite));
        answer = CVM_ANSWER_UNAVAILABLE;
    }
    cvm_visit_end(&visit);
    return answer;
}
