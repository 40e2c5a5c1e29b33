/* The reader: queries and refusals never wait for a sync. */
#include <stdlib.h>
#include <string.h>

#include "rows.h"
#include "store.h"

#define FIRST_DUE "1" /* the cursor before what has a time */

static int answer_row(struct store *store, sqlite3_stmt *prepared, const struct job *job)
{
    cvm_record_t *record = cvm_rows_read(store->host, prepared, job->kind);
    return record && !store->host->op_add_record(job->op, record) ? SQLITE_OK : SQLITE_NOMEM;
}

int cvm_store_run_get(struct store *store, struct db *db, struct job *job)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, GET_DEVICE);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    (void)sqlite3_bind_text(prepared, 1, job->name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(prepared);
    if (rc == SQLITE_ROW) {
        rc = answer_row(store, prepared, job);
    } else if (rc == SQLITE_DONE) {
        job->answer = CVM_ANSWER_NOT_FOUND;
        rc = SQLITE_OK;
    }
    (void)sqlite3_reset(prepared);
    return rc;
}

/* A full page of a scan has its last row's last column as its cursor. It grows from page to page:
 * in a file that is damaged it may not, and the scan would go round for ever. */
static int answer_cursor(struct store *store, sqlite3_stmt *prepared, const struct job *job)
{
    int last = sqlite3_column_count(prepared) - 1;
    const char *cursor = (const char *)sqlite3_column_text(prepared, last);
    if (cursor && strcmp(cursor, job->name) <= 0)
        return SQLITE_CORRUPT;
    return cursor && !store->host->op_set_text(job->op, CVM_OUT_CURSOR, cursor) ? SQLITE_OK
                                                                                : SQLITE_NOMEM;
}

/* from: a cursor. *count goes up. */
static int scan_statement(struct store *store, struct db *db, const struct job *job,
    enum statement statement, const char *from, uint32_t *count)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, statement);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    /* Not each statement has all three: binding one that is missing does nothing. */
    (void)sqlite3_bind_text(prepared, 1, from, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(prepared, 2, job->before_ms);
    (void)sqlite3_bind_int64(prepared, 3, job->limit - *count);
    int rc;
    while ((rc = sqlite3_step(prepared)) == SQLITE_ROW) {
        rc = answer_row(store, prepared, job);
        if (rc == SQLITE_OK && ++*count == job->limit && statement != GET_CERTIFICATES)
            rc = answer_cursor(store, prepared, job);
        if (rc != SQLITE_OK)
            break;
    }
    (void)sqlite3_reset(prepared);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* What is due by its time, then what is due at once. */
static int scan_due(struct store *store, struct db *db, const struct job *job)
{
    uint32_t count = 0;
    int is_second = *job->name == *CVM_AT_ONCE_CURSOR, rc = SQLITE_OK;
    if (!is_second)
        rc = scan_statement(store, db, job, SCAN_DUE, *job->name ? job->name : FIRST_DUE, &count);
    return rc == SQLITE_OK && count < job->limit ? scan_statement(store, db, job, SCAN_DUE_AT_ONCE,
                                                       is_second ? job->name + 1 : "", &count)
                                                 : rc;
}

int cvm_store_run_scan(struct store *store, struct db *db, struct job *job)
{
    uint32_t count = 0;
    return job->statement == SCAN_DUE
               ? scan_due(store, db, job)
               : scan_statement(store, db, job, job->statement, job->name, &count);
}

/* One row with a text, which is the answer's VALUE; prepared is at it. */
static int answer_value(struct store *store, sqlite3_stmt *prepared, const struct job *job)
{
    const char *value = (const char *)sqlite3_column_text(prepared, 0);
    return value && !store->host->op_set_text(job->op, CVM_OUT_VALUE, value) ? SQLITE_OK
                                                                             : SQLITE_NOMEM;
}

/* A uid that was looked for, or a value with its version. */
int cvm_store_run_value(struct store *store, struct db *db, struct job *job)
{
    sqlite3_stmt *prepared = cvm_db_statement(db, job->statement);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    (void)sqlite3_bind_text(prepared, 1, job->name, -1, SQLITE_STATIC);
    int rc = sqlite3_step(prepared);
    if (rc == SQLITE_ROW) {
        if (job->statement == GET_META)
            (void)store->host->op_set_number(
                job->op, CVM_OUT_VERSION, sqlite3_column_int64(prepared, 1));
        rc = answer_value(store, prepared, job);
    } else if (rc == SQLITE_DONE) {
        job->answer = CVM_ANSWER_NOT_FOUND;
        rc = SQLITE_OK;
    }
    (void)sqlite3_reset(prepared);
    return rc;
}

static void read_one(struct store *store, struct job *job)
{
    int rc = job->run(store, &store->reader, job);
    const char *text = NULL;
    if (rc != SQLITE_OK) {
        job->answer = CVM_ANSWER_UNAVAILABLE;
        text = cvm_store_judge(store, &store->reader, rc);
    }
    store->host->complete(job->op, job->answer, text);
}

/* One snapshot serves all that waits. After an I/O error what is read may not be on the disk. */
static void read_all(struct store *store, struct job *first)
{
    const char *failure = "the file failed";
    if (!atomic_load(&store->is_broken)) {
        int rc = cvm_db_run(&store->reader, BEGIN_READ);
        failure = rc == SQLITE_OK ? NULL : cvm_store_judge(store, &store->reader, rc);
    }
    while (first) {
        struct job *next = first->next;
        if (failure)
            store->host->complete(first->op, CVM_ANSWER_UNAVAILABLE, failure);
        else
            read_one(store, first);
        free(first);
        first = next;
    }
    if (store->reader.sqlite && !sqlite3_get_autocommit(store->reader.sqlite))
        (void)cvm_db_run(&store->reader, COMMIT);
}

void cvm_store_read(struct store *store, struct job *first)
{
    (void)pthread_mutex_lock(&store->reader_lock);
    read_all(store, first);
    (void)pthread_mutex_unlock(&store->reader_lock);
}
