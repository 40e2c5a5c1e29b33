/* The latest time on record, as an operator sees and sets it. The core advances it (meta's value
 * clock_mark). */
#include <stdio.h>

#include "base/files.h"
#include "file.h"
#include "visit.h"

static int mark_ask(struct db *db, const char *sql, int64_t number, int64_t *answer)
{
    sqlite3_stmt *prepared = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &prepared, NULL);
    if (rc == SQLITE_OK) {
        (void)sqlite3_bind_int64(prepared, 1, number);
        rc = sqlite3_step(prepared);
        *answer = rc == SQLITE_ROW ? sqlite3_column_int64(prepared, 0) : 0;
        rc = rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
    }
    (void)sqlite3_finalize(prepared);
    return rc;
}

static int mark_run(struct db *db, int64_t now_ms, int32_t accept, struct cvm_file_clock *clock)
{
    int64_t future = 0, ignored;
    int rc = mark_ask(db, "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'clock_mark'", 0,
        &clock->mark_ms);
    if (rc == SQLITE_OK)
        rc = mark_ask(db,
            "SELECT count(*) FROM certificates WHERE not_before > ?1 AND state <> 'revoked'",
            now_ms, &future);
    clock->future = (uint32_t)future;
    return rc == SQLITE_OK && accept
               ? mark_ask(db,
                     "INSERT INTO meta (name, value) VALUES ('clock_mark', CAST(?1 AS TEXT))"
                     " ON CONFLICT (name) DO UPDATE SET value = excluded.value,"
                     " version = version + 1",
                     now_ms, &ignored)
               : rc;
}

cvm_answer_t cvm_file_clock(const char *path, int64_t now_ms, int32_t accept,
    struct cvm_file_clock *clock, char *error, size_t error_size)
{
    struct visit visit;
    cvm_answer_t answer =
        cvm_visit(&visit, path, accept ? VISIT_WRITE : VISIT_READ, error, error_size);
    if (answer == CVM_ANSWER_OK && mark_run(&visit.db, now_ms, accept, clock) != SQLITE_OK) {
        cvm_files_explain(error, error_size, path, sqlite3_errmsg(visit.db.sqlite));
        answer = CVM_ANSWER_UNAVAILABLE;
    }
    cvm_visit_end(&visit);
    return answer;
}
