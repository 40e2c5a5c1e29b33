/* Opening and closing: the locks, the file, its log, the connections. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "file.h"
#include "generation.h"
#include "names.h"
#include "store.h"

#define RENEW_TRIES   20 /* of 50 ms: a second */
#define RENEW_WAIT_US 50000

struct failure {
    char *text;
    size_t size;
};

/* --- The file --------------------------------------------------------------------------------- */

static cvm_answer_t open_failed(const struct store *store, struct failure failure, const char *why)
{
    cvm_files_explain(failure.text, failure.size, store->path, why);
    return CVM_ANSWER_INVALID;
}

static cvm_answer_t open_judge_errno(const struct store *store, struct failure failure)
{
    cvm_answer_t answer = cvm_lock_judge();
    if (!*failure.text)
        (void)open_failed(store, failure, strerror(errno));
    return answer;
}

/* A mount may be late, so a server may try again; a command's path is wrong. */
static cvm_answer_t open_missing(const struct store *store, struct failure failure)
{
    (void)open_failed(store, failure,
        "there is no store; is it the right path, is it mounted? `cvm serve --create-store` makes "
        "an empty one");
    return store->how & CVM_OPEN_ALONE ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_INVALID;
}

static int open_may_make(const struct store *store)
{
    return store->how & CVM_OPEN_UPDATE &&
           store->host->property_number(store->context, "store.create");
}

/* SQLite puts its log beside the file, and not beside a link to it: so does the lock. */
static cvm_answer_t open_resolve(struct store *store, struct failure failure)
{
    char *resolved = cvm_files_resolve(store->path, failure.text, failure.size);
    if (!resolved && errno == ENOENT && !open_may_make(store)) /* its folder */
        return open_missing(store, failure);
    if (!resolved)
        return open_judge_errno(store, failure);
    free(store->path);
    store->path = resolved;
    return CVM_ANSWER_OK;
}

/* A log without its file, or a copy that did not get its place: a restore was cut short, or the
 * file was moved away. */
int32_t cvm_file_has_parts(const char *path)
{
    return cvm_store_has_log(path) || cvm_store_has(path, RESTORING_SUFFIX);
}

/* A new file is readable by nobody else: it holds the tokens' hashes. */
static cvm_answer_t open_make(struct store *store, struct failure failure)
{
    int fd =
        cvm_files_open(store->path, O_RDWR | O_CREAT | O_EXCL, 0600, failure.text, failure.size);
    if (fd < 0)
        return errno == EEXIST ? CVM_ANSWER_OK : open_judge_errno(store, failure);
    (void)close(fd);
    store->host->log(store->context, CVM_LEVEL_WARNING, "there was no store: made an empty one");
    return CVM_ANSWER_OK;
}

/* Opening an empty file would already write to it. */
static cvm_answer_t open_find(struct store *store, struct failure failure)
{
    struct stat file;
    int is_there = stat(store->path, &file) == 0;
    if (!is_there && errno != ENOENT)
        return open_judge_errno(store, failure);
    if (is_there && file.st_size)
        return CVM_ANSWER_OK;
    if (cvm_file_has_parts(store->path)) {
        (void)open_failed(store, failure,
            "is missing or empty, but parts of it are there: if `cvm restore` was cut short, run "
            "it "
            "again");
        return CVM_ANSWER_UNAVAILABLE;
    }
    if (!open_may_make(store))
        return open_missing(store, failure);
    return is_there ? CVM_ANSWER_OK : open_make(store, failure);
}

/* --- The locks -------------------------------------------------------------------------------- */

static cvm_answer_t open_locks(struct store *store, struct failure failure)
{
    cvm_answer_t answer = cvm_lock_open(&store->lock, store->path, failure.text, failure.size);
    if (answer == CVM_ANSWER_OK && store->how & CVM_OPEN_ALONE)
        answer = cvm_lock_serve(&store->lock, failure.text, failure.size);
    if (answer == CVM_ANSWER_BUSY)
        return CVM_ANSWER_CONFLICT;
    return answer == CVM_ANSWER_OK
               ? cvm_generation_enter(&store->lock, store->path, failure.text, failure.size)
               : answer;
}

/* --- The connections -------------------------------------------------------------------------- */

/* What may be better later, and what stays as it is until somebody looks at it. */
static cvm_answer_t open_judge(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
        return CVM_ANSWER_OK;
    case SQLITE_BUSY:
        return CVM_ANSWER_BUSY;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
        return CVM_ANSWER_UNAVAILABLE;
    default:
        return CVM_ANSWER_INVALID;
    }
}

static int open_schema(struct store *store, struct failure failure)
{
    int retired = 0;
    enum schema_wish wish = open_may_make(store)           ? SCHEMA_MAKE
                            : store->how & CVM_OPEN_UPDATE ? SCHEMA_UPDATE
                                                           : SCHEMA_CHECK;
    int rc = cvm_schema_migrate(&store->writer, wish, &retired, failure.text, failure.size);
    if (rc == SQLITE_OK && retired) {
        char line[160];
        (void)snprintf(line, sizeof line,
            "%d certificates were current beside the one that their device has: they retire",
            retired);
        store->host->log(store->context, CVM_LEVEL_WARNING, line);
    }
    return rc;
}

static int open_connections(struct store *store, struct failure failure)
{
    int rc = cvm_db_open(&store->writer, store->path, DB_WRITE, failure.text, failure.size);
    if (rc == SQLITE_OK)
        rc = open_schema(store, failure);
    if (rc == SQLITE_OK)
        rc = cvm_db_open(&store->checkpointer, store->path, DB_WRITE, failure.text, failure.size);
    if (rc == SQLITE_OK)
        rc = cvm_db_open(&store->reader, store->path, DB_READ, failure.text, failure.size);
    if (rc == SQLITE_OK) /* its -shm is mapped once it has read */
        rc = sqlite3_exec(store->reader.sqlite, "SELECT 1 FROM meta LIMIT 1", NULL, NULL, NULL);
    return rc;
}

/* Once there is a checkpointer to be told. */
static void open_watch_commits(struct store *store)
{
    (void)sqlite3_wal_hook(store->writer.sqlite, cvm_store_on_commit, store);
}

int cvm_store_reopen(struct store *store)
{
    char why[160] = "";
    const struct failure failure = {why, sizeof why};
    (void)pthread_mutex_lock(&store->reader_lock);
    (void)pthread_mutex_lock(&store->checkpointer_lock);
    cvm_db_close(&store->reader); /* first: the last one to close would look after the log */
    cvm_db_close(&store->checkpointer);
    cvm_db_close(&store->writer);
    int rc = open_connections(store, failure);
    if (rc == SQLITE_OK)
        open_watch_commits(store);
    else
        atomic_store(&store->is_broken, 1); /* before a lane finds no connection */
    cvm_anchor_renew_log(store->anchor);
    (void)pthread_mutex_unlock(&store->checkpointer_lock);
    (void)pthread_mutex_unlock(&store->reader_lock);
    return rc;
}

/* The store works without, but what else is in the process may harm it. */
static void open_anchor(struct store *store)
{
    store->is_anchored = cvm_anchor_hold(store->anchor) == 0;
    if (!store->is_anchored)
        store->host->log(store->context, CVM_LEVEL_DEBUG,
            "no locks for open file descriptions here: looking after the log at each commit");
}

/* Without a new generation the old one holds: a copy that was made since the last start would be
 * taken for this file. */
static void open_renew(struct store *store)
{
    if (!(store->how & CVM_OPEN_ALONE))
        return;
    int rc = SQLITE_BUSY;
    cvm_db_be_impatient(&store->writer); /* a reader may stay for long */
    for (int i = 0; i < RENEW_TRIES && (rc & 0xff) == SQLITE_BUSY; i++) {
        if (i)
            cvm_sleep_us(RENEW_WAIT_US);
        rc = cvm_generation_renew(&store->lock, &store->writer);
    }
    cvm_db_be_patient(&store->writer);
    char line[200];
    (void)snprintf(line, sizeof line, "the store has no new generation: %s", sqlite3_errstr(rc));
    if (rc != SQLITE_OK)
        store->host->log(store->context, CVM_LEVEL_WARNING, line);
}

static cvm_answer_t open_database(struct store *store, struct failure failure)
{
    store->anchor = cvm_anchor_new(store->path, failure.text, failure.size);
    if (!store->anchor)
        return open_judge_errno(store, failure);
    int rc = open_connections(store, failure);
    if (rc != SQLITE_OK && !*failure.text)
        cvm_files_explain(failure.text, failure.size, store->path, sqlite3_errstr(rc));
    if (rc != SQLITE_OK)
        return open_judge(rc);
    open_anchor(store);
    open_renew(store);
    return CVM_ANSWER_OK;
}

/* --- All of it -------------------------------------------------------------------------------- */

cvm_answer_t cvm_store_open_all(struct store *store, char *error, size_t error_size)
{
    const struct failure failure = {error, error_size};
    cvm_answer_t answer = open_resolve(store, failure);
    if (answer == CVM_ANSWER_OK)
        answer = open_find(store, failure);
    if (answer == CVM_ANSWER_OK)
        answer = open_locks(store, failure);
    if (answer == CVM_ANSWER_OK)
        answer = open_database(store, failure);
    if (answer == CVM_ANSWER_OK &&
        (cvm_lane_start(&store->reads, store, cvm_store_read) ||
            cvm_lane_start(&store->checkpoints, store, cvm_store_checkpoint))) {
        (void)snprintf(error, error_size, "no more threads");
        answer = CVM_ANSWER_UNAVAILABLE;
    }
    if (answer == CVM_ANSWER_OK)
        open_watch_commits(store);
    store->is_open = answer == CVM_ANSWER_OK;
    return answer;
}

void cvm_store_close_all(struct store *store)
{
    cvm_lane_end(&store->reads);
    cvm_lane_end(&store->checkpoints);
    if (store->is_anchored)
        cvm_anchor_let_go(store->anchor);
    store->is_anchored = store->is_open = 0;
    cvm_db_close(&store->reader);
    cvm_db_close(&store->checkpointer);
    cvm_db_close(&store->writer);
    cvm_anchor_free(store->anchor);
    store->anchor = NULL;
    cvm_lock_close(&store->lock);
}
