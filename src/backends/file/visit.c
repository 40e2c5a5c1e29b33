/* Entering and leaving. */
#include "visit.h"

#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "generation.h"

static cvm_answer_t visit_open(
    struct visit *visit, enum visit_mode mode, char *error, size_t error_size)
{
    int retired;
    int rc = cvm_db_open(
        &visit->db, visit->path, mode == VISIT_WRITE ? DB_WRITE : DB_READ, error, error_size);
    if (rc == SQLITE_OK)
        rc = cvm_schema_migrate(&visit->db, SCHEMA_CHECK, &retired, error, error_size);
    if (rc != SQLITE_OK)
        return CVM_ANSWER_INVALID;
    visit->is_anchored = cvm_anchor_hold(visit->anchor) == 0;
    return CVM_ANSWER_OK;
}

/* Where there is no store, no lock is made for one. */
static cvm_answer_t visit_find(struct visit *visit, const char *path, char *error, size_t size)
{
    visit->path = cvm_files_resolve(path, error, size);
    if (visit->path && cvm_files_exists(visit->path))
        return CVM_ANSWER_OK;
    if (visit->path)
        cvm_files_explain(error, size, path, "there is no store");
    return CVM_ANSWER_INVALID;
}

cvm_answer_t cvm_visit(
    struct visit *visit, const char *path, enum visit_mode mode, char *error, size_t error_size)
{
    memset(visit, 0, sizeof *visit);
    visit->lock.fd = -1;
    cvm_answer_t answer = visit_find(visit, path, error, error_size);
    if (answer == CVM_ANSWER_OK)
        answer = cvm_lock_open(&visit->lock, visit->path, error, error_size);
    if (answer == CVM_ANSWER_OK)
        answer = cvm_generation_enter(&visit->lock, visit->path, error, error_size);
    if (answer == CVM_ANSWER_OK &&
        !(visit->anchor = cvm_anchor_new(visit->path, error, error_size)))
        answer = cvm_lock_judge();
    return answer == CVM_ANSWER_OK && mode != VISIT_LOCKED
               ? visit_open(visit, mode, error, error_size)
               : answer;
}

void cvm_visit_end(struct visit *visit)
{
    if (visit->is_anchored)
        cvm_anchor_let_go(visit->anchor);
    cvm_db_close(&visit->db);
    cvm_anchor_free(visit->anchor);
    cvm_lock_close(&visit->lock);
    free(visit->path);
}
