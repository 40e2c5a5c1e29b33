/*
 * Putting a backup in place. All is made ready in a copy beside the store; then, alone with the
 * store: the old file is renamed away, and then its log to the matching name, and only then the
 * copy gets the store's name. A crash in between leaves no store, and never a file with another
 * one's log.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "copy.h"
#include "file.h"
#include "generation.h"
#include "names.h"

#define NAME_TRIES 1000

struct restoring {
    struct cvm_file_restore *asked;
    char path[STORE_NAME_SIZE], copy[STORE_NAME_SIZE];
    int has_moved; /* what was there is under another name */
    char generation[GENERATION_SIZE];
    struct lock lock;
    struct db db;
    char *error;
    size_t error_size;
};

static cvm_answer_t restore_failed(
    struct restoring *restoring, cvm_answer_t answer, const char *path, const char *why)
{
    cvm_files_explain(restoring->error, restoring->error_size, path, why);
    return answer;
}

/* --- The copy --------------------------------------------------------------------------------- */

/* The first row's first column as text; "" without one. SQLITE_OK or the error. */
static int restore_ask(struct db *db, const char *sql, char *text, size_t size)
{
    sqlite3_stmt *prepared = NULL;
    *text = 0;
    int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &prepared, NULL);
    if (rc == SQLITE_OK && sqlite3_step(prepared) == SQLITE_ROW)
        (void)snprintf(text, size, "%s", (const char *)sqlite3_column_text(prepared, 0));
    return rc == SQLITE_OK ? sqlite3_finalize(prepared) : rc;
}

/* What a restore left that was cut short. */
static void restore_unlink_copy(const struct restoring *restoring)
{
    static const char *const SUFFIXES[] = {"", LOG_SUFFIX, SHM_SUFFIX, JOURNAL_SUFFIX};
    char name[STORE_NAME_SIZE + 16];
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof *SUFFIXES; i++) {
        (void)snprintf(name, sizeof name, "%s%s", restoring->copy, SUFFIXES[i]);
        (void)unlink(name);
    }
}

/* A copy of the backup beside the store, that only its owner reads. */
static cvm_answer_t restore_copy(struct restoring *restoring)
{
    char why[200];
    restore_unlink_copy(restoring);
    int fd = cvm_files_open(
        restoring->copy, O_RDWR | O_CREAT | O_EXCL, 0600, restoring->error, restoring->error_size);
    if (fd < 0)
        return CVM_ANSWER_UNAVAILABLE;
    (void)close(fd);
    cvm_answer_t answer = cvm_copy(restoring->asked->backup, restoring->copy, why, sizeof why);
    if (answer != CVM_ANSWER_OK)
        (void)snprintf(
            restoring->error, restoring->error_size, "the backup can't be copied: %s", why);
    return answer;
}

/* A pipe would be waited for; and the store itself may stand beside a log that is not its. */
static cvm_answer_t restore_look(struct restoring *restoring)
{
    struct stat backup = {0}, store = {0};
    const char *path = restoring->asked->backup;
    if (stat(path, &backup))
        return restore_failed(restoring, CVM_ANSWER_BROKEN, path, strerror(errno));
    if (!S_ISREG(backup.st_mode))
        return restore_failed(restoring, CVM_ANSWER_BROKEN, path, "is no file");
    if (stat(restoring->path, &store) == 0 && store.st_ino == backup.st_ino &&
        store.st_dev == backup.st_dev)
        return cvm_generation_check(
            &restoring->lock, restoring->path, restoring->error, restoring->error_size);
    return CVM_ANSWER_OK;
}

static cvm_answer_t restore_check(struct restoring *restoring)
{
    char found[128], why[200];
    int retired = 0;
    const char *backup = restoring->asked->backup;
    int rc =
        cvm_copy_open(&restoring->db, restoring->copy, restoring->error, restoring->error_size);
    if (rc == SQLITE_OK)
        rc = restore_ask(&restoring->db, "PRAGMA integrity_check(1)", found, sizeof found);
    if (rc != SQLITE_OK || strcmp(found, "ok") != 0)
        return restore_failed(restoring, CVM_ANSWER_BROKEN, backup, "is damaged");
    rc = cvm_schema_migrate(&restoring->db, SCHEMA_UPDATE, &retired, why, sizeof why);
    return rc == SQLITE_OK
               ? CVM_ANSWER_OK
               : restore_failed(restoring, CVM_ANSWER_BROKEN, backup,
                     rc == SQLITE_MISMATCH ? "is no store that this release knows" : why);
}

/* --- What was revoked since ------------------------------------------------------------------- */

static int restore_execute(
    struct restoring *restoring, const char *sql, const struct cvm_listed *listed)
{
    sqlite3_stmt *prepared = NULL;
    int rc = sqlite3_prepare_v2(restoring->db.sqlite, sql, -1, &prepared, NULL);
    if (rc == SQLITE_OK) {
        /* Not each statement has all five: binding one that is missing does nothing. */
        (void)sqlite3_bind_text(prepared, 1, listed->serial, -1, SQLITE_STATIC);
        (void)sqlite3_bind_text(prepared, 2, listed->issuer, -1, SQLITE_STATIC);
        (void)sqlite3_bind_text(
            prepared, 3, *listed->reason ? listed->reason : NULL, -1, SQLITE_STATIC);
        (void)sqlite3_bind_int64(prepared, 4, listed->revoked_at_ms);
        (void)sqlite3_bind_int64(prepared, 5, listed->not_after_ms);
        rc = cvm_db_finish(&restoring->db, prepared);
    }
    (void)sqlite3_finalize(prepared);
    return rc;
}

/* What `revoke` or `remove` did is done again. What was superseded was so by another certificate of
 * the device, of which the backup knows nothing: it stays as it is. */
static int restore_revoke(struct restoring *restoring, const struct cvm_listed *listed)
{
    int rc = restore_execute(restoring,
        "UPDATE certificates SET state = 'revoked', reason = ?3, revoked_at = ?4"
        " WHERE serial = ?1 AND issuer = ?2 AND state <> 'revoked'",
        listed);
    if (rc != SQLITE_OK || !sqlite3_changes(restoring->db.sqlite))
        return rc;
    restoring->asked->revoked++;
    if (strcmp(listed->reason, "superseded") == 0)
        return rc;
    return restore_execute(restoring,
        "UPDATE devices SET is_revoked = 1, is_enabled = 0, is_suspended = 1,"
        " revision = revision + 1 WHERE (device_uid, certificate_id) IN"
        " (SELECT device_uid, certificate_id FROM certificates WHERE serial = ?1 AND issuer = ?2)",
        listed);
}

/* A row that only keeps the serial in the CRL: nothing else is known of it. */
static int restore_keep(struct restoring *restoring, const struct cvm_listed *listed)
{
    int rc = restore_execute(restoring,
        "INSERT INTO certificates (certificate_id, device_uid, state, serial, issuer, not_before,"
        " not_after, revoke_after, revoked_at, reason)"
        " SELECT 'crl:' || ?1, '', 'revoked', ?1, ?2, 0, ?5, 0, ?4, ?3 WHERE NOT EXISTS"
        " (SELECT 1 FROM certificates WHERE serial = ?1 AND issuer = ?2)",
        listed);
    if (rc == SQLITE_OK)
        restoring->asked->kept += (uint32_t)sqlite3_changes(restoring->db.sqlite);
    return rc;
}

/* What is on hold in crl.pem, and not by the backup, is due to be resumed. */
static int restore_hold(struct restoring *restoring, const struct cvm_listed *listed)
{
    return restore_execute(restoring,
        "UPDATE devices SET is_suspended = 1, revision = revision + 1 WHERE is_enabled = 1"
        " AND (device_uid, certificate_id) IN (SELECT device_uid, certificate_id FROM certificates"
        " WHERE serial = ?1 AND issuer = ?2 AND state IN ('current', 'retiring'))",
        listed);
}

static int restore_entry(struct restoring *restoring, const struct cvm_listed *listed)
{
    if (strcmp(listed->reason, CVM_LISTED_HOLD) == 0)
        return restore_hold(restoring, listed);
    int rc = restore_revoke(restoring, listed);
    return rc == SQLITE_OK ? restore_keep(restoring, listed) : rc;
}

static int restore_listed(struct restoring *restoring)
{
    sqlite3 *sqlite = restoring->db.sqlite;
    /* And what is disabled by the backup may not be on hold in crl.pem: it is due. */
    int rc = sqlite3_exec(sqlite,
        "BEGIN; CREATE INDEX restore_serial ON certificates(serial);"
        "UPDATE devices SET is_suspended = 0, revision = revision + 1"
        " WHERE is_enabled = 0 AND is_revoked = 0 AND certificate_id IS NOT NULL",
        NULL, NULL, NULL);
    for (uint32_t i = 0; rc == SQLITE_OK && i < restoring->asked->listed_count; i++)
        rc = restore_entry(restoring, &restoring->asked->listed[i]);
    if (rc == SQLITE_OK)
        rc = cvm_generation_stamp(sqlite, restoring->generation);
    return rc == SQLITE_OK
               ? sqlite3_exec(sqlite, "DROP INDEX restore_serial; COMMIT", NULL, NULL, NULL)
               : rc;
}

static cvm_answer_t restore_prepare(struct restoring *restoring)
{
    cvm_answer_t answer = restore_look(restoring);
    if (answer == CVM_ANSWER_OK)
        answer = restore_copy(restoring);
    if (answer == CVM_ANSWER_OK)
        answer = restore_check(restoring);
    if (answer == CVM_ANSWER_OK &&
        (restore_listed(restoring) != SQLITE_OK || cvm_copy_set_wal(&restoring->db) != SQLITE_OK))
        answer = restore_failed(restoring, CVM_ANSWER_UNAVAILABLE, restoring->copy,
            sqlite3_errmsg(restoring->db.sqlite));
    cvm_db_close(&restoring->db);
    if (answer == CVM_ANSWER_OK && cvm_copy_sync(restoring->copy))
        answer =
            restore_failed(restoring, CVM_ANSWER_UNAVAILABLE, restoring->copy, strerror(errno));
    return answer;
}

/* --- In its place ----------------------------------------------------------------------------- */

static void restore_name(struct restoring *restoring, const char *date)
{
    (void)snprintf(restoring->asked->replaced, sizeof restoring->asked->replaced,
        "%.4000s" REPLACED_SUFFIX "%s", restoring->path, date);
}

/* Of several in one second, all but the first have a number. */
static void restore_date(char date[DATE_SIZE], int nth)
{
    size_t length = strlen(cvm_print_utc(cvm_now_ms(), "%Y%m%dT%H%M%SZ", date, DATE_SIZE));
    if (nth)
        (void)snprintf(date + length, DATE_SIZE - length, "-%d", nth + 1);
}

/* A name that neither a file nor a log has, written down before it is used: whoever finds the log
 * alone knows where it belongs. 0, or -1 and errno. */
static int restore_choose_name(struct restoring *restoring)
{
    char date[DATE_SIZE], log[STORE_NAME_SIZE], journal[STORE_NAME_SIZE];
    for (int i = 0; i < NAME_TRIES; i++) {
        restore_date(date, i);
        restore_name(restoring, date);
        (void)cvm_store_name(log, restoring->asked->replaced, LOG_SUFFIX);
        (void)cvm_store_name(journal, restoring->asked->replaced, JOURNAL_SUFFIX);
        if (!cvm_files_exists(restoring->asked->replaced) && !cvm_files_exists(log) &&
            !cvm_files_exists(journal))
            return cvm_lock_write(&restoring->lock, SLOT_RESTORE, date);
    }
    errno = EEXIST;
    return -1;
}

static int restore_move_file(struct restoring *restoring)
{
    if (restore_choose_name(restoring) ||
        cvm_copy_rename(restoring->path, restoring->asked->replaced))
        return -1;
    restoring->has_moved = 1;
    return cvm_files_sync_folder_of(restoring->path);
}

/* 0, or -1 and errno; a file that is not there is fine, and an empty log is none. */
static int restore_move_beside(struct restoring *restoring, const char *suffix)
{
    char log[STORE_NAME_SIZE], replaced[STORE_NAME_SIZE];
    (void)cvm_store_name(log, restoring->path, suffix);
    (void)cvm_store_name(replaced, restoring->asked->replaced, suffix);
    if (!cvm_store_has(restoring->asked->replaced, suffix))
        (void)unlink(replaced);
    return cvm_copy_rename(log, replaced) && errno != ENOENT ? -1 : 0;
}

/* Either kind: SQLite would apply it to whatever file comes to stand beside it. */
static int restore_move_log(struct restoring *restoring)
{
    char shm[STORE_NAME_SIZE];
    (void)cvm_store_name(shm, restoring->path, SHM_SUFFIX);
    if (restore_move_beside(restoring, LOG_SUFFIX) ||
        restore_move_beside(restoring, JOURNAL_SUFFIX) || (unlink(shm) && errno != ENOENT))
        return -1;
    return cvm_files_sync_folder_of(restoring->path);
}

/* The file is gone. If a restore was cut short, its log belongs to what that one has put aside:
 * that comes first, since what was put aside may be what is to be restored. */
static int restore_go_on(struct restoring *restoring)
{
    char date[DATE_SIZE];
    if (cvm_files_exists(restoring->path)) {
        cvm_generation_forget_restore(&restoring->lock);
        return 0;
    }
    cvm_lock_read(&restoring->lock, SLOT_RESTORE, date, sizeof date);
    restore_name(restoring, date);
    restoring->has_moved = *date && cvm_files_exists(restoring->asked->replaced);
    if (!restoring->has_moved && restore_choose_name(restoring))
        return -1;
    int failed = restore_move_log(restoring);
    if (!restoring->has_moved)
        *restoring->asked->replaced = 0;
    return failed;
}

static int restore_move_old(struct restoring *restoring)
{
    if (!cvm_files_exists(restoring->path))
        return 0;
    return restore_move_file(restoring) || restore_move_log(restoring) ? -1 : 0;
}

/* From the first line on both files are taken for the store's: whichever it is that a crash leaves.
 */
static int restore_place(struct restoring *restoring)
{
    if (cvm_generation_settle(&restoring->lock, restoring->path) ||
        cvm_lock_write(&restoring->lock, SLOT_NEXT, restoring->generation) ||
        restore_move_old(restoring) || cvm_copy_rename(restoring->copy, restoring->path) ||
        cvm_files_sync_folder_of(restoring->path))
        return -1;
    /* It is done; a note that can't be written is put right by the next server. */
    (void)cvm_lock_write(&restoring->lock, SLOT_GENERATION, restoring->generation);
    (void)cvm_lock_write(&restoring->lock, SLOT_RESTORE, "");
    return 0;
}

/* --- All of it -------------------------------------------------------------------------------- */

/* Without a store, what is there must lead back to one. */
static cvm_answer_t restore_explain(struct restoring *restoring)
{
    char why[STORE_NAME_SIZE + 128];
    (void)snprintf(why, sizeof why, "%s%s%s", strerror(errno),
        restoring->has_moved ? "; run it again: there is no store now, what it was is " : "",
        restoring->has_moved ? restoring->asked->replaced : "");
    return restore_failed(restoring, CVM_ANSWER_UNAVAILABLE, restoring->path, why);
}

static cvm_answer_t restore_alone(struct restoring *restoring)
{
    struct cvm_file_restore *asked = restoring->asked;
    cvm_answer_t answer = cvm_lock_serve(&restoring->lock, restoring->error, restoring->error_size);
    if (answer == CVM_ANSWER_OK)
        answer = cvm_lock_enter_alone(&restoring->lock, restoring->error, restoring->error_size);
    if (answer != CVM_ANSWER_OK)
        return answer;
    if (restore_go_on(restoring))
        return restore_explain(restoring);
    /* From here on nobody revokes anything any more. */
    if (asked->get_listed &&
        asked->get_listed(asked->argument, asked, restoring->error, restoring->error_size))
        return CVM_ANSWER_UNAVAILABLE;
    answer = restore_prepare(restoring);
    if (answer == CVM_ANSWER_OK && restore_place(restoring))
        answer = restore_explain(restoring);
    if (answer != CVM_ANSWER_OK && !restoring->has_moved)
        restore_unlink_copy(restoring);
    return answer;
}

static cvm_answer_t restore_run(struct restoring *restoring, const char *path)
{
    char *resolved = cvm_files_resolve(path, restoring->error, restoring->error_size);
    if (!resolved)
        return cvm_lock_judge();
    (void)cvm_store_name(restoring->path, resolved, "");
    (void)cvm_store_name(restoring->copy, resolved, RESTORING_SUFFIX);
    free(resolved);
    cvm_answer_t answer =
        cvm_lock_open(&restoring->lock, restoring->path, restoring->error, restoring->error_size);
    if (answer == CVM_ANSWER_OK)
        answer = restore_alone(restoring);
    cvm_lock_close(&restoring->lock);
    return answer;
}

cvm_answer_t cvm_file_restore(
    const char *path, struct cvm_file_restore *asked, char *error, size_t error_size)
{
    struct restoring *restoring = calloc(1, sizeof *restoring);
    if (!restoring) {
        (void)snprintf(error, error_size, "out of memory");
        return CVM_ANSWER_UNAVAILABLE;
    }
    restoring->asked = asked;
    restoring->error = error;
    restoring->error_size = error_size;
    cvm_answer_t answer = restore_run(restoring, path);
    free(restoring);
    return answer;
}
