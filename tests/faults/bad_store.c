/*
 * libcvm-badstore.so, for LD_PRELOAD: makes a program that uses SQLite well use it badly, so that
 * the fault tests can show that they would notice. CVM_BAD_STORE says how:
 *
 *   normal   synchronous=NORMAL instead of FULL: commits are not synced
 *   early    a writer's COMMIT answers at once, and is carried out before its next BEGIN IMMEDIATE
 */
#include "watched.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

static bool is_bad(const char *way)
{
    const char *wanted = getenv("CVM_BAD_STORE");
    return wanted && strcmp(wanted, way) == 0;
}

INTERPOSED int sqlite3_exec(sqlite3 *db, const char *sql,
    int (*callback)(void *, int, char **, char **), void *argument, char **error)
{
    NEXT(sqlite3_exec);
    const char *full = is_bad("normal") && sql ? strstr(sql, "synchronous=FULL") : NULL;
    int rc = next(db, sql, callback, argument, error);
    return full && rc == SQLITE_OK ? next(db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) : rc;
}

/* One writer a process: its COMMIT that has been answered and not been carried out. */
static sqlite3_stmt *owed;

INTERPOSED int sqlite3_step(sqlite3_stmt *statement)
{
    NEXT(sqlite3_step);
    const char *sql = sqlite3_sql(statement);
    if (!is_bad("early") || !sql)
        return next(statement);
    sqlite3 *db = sqlite3_db_handle(statement);
    if (strcmp(sql, "COMMIT") == 0 && sqlite3_txn_state(db, NULL) == SQLITE_TXN_WRITE) {
        owed = statement;
        return SQLITE_DONE;
    }
    if (strcmp(sql, "BEGIN IMMEDIATE") == 0 && owed && sqlite3_db_handle(owed) == db) {
        int rc = next(owed);
        (void)sqlite3_reset(owed);
        owed = NULL;
        if (rc != SQLITE_DONE)
            return rc;
    }
    return next(statement);
}
