/* A consistent copy: VACUUM INTO reads one snapshot, beside whoever writes, into a temporary file
 * that gets its name when it is complete: what has the name is a backup. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "copy.h"
#include "file.h"
#include "generation.h"
#include "visit.h"

#define LONGEST_PATH 4096

static int32_t complain(const char *path, char *error, size_t error_size)
{
    cvm_files_explain(error, error_size, path, strerror(errno));
    return -1;
}

/* What errno means for a copy that can't be made: another name does, or space. */
static cvm_answer_t judge_target(const char *to, char *error, size_t error_size)
{
    int failure = errno;
    (void)complain(to, error, error_size);
    return failure == EEXIST || failure == ENOENT || failure == ENOTDIR || failure == EACCES ||
                   failure == EPERM || failure == EROFS || failure == ENAMETOOLONG
               ? CVM_ANSWER_CONFLICT
               : CVM_ANSWER_UNAVAILABLE;
}

/* A new empty file beside the one wanted, that only its owner reads; SQLite fills it. */
static cvm_answer_t make_empty(
    const char *to, char temporary[LONGEST_PATH], char *error, size_t error_size)
{
    int fd = -1;
    if ((size_t)snprintf(temporary, LONGEST_PATH, "%s.XXXXXX", to) >= LONGEST_PATH)
        errno = ENAMETOOLONG;
    else
        fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return judge_target(to, error, error_size);
    (void)close(fd);
    return CVM_ANSWER_OK;
}

/* What is on the disk first gets its name, and then the name gets there. */
static cvm_answer_t give_name(const char *temporary, const char *to, char *error, size_t error_size)
{
    if (cvm_copy_sync(temporary) == 0 && cvm_copy_rename(temporary, to))
        return judge_target(to, error, error_size);
    if (access(temporary, F_OK) == 0 || cvm_files_sync_folder_of(to)) {
        (void)complain(to, error, error_size);
        return CVM_ANSWER_UNAVAILABLE;
    }
    return CVM_ANSWER_OK;
}

/* The copy is another file: a log of ours is not its. */
static int32_t stamp(const char *path, char *error, size_t error_size)
{
    char generation[GENERATION_SIZE];
    struct db db;
    int rc = cvm_copy_open(&db, path, error, error_size);
    if (rc == SQLITE_OK && (rc = cvm_generation_stamp(db.sqlite, generation)) != SQLITE_OK)
        cvm_files_explain(error, error_size, path, sqlite3_errmsg(db.sqlite));
    cvm_db_close(&db);
    return rc == SQLITE_OK ? 0 : -1;
}

static cvm_answer_t copy_to(const char *path, const char *to, char *error, size_t error_size)
{
    char temporary[LONGEST_PATH];
    cvm_answer_t answer = make_empty(to, temporary, error, error_size);
    if (answer != CVM_ANSWER_OK)
        return answer;
    answer = CVM_ANSWER_UNAVAILABLE;
    if (cvm_copy(path, temporary, error, error_size) == CVM_ANSWER_OK &&
        !stamp(temporary, error, error_size))
        answer = give_name(temporary, to, error, error_size);
    if (answer != CVM_ANSWER_OK)
        (void)unlink(temporary);
    return answer;
}

/* Enters as every user does: a log that is another file's would spoil the copy too. */
cvm_answer_t cvm_file_backup(const char *path, const char *to, char *error, size_t error_size)
{
    struct visit visit;
    cvm_answer_t answer = cvm_visit(&visit, path, VISIT_LOCKED, error, error_size);
    if (answer == CVM_ANSWER_OK && access(to, F_OK) == 0) {
        cvm_files_explain(error, error_size, to, strerror(EEXIST));
        answer = CVM_ANSWER_CONFLICT;
    } else if (answer == CVM_ANSWER_OK) {
        answer = copy_to(visit.path, to, error, error_size);
    }
    cvm_visit_end(&visit);
    return answer;
}
