/* VACUUM INTO, and what a copy goes through until it has its name. */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/files.h"
#include "names.h"

static int vacuum(struct db *db, const char *to)
{
    sqlite3_stmt *prepared = NULL;
    int rc = sqlite3_exec(db->sqlite, "PRAGMA query_only=OFF", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v2(db->sqlite, "VACUUM INTO ?1", -1, &prepared, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_bind_text(prepared, 1, to, -1, SQLITE_STATIC);
        rc = cvm_db_finish(db, prepared);
    }
    (void)sqlite3_finalize(prepared);
    return rc;
}

/* Without locks somebody else, who can write, may have done so while it was read. */
static int is_as_before(const char *path, const struct stat *before)
{
    struct stat now;
    return cvm_store_has(path, SHM_SUFFIX) || !cvm_files_is_read_only(path) ||
           (stat(path, &now) == 0 && now.st_size == before->st_size &&
               now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
               now.st_mtim.tv_nsec == before->st_mtim.tv_nsec);
}

cvm_answer_t cvm_copy(const char *path, const char *to, char *error, size_t error_size)
{
    struct db db;
    struct stat before = {0};
    (void)stat(path, &before);
    int rc = cvm_db_open(&db, path, DB_READ, error, error_size);
    if (rc == SQLITE_OK && (rc = vacuum(&db, to)) != SQLITE_OK)
        cvm_files_explain(error, error_size, path, sqlite3_errmsg(db.sqlite));
    cvm_db_close(&db);
    if (rc == SQLITE_OK && !is_as_before(path, &before)) {
        rc = SQLITE_BUSY;
        cvm_files_explain(error, error_size, path, "a server has written to it meanwhile");
    }
    switch (rc & 0xff) {
    case SQLITE_OK:
        return CVM_ANSWER_OK;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_BUSY:
        return CVM_ANSWER_UNAVAILABLE;
    default:
        return CVM_ANSWER_BROKEN;
    }
}

int cvm_copy_open(struct db *db, const char *path, char *error, size_t error_size)
{
    memset(db, 0, sizeof *db);
    int rc = sqlite3_open_v2(path, &db->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->sqlite,
            "PRAGMA journal_mode=MEMORY; PRAGMA synchronous=OFF; PRAGMA trusted_schema=OFF;"
            "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY",
            NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        cvm_files_explain(
            error, error_size, path, db->sqlite ? sqlite3_errmsg(db->sqlite) : "out of memory");
    return rc;
}

int cvm_copy_set_wal(struct db *db)
{
    return sqlite3_exec(
        db->sqlite, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL", NULL, NULL, NULL);
}

int32_t cvm_copy_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd);
    if (fd >= 0)
        (void)close(fd);
    return failed ? -1 : 0;
}

/* Not every file system can refuse to replace a file. */
int32_t cvm_copy_rename(const char *from, const char *to)
{
    int failed = cvm_rename_new(from, to);
    if (failed && (errno == EINVAL || errno == ENOSYS)) {
        if (access(to, F_OK) == 0) {
            errno = EEXIST;
            return -1;
        }
        failed = rename(from, to);
    }
    return failed ? -1 : 0;
}
