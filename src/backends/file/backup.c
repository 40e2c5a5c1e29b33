/* `cvm backup`: VACUUM INTO reads one snapshot, beside whoever writes, into a temporary file that
 * gets its name when it is complete: what has the name is a backup. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "db.h"
#include "file.h"

#define LONGEST_PATH 4096

static int32_t complain(const char *path, char *error, size_t error_size)
{
    cvm_files_explain(error, error_size, path, strerror(errno));
    return -1;
}

/* A new empty file beside the one wanted, that only its owner reads; SQLite fills it. */
static int32_t make_empty(
    const char *to, char temporary[LONGEST_PATH], char *error, size_t error_size)
{
    int fd = -1;
    if (access(to, F_OK) == 0)
        errno = EEXIST;
    else if ((size_t)snprintf(temporary, LONGEST_PATH, "%s.XXXXXX", to) >= LONGEST_PATH)
        errno = ENAMETOOLONG;
    else
        fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return complain(to, error, error_size);
    (void)close(fd);
    return 0;
}

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd);
    if (fd >= 0)
        (void)close(fd);
    return failed;
}

/* Not every file system can refuse to replace a file; make_empty() looked. */
static int rename_new(const char *from, const char *to)
{
    int failed = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    return failed && (errno == EINVAL || errno == ENOSYS) ? rename(from, to) : failed;
}

/* What is on the disk first gets its name, and then the name gets there. */
static int32_t give_name(const char *temporary, const char *to, char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    (void)snprintf(path, sizeof path, "%s", to);
    if (sync_path(temporary) || rename_new(temporary, to) || sync_path(dirname(path)))
        return complain(to, error, error_size);
    return 0;
}

static int copy(const char *path, const char *to, char *error, size_t error_size)
{
    struct db db;
    sqlite3_stmt *prepared = NULL;
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
            cvm_files_explain(error, error_size, path, sqlite3_errmsg(db.sqlite));
    }
    (void)sqlite3_finalize(prepared);
    cvm_db_close(&db);
    return rc;
}

int32_t cvm_file_backup(const char *path, const char *to, char *error, size_t error_size)
{
    char temporary[LONGEST_PATH];
    if (make_empty(to, temporary, error, error_size))
        return -1;
    if (copy(path, temporary, error, error_size) == SQLITE_OK &&
        !give_name(temporary, to, error, error_size))
        return 0;
    (void)unlink(temporary);
    return -1;
}
