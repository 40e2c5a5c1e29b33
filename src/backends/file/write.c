/*
 * The writer: takes what waits, at most 256 operations, and makes it one transaction, so that one
 * sync serves them all. Nothing is acknowledged before the commit, and a failed commit is in doubt.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "generation.h"
#include "rows.h"
#include "store.h"

#define LARGEST_BATCH 256

/* --- Verbs ------------------------------------------------------------------------------------ */

static int is_unique_violation(int rc)
{
    return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY;
}

/* Where a row's revisions begin: 62 random bits, so that a device that was removed and added anew
 * is not what it was. */
static int64_t first_revision(void)
{
    int64_t revision;
    sqlite3_randomness(sizeof revision, &revision);
    return (revision & ((INT64_C(1) << 62) - 1)) + 1;
}

static int insert_device(
    struct store *store, struct db *db, const cvm_record_t *device, int64_t revision)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, INSERT_DEVICE);
    if (prepared) {
        (void)cvm_rows_bind(store->host, prepared, 0, device, CVM_RECORD_DEVICE, 0);
        (void)sqlite3_bind_int64(prepared, CVM_D_REVISION + 1, revision);
    }
    return cvm_db_finish(db, prepared);
}

static int update_device(struct store *store, struct db *db, const cvm_change_t *change)
{
    const cvm_host_t *host = store->host;
    int64_t revision = host->number(change->as_read, CVM_D_REVISION);
    sqlite3_stmt *prepared = cvm_db_statement(db, UPDATE_DEVICE);
    if (prepared) {
        int last = cvm_rows_bind(
            host, prepared, 0, change->wanted, CVM_RECORD_DEVICE, CVM_D_DEVICE_UID + 1);
        (void)sqlite3_bind_int64(
            prepared, CVM_D_REVISION, revision + 1); /* the uid is not among them */
        (void)sqlite3_bind_text(
            prepared, last + 1, host->text(change->as_read, CVM_D_DEVICE_UID), -1, SQLITE_STATIC);
        (void)sqlite3_bind_int64(prepared, last + 2, revision);
    }
    return cvm_db_finish(db, prepared);
}

static int delete_device(struct store *store, struct db *db, const cvm_change_t *change)
{
    const cvm_host_t *host = store->host;
    sqlite3_stmt *prepared = cvm_db_statement(db, DELETE_DEVICE);
    if (prepared) {
        (void)sqlite3_bind_text(
            prepared, 1, host->text(change->as_read, CVM_D_DEVICE_UID), -1, SQLITE_STATIC);
        (void)sqlite3_bind_int64(prepared, 2, host->number(change->as_read, CVM_D_REVISION));
    }
    return cvm_db_finish(db, prepared);
}

/* In the order given: what leaves `current` comes first, or the index of those would object. */
static int write_certificates(
    struct store *store, struct db *db, const cvm_change_t *change, int *written)
{
    int rc = SQLITE_OK;
    for (uint32_t i = 0; i < change->certificate_count && rc == SQLITE_OK; i++) {
        sqlite3_stmt *prepared = cvm_db_statement(db, WRITE_CERTIFICATE);
        if (prepared)
            (void)cvm_rows_bind(
                store->host, prepared, 0, change->certificates[i], CVM_RECORD_CERTIFICATE, 0);
        rc = cvm_db_finish(db, prepared);
        if (rc == SQLITE_OK)
            *written += sqlite3_changes(db->sqlite);
    }
    return rc;
}

/* The key that a change gives a device anew, or certifies again; NULL: none. */
static const char *key_anew(const cvm_host_t *host, const cvm_change_t *change)
{
    const char *key = change->wanted ? host->text(change->wanted, CVM_D_PUBLIC_KEY_SHA256) : "";
    const char *before = host->text(change->as_read, CVM_D_PUBLIC_KEY_SHA256);
    if (!*key)
        return NULL;
    if (strcmp(key, before) != 0)
        return key;
    for (uint32_t i = 0; i < change->certificate_count; i++)
        if (strcmp(host->text(change->certificates[i], CVM_C_STATE), "current") == 0 &&
            strcmp(host->text(change->certificates[i], CVM_C_PUBLIC_KEY_SHA256), key) == 0)
            return key;
    return NULL;
}

/* What the index of the devices' keys does not know. */
static int check_key(struct store *store, struct db *db, struct job *job)
{
    const cvm_host_t *host = store->host;
    const char *key = job->removes ? NULL : key_anew(host, job->change);
    if (!key)
        return SQLITE_OK;
    sqlite3_stmt *prepared = cvm_db_statement(db, IS_KEY_TAKEN);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    (void)sqlite3_bind_text(prepared, 1, key, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(
        prepared, 2, host->text(job->change->wanted, CVM_D_DEVICE_UID), -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(prepared, 3, host->now_ms(store->context));
    int rc = sqlite3_step(prepared);
    if (rc == SQLITE_ROW)
        job->answer = CVM_ANSWER_KEY_IN_USE;
    (void)sqlite3_reset(prepared);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The device's row decides: on a conflict nothing of the change is written. */
static int write_device(struct store *store, struct db *db, struct job *job)
{
    int rc;
    if (job->removes)
        rc = delete_device(store, db, job->change);
    else if (job->change->as_read)
        rc = update_device(store, db, job->change);
    else
        rc = insert_device(store, db, job->change->wanted, first_revision());
    if (is_unique_violation(rc)) {
        job->answer = CVM_ANSWER_KEY_IN_USE;
        return SQLITE_OK;
    }
    if (rc == SQLITE_OK && !sqlite3_changes(db->sqlite))
        job->answer = CVM_ANSWER_CONFLICT;
    return rc;
}

/* Certificates alone: of two who write down the same, one changes something. */
static int change_certificates(struct store *store, struct db *db, struct job *job)
{
    int written = 0;
    int rc = write_certificates(store, db, job->change, &written);
    if (rc == SQLITE_OK && !written)
        job->answer = CVM_ANSWER_NOT_FOUND;
    return rc;
}

static int change_both(struct store *store, struct db *db, struct job *job)
{
    int written = 0;
    int rc = check_key(store, db, job);
    if (rc == SQLITE_OK && job->answer == CVM_ANSWER_OK)
        rc = write_device(store, db, job);
    return rc == SQLITE_OK && job->answer == CVM_ANSWER_OK
               ? write_certificates(store, db, job->change, &written)
               : rc;
}

/* A constraint that a change breaks is its own affair, and not that of the others in its batch. */
static int judge_change(struct job *job, int rc)
{
    if ((rc & 0xff) != SQLITE_CONSTRAINT)
        return rc;
    job->answer = is_unique_violation(rc) ? CVM_ANSWER_CONFLICT : CVM_ANSWER_INVALID;
    return SQLITE_OK;
}

int cvm_store_run_change(struct store *store, struct db *db, struct job *job)
{
    int has_device = job->change->as_read || job->change->wanted;
    int rc = cvm_db_run(db, BEGIN_JOB);
    if (rc == SQLITE_OK)
        rc = judge_change(job, (has_device ? change_both : change_certificates)(store, db, job));
    if (rc == SQLITE_OK && job->answer != CVM_ANSWER_OK)
        rc = cvm_db_run(db, UNDO_JOB);
    return rc == SQLITE_OK ? cvm_db_run(db, KEEP_JOB) : rc;
}

/* What to do with a row that is there already. */
static int load_existing(
    struct db *db, const struct job *job, const char *uid, const char *token, uint8_t *row)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, GET_TOKEN);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    (void)sqlite3_bind_text(prepared, 1, uid, -1, SQLITE_STATIC);
    int rc = sqlite3_step(prepared);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
    const char *stored = (const char *)sqlite3_column_text(prepared, 0);
    int is_same = stored && strcmp(stored, token) == 0;
    (void)sqlite3_reset(prepared);
    *row = is_same ? CVM_LOAD_UNCHANGED : CVM_LOAD_CONFLICT;
    if (is_same || !(job->loading->flags & CVM_LOAD_REPLACE_TOKENS))
        return SQLITE_OK;
    *row = CVM_LOAD_REPLACED;
    prepared = cvm_db_statement(db, REPLACE_TOKEN);
    if (prepared) {
        (void)sqlite3_bind_text(prepared, 1, uid, -1, SQLITE_STATIC);
        (void)sqlite3_bind_text(prepared, 2, token, -1, SQLITE_STATIC);
    }
    return cvm_db_finish(db, prepared);
}

static int load_device(struct store *store, struct db *db, const struct job *job, uint32_t i)
{
    const cvm_host_t *host = store->host;
    const cvm_record_t *device = job->loading->devices[i];
    int64_t revision = host->number(device, CVM_D_REVISION);
    job->loading->rows[i] = CVM_LOAD_INSERTED;
    int rc = insert_device(store, db, device, revision ? revision : first_revision());
    if (rc == SQLITE_OK && !sqlite3_changes(db->sqlite))
        rc = load_existing(db, job, host->text(device, CVM_D_DEVICE_UID),
            host->text(device, CVM_D_DEVICE_TOKEN), &job->loading->rows[i]);
    return rc;
}

static int load_certificate(struct store *store, struct db *db, const cvm_record_t *certificate)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, LOAD_CERTIFICATE);
    if (prepared)
        (void)cvm_rows_bind(store->host, prepared, 0, certificate, CVM_RECORD_CERTIFICATE, 0);
    return cvm_db_finish(db, prepared);
}

static int load_all(struct store *store, struct db *db, struct job *job)
{
    const cvm_loading_t *loading = job->loading;
    int rc = SQLITE_OK;
    for (uint32_t i = 0; i < loading->count && rc == SQLITE_OK; i++)
        rc = load_device(store, db, job, i);
    for (uint32_t i = 0; i < loading->certificate_count && rc == SQLITE_OK; i++)
        rc = load_certificate(store, db, loading->certificates[i]);
    return rc;
}

/* Nothing of it is written. */
static void load_forget_rows(const cvm_loading_t *loading)
{
    if (loading->count) /* rows may be NULL without */
        memset(loading->rows, CVM_LOAD_NONE, loading->count);
}

/* All of it or nothing: rows that break a constraint are its own affair. */
int cvm_store_run_load(struct store *store, struct db *db, struct job *job)
{
    int rc = cvm_db_run(db, BEGIN_JOB);
    if (rc == SQLITE_OK)
        rc = judge_change(job, load_all(store, db, job));
    if (rc == SQLITE_OK && job->answer != CVM_ANSWER_OK) {
        load_forget_rows(job->loading);
        rc = cvm_db_run(db, UNDO_JOB);
    }
    return rc == SQLITE_OK ? cvm_db_run(db, KEEP_JOB) : rc;
}

static enum statement meta_statement(const struct job *job)
{
    if (!job->wanted)
        return DELETE_META;
    return job->version ? UPDATE_META : INSERT_META;
}

int cvm_store_run_meta_put(struct store *store, struct db *db, struct job *job)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, meta_statement(job));
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    /* Not each statement has all three: binding one that is missing does nothing. */
    (void)sqlite3_bind_text(prepared, 1, job->name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(prepared, 2, job->wanted, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(prepared, 3, job->version);
    int rc = sqlite3_step(prepared);
    if (rc == SQLITE_ROW) {
        (void)store->host->op_set_number(
            job->op, CVM_OUT_VERSION, sqlite3_column_int64(prepared, 0));
        rc = sqlite3_step(prepared);
    } else if (rc == SQLITE_DONE) {
        job->answer = CVM_ANSWER_CONFLICT;
    }
    (void)sqlite3_reset(prepared);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* --- Transactions ----------------------------------------------------------------------------- */

static int kind_of(struct db *db, int rc)
{
    if (cvm_db_is_full(db, rc))
        return SQLITE_FULL;
    return rc == SQLITE_IOERR_NOMEM ? SQLITE_NOMEM : rc & 0xff;
}

/* It may hold a lock, and the line goes to the program: its lane tells it later. */
static void write_break(struct store *store, const char *reason, const char *advice)
{
    char why[200];
    if (atomic_exchange(&store->is_broken, 1))
        return;
    cvm_files_explain(why, sizeof why, store->path, reason);
    (void)snprintf(store->break_line, sizeof store->break_line,
        "%s; all is refused from now on: %s", why, advice);
    atomic_store(&store->must_tell_break, 1);
}

void cvm_store_tell_break(struct store *store)
{
    if (atomic_load(&store->must_tell_break) && atomic_exchange(&store->must_tell_break, 0))
        store->host->log(store->context, CVM_LEVEL_ERROR, store->break_line);
}

/* Only after a full disk is it worth a write to know. A file that was copied over the one that is
 * open is seen by what it says. */
int cvm_store_run_ready(struct store *store, struct db *db, struct job *job)
{
    (void)job;
    if (cvm_generation_is_replaced(&store->lock, store->path)) {
        write_break(store, "was replaced while it was open",
            "put a backup in place with `cvm restore FILE`");
        return SQLITE_CORRUPT;
    }
    return atomic_load(&store->is_full)
               ? sqlite3_exec(db->sqlite,
                     "INSERT OR REPLACE INTO meta (name, value) VALUES ('space', '1')", NULL, NULL,
                     NULL)
               : SQLITE_OK;
}

const char *cvm_store_judge(struct store *store, struct db *db, int rc)
{
    switch (kind_of(db, rc)) {
    case SQLITE_FULL:
        atomic_store(&store->is_full, 1);
        return "the disk is full";
    case SQLITE_BUSY:
        return "another program is writing to the store, and does not let go of it";
    case SQLITE_NOMEM:
        return "out of memory";
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_READONLY:
        write_break(store, sqlite3_errmsg(db->sqlite), "look at the disk, then restart");
        return "the file failed";
    default:
        return "the file can't be used";
    }
}

static void complete_all(struct store *store, struct job *first)
{
    while (first) {
        struct job *next = first->next;
        store->host->complete(first->op, first->answer, first->text);
        free(first);
        first = next;
    }
}

static void refuse_all(struct job *first, cvm_answer_t answer, const char *text)
{
    for (; first; first = first->next) {
        first->answer = answer;
        first->text = text;
        if (first->loading)
            load_forget_rows(first->loading);
    }
}

/* What is committed must be where the next one looks for it. NULL, or why it is not: then nothing
 * may be acknowledged. */
static const char *write_misplaced(struct store *store)
{
    if (cvm_db_is_moved(&store->writer)) {
        write_break(store, "was moved, removed or replaced while it was open",
            "put the file back in its place, then restart");
        return "the file is not in its place any more";
    }
    if (store->is_anchored || !cvm_anchor_lost_log(store->anchor))
        return NULL;
    int rc = cvm_store_reopen(store);
    store->host->log(store->context, CVM_LEVEL_ERROR,
        "another program took the store's log away: something in this process has opened and "
        "closed its files");
    if (rc != SQLITE_OK)
        write_break(store, sqlite3_errstr(rc), "look at the disk, then restart");
    return "the store's log was taken away";
}

static int write_look_if_frozen(struct db *db, int *is_frozen)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, IS_FROZEN);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    int rc = sqlite3_step(prepared);
    *is_frozen = rc == SQLITE_ROW;
    (void)sqlite3_reset(prepared);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* What a frozen store does is thaw. */
static int write_job(struct store *store, struct db *db, struct job *job, int is_frozen)
{
    if (!is_frozen || (job->name && strcmp(job->name, CVM_FROZEN) == 0))
        return job->run(store, db, job);
    job->answer = CVM_ANSWER_UNAVAILABLE;
    job->text = CVM_FROZEN_TEXT;
    return SQLITE_OK;
}

/* One transaction for a list of jobs. */
static void write_batch(struct store *store, struct job *first)
{
    struct db *db = &store->writer;
    int32_t is_broken = atomic_load(&store->is_broken);
    if (is_broken || store->lock.is_read_only) {
        refuse_all(first, CVM_ANSWER_UNAVAILABLE,
            is_broken ? "the file failed" : "the store's file system is read-only");
        return;
    }
    int is_frozen = 0, rc = cvm_db_run(db, BEGIN_WRITE);
    if (rc == SQLITE_OK)
        rc = write_look_if_frozen(db, &is_frozen);
    for (struct job *job = first; job && rc == SQLITE_OK; job = job->next)
        rc = write_job(store, db, job, is_frozen);
    int in_doubt = rc == SQLITE_OK;
    if (rc == SQLITE_OK)
        rc = cvm_db_run(db, COMMIT);
    const char *misplaced = rc == SQLITE_OK ? write_misplaced(store) : NULL;
    if (misplaced) {
        refuse_all(first, CVM_ANSWER_UNKNOWN, misplaced);
        return;
    }
    if (rc == SQLITE_OK) {
        atomic_store(&store->is_full, 0);
        return;
    }
    refuse_all(first, in_doubt ? CVM_ANSWER_UNKNOWN : CVM_ANSWER_UNAVAILABLE,
        cvm_store_judge(store, db, rc));
    if (!sqlite3_get_autocommit(db->sqlite))
        (void)cvm_db_run(db, ROLLBACK);
}

void cvm_store_write(struct store *store, struct job *first)
{
    while (first) {
        struct job *last = first, *rest;
        for (uint32_t count = 1; count < LARGEST_BATCH && last->next; count++)
            last = last->next;
        rest = last->next;
        last->next = NULL;
        write_batch(store, first);
        complete_all(store, first);
        cvm_store_restart_log(store);
        first = rest;
    }
}
