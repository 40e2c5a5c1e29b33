/* One SQLite connection with its prepared statements. Used by one thread at a time. */
#ifndef CVM_FILE_DB_H
#define CVM_FILE_DB_H

#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

enum statement {
    BEGIN_READ,
    BEGIN_WRITE,
    COMMIT,
    ROLLBACK,
    BEGIN_JOB,
    KEEP_JOB,
    UNDO_JOB,
    GET_DEVICE,
    INSERT_DEVICE,
    UPDATE_DEVICE,
    DELETE_DEVICE,
    WRITE_CERTIFICATE,
    SCAN_DEVICES,
    GET_CERTIFICATES,
    SCAN_DUE,
    SCAN_DUE_AT_ONCE,
    SCAN_UNSUSPENDED,
    SCAN_ENDED_LEASES,
    SCAN_REVOKED,
    SCAN_SUSPENDED,
    SCAN_CERTIFICATES,
    SCAN_META,
    FIND_CERTIFICATE,
    FIND_THING,
    FIND_KEY,
    LOAD_CERTIFICATE,
    IS_KEY_TAKEN,
    GET_TOKEN,
    REPLACE_TOKEN,
    IS_FROZEN,
    GET_META,
    INSERT_META,
    UPDATE_META,
    DELETE_META,
    STATEMENT_COUNT
};

struct db {
    sqlite3 *sqlite;
    sqlite3_stmt *statements[STATEMENT_COUNT];
};

enum db_mode { DB_WRITE, DB_READ };

/* Opens path, durable at each commit; on a file system that is read-only, for reading in any mode.
 * SQLITE_OK, or the error, and why in error. */
int cvm_db_open(struct db *db, const char *path, enum db_mode mode, char *error, size_t error_size);
/* Opens the file alone, for reading, without its log and without locks. SQLITE_OK or the error. */
int cvm_db_open_alone(sqlite3 **sqlite, const char *path);
void cvm_db_close(struct db *db);
/* 1 if the path no longer leads to the file that is open. */
int cvm_db_is_moved(struct db *db);
/* Nobody is waited for, until cvm_db_be_patient(). */
void cvm_db_be_impatient(struct db *db);
void cvm_db_be_patient(struct db *db);
/* Did a write find no space? A quota is as good as a full disk, and SQLite knows ENOSPC alone, and
 * that not for its -shm. */
int cvm_db_is_full(struct db *db, int rc);
/* A statement, prepared once, reset and ready to be bound. NULL on failure. */
sqlite3_stmt *cvm_db_statement(struct db *db, enum statement statement);
/* Runs a statement without parameters or rows. SQLITE_OK or the error. */
int cvm_db_run(struct db *db, enum statement statement);
/* Steps a statement that answers no row, and resets it. SQLITE_OK or the extended error. */
int cvm_db_finish(struct db *db, sqlite3_stmt *prepared);

/* What a cursor of the scan for what is due begins with in its second part; no digit comes behind
 * it.
 */
#define CVM_AT_ONCE_CURSOR "~"

/* schema.c */
enum schema_wish { SCHEMA_CHECK, SCHEMA_UPDATE, SCHEMA_MAKE };
/* Wants the schema to be up to date, or brings it up to date, or makes it where there is none.
 * retired: how many certificates were not their device's and retire now. SQLITE_OK, or the error,
 * and why in error. */
int cvm_schema_migrate(
    struct db *db, enum schema_wish wish, int *retired, char *error, size_t error_size);
/* The text of a statement. */
const char *cvm_schema_statement(enum statement statement);

#endif
