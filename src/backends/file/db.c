/* Connections: WAL, synchronous=FULL (NORMAL loses acknowledged commits), no mmap. */
#include "db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/files.h"
#include "names.h"

#define BUSY_TRIES   20000
#define BUSY_WAIT_US 500
#define LONGEST_URI  (3 * 4096 + 32)

/* Somebody else writes, an import for one: look again soon, for 10 s. */
static int wait_while_busy(void *argument, int tries)
{
    (void)argument;
    cvm_sleep_us(BUSY_WAIT_US);
    return tries < BUSY_TRIES;
}

void cvm_db_be_impatient(struct db *db)
{
    (void)sqlite3_busy_handler(db->sqlite, NULL, NULL);
}

void cvm_db_be_patient(struct db *db)
{
    (void)sqlite3_busy_handler(db->sqlite, wait_while_busy, NULL);
}

/* "file:PATH?immutable=1": the file alone, without its log. */
static int print_uri(const char *path, char uri[LONGEST_URI])
{
    size_t used = (size_t)snprintf(uri, LONGEST_URI, "file:");
    for (; *path; path++) {
        int must_escape = strchr("%?#", *path) != NULL;
        if (used + 24 > LONGEST_URI)
            return -1;
        used += (size_t)snprintf(uri + used, LONGEST_URI - used, must_escape ? "%%%02x" : "%c",
            must_escape ? (unsigned char)*path : *path);
    }
    (void)snprintf(uri + used, LONGEST_URI - used, "?immutable=1");
    return 0;
}

int cvm_db_open_alone(sqlite3 **sqlite, const char *path)
{
    char *uri = malloc(LONGEST_URI);
    int rc = SQLITE_NOMEM;
    if (uri && !print_uri(path, uri))
        rc = sqlite3_open_v2(
            uri, sqlite, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, NULL);
    free(uri);
    return rc;
}

/* Where nothing can be written and nobody has left a log or its index, none can be made, and none
 * is needed. Beside a server, who sees the same file writable, there is an index. */
static int open_file(struct db *db, const char *path, enum db_mode mode)
{
    if (cvm_files_is_read_only(path) && !cvm_store_has_log(path) &&
        !cvm_store_has(path, SHM_SUFFIX))
        return cvm_db_open_alone(&db->sqlite, path);
    int flags = mode == DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    return sqlite3_open_v2(path, &db->sqlite, flags | SQLITE_OPEN_NOMUTEX, NULL);
}

int cvm_db_open(struct db *db, const char *path, enum db_mode mode, char *error, size_t error_size)
{
    memset(db, 0, sizeof *db);
    if (cvm_files_is_read_only(path))
        mode = DB_READ;
    int rc = open_file(db, path, mode);
    if (rc == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(db->sqlite, 1);
        cvm_db_be_patient(db);
        rc = sqlite3_exec(db->sqlite,
            mode == DB_WRITE
                ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                  "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864; PRAGMA "
                  "mmap_size=0;"
                  "PRAGMA trusted_schema=OFF; PRAGMA temp_store=MEMORY"
                : "PRAGMA query_only=ON; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF",
            NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        cvm_files_explain(
            error, error_size, path, db->sqlite ? sqlite3_errmsg(db->sqlite) : "out of memory");
    } else if (mode == DB_WRITE && sqlite3_db_readonly(db->sqlite, "main")) {
        rc = SQLITE_READONLY; /* SQLite opens for reading what may not be written */
        cvm_files_explain(error, error_size, path, "is read-only");
    }
    return rc;
}

int cvm_db_is_moved(struct db *db)
{
    int is_moved = 0;
    (void)sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_HAS_MOVED, &is_moved);
    return is_moved;
}

/* Why the last write to a file failed: the database's or the log's, each connection writes one. */
static int is_over_quota(struct db *db, int which)
{
    sqlite3_file *file = NULL;
    int error = 0;
    if (sqlite3_file_control(db->sqlite, "main", which, &file) == SQLITE_OK && file &&
        file->pMethods)
        (void)file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &error);
    return error == EDQUOT;
}

int cvm_db_is_full(struct db *db, int rc)
{
    if (rc == SQLITE_IOERR_WRITE)
        return is_over_quota(db, SQLITE_FCNTL_JOURNAL_POINTER) ||
               is_over_quota(db, SQLITE_FCNTL_FILE_POINTER);
    return (rc & 0xff) == SQLITE_FULL || rc == SQLITE_IOERR_SHMSIZE;
}

void cvm_db_close(struct db *db)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize(db->statements[i]);
    (void)sqlite3_close(db->sqlite);
    memset(db, 0, sizeof *db);
}

sqlite3_stmt *cvm_db_statement(struct db *db, enum statement statement)
{
    sqlite3_stmt **prepared = &db->statements[statement];
    if (!*prepared) {
        (void)sqlite3_prepare_v3(db->sqlite, cvm_schema_statement(statement), -1,
            SQLITE_PREPARE_PERSISTENT, prepared, NULL);
    } else {
        (void)sqlite3_reset(*prepared);
        (void)sqlite3_clear_bindings(*prepared);
    }
    return *prepared;
}

int cvm_db_finish(struct db *db, sqlite3_stmt *prepared)
{
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    int rc = sqlite3_step(prepared);
    if (rc == SQLITE_DONE || rc == SQLITE_ROW)
        rc = SQLITE_OK;
    (void)sqlite3_reset(prepared);
    return rc;
}

int cvm_db_run(struct db *db, enum statement statement)
{
    return cvm_db_finish(db, cvm_db_statement(db, statement));
}
