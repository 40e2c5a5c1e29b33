/* `cvm backup`: VACUUM INTO reads one snapshot, beside whoever writes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "db.h"
#include "file.h"

/* A new empty file that only its owner reads; SQLite fills it. */
static int32_t make_empty(const char *to, char *error, size_t error_size)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        (void)snprintf(error, error_size, "%s: %s", to, strerror(errno));
        return -1;
    }
    (void)close(fd);
    return 0;
}

static int32_t sync_file(const char *to, char *error, size_t error_size)
{
    int fd = open(to, O_RDONLY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd);
    if (failed)
        (void)snprintf(error, error_size, "%s: %s", to, strerror(errno));
    if (fd >= 0)
        (void)close(fd);
    return failed ? -1 : 0;
}

int32_t cvm_file_backup(const char *path, const char *to, char *error, size_t error_size)
{
    struct db db;
    sqlite3_stmt *prepared = NULL;
    if (make_empty(to, error, error_size))
        return -1;
    int rc = cvm_db_open(&db, path, DB_READ, error, error_size);
    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db.sqlite, "PRAGMA query_only=OFF", NULL, NULL, NULL);
        if (rc == SQLITE_OK)
            rc = sqlite3_prepare_v2(db.sqlite, "VACUUM INTO ?1", -1, &prepared, NULL);
        if (rc == SQLITE_OK) {
            (void)sqlite3_bind_text(prepared, 1, to, -1, SQLITE_STATIC);
            rc = cvm_db_finish(&db, prepared);
        }
        if (rc != SQLITE_OK)
            (void)snprintf(error, error_size, "%s: %s", path, sqlite3_errmsg(db.sqlite));
    }
    (void)sqlite3_finalize(prepared);
    cvm_db_close(&db);
    if (rc == SQLITE_OK && !sync_file(to, error, error_size))
        return 0;
    (void)unlink(to);
    return -1;
}
