/* What reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

/* The names' order is the fields'. NULL without memory, or if a text is too long to be one. */
static cvm_record_t *read_row(
    const cvm_host_t *host, const PGresult *result, int row, cvm_record_kind_t kind)
{
    uint32_t count = host->field_count(kind);
    cvm_record_t *record = host->record_new(kind);
    for (uint32_t i = 0; record && i < count && (int)i < PQnfields(result); i++) {
        const char *text = PQgetvalue(result, row, (int)i); /* "" where it is NULL */
        int32_t failed = host->field_kind(kind, i) == CVM_FIELD_NUMBER
                             ? host->set_number(record, i, strtoll(text, NULL, 10))
                             : host->set_text(record, i, text);
        if (failed) {
            host->record_free(record);
            record = NULL;
        }
    }
    return record;
}

/* Answers all rows. */
static cvm_answer_t read_rows(struct store *store, struct job *job)
{
    const PGresult *result = job->results[0];
    for (int row = 0; row < PQntuples(result); row++) {
        cvm_record_t *record = read_row(store->host, result, row, job->kind);
        if (!record || store->host->op_add_record(job->op, record)) {
            (void)snprintf(
                job->text, sizeof job->text, "a row can't be read, or there is no memory for it");
            return CVM_ANSWER_BROKEN;
        }
    }
    return CVM_ANSWER_OK;
}

/* --- Rows by their key ------------------------------------------------------------------------ */

static int32_t get_send(struct link *link, struct job *job)
{
    struct params params = {.count = 0};
    params.values[params.count++] = job->name;
    if (job->statement == GET_CERTIFICATES)
        cvm_params_number(&params, job->limit);
    return cvm_link_send(link, job, job->statement, &params);
}

static cvm_answer_t get_take(struct store *store, struct job *job)
{
    return PQntuples(job->results[0]) ? read_rows(store, job) : CVM_ANSWER_NOT_FOUND;
}

const struct verb CVM_GET = {get_send, get_take, 0, 0};
const struct verb CVM_GET_CERTIFICATES = {get_send, read_rows, 0, 0};

/* --- Pages ------------------------------------------------------------------------------------ */

static int32_t scan_send(struct link *link, struct job *job)
{
    struct params params = {.count = 0};
    int32_t is_first_of_due = job->statement == SCAN_DUE && !*job->name;
    params.values[params.count++] = is_first_of_due ? "100000000000000000000" : job->name;
    cvm_params_number(&params, job->before_ms);
    cvm_params_number(&params, job->limit);
    return cvm_link_send(link, job, job->statement, &params);
}

static cvm_answer_t scan_take(struct store *store, struct job *job)
{
    const PGresult *result = job->results[0];
    int rows = PQntuples(result);
    cvm_answer_t answer = read_rows(store, job);
    if (answer != CVM_ANSWER_OK || (uint32_t)rows < job->limit || !rows)
        return answer;
    return store->host->op_set_text(
               job->op, CVM_OUT_CURSOR, PQgetvalue(result, rows - 1, PQnfields(result) - 1))
               ? CVM_ANSWER_UNAVAILABLE
               : CVM_ANSWER_OK;
}

const struct verb CVM_SCAN = {scan_send, scan_take, 0, 0};

/* --- Values, uids, and what there is of the server -------------------------------------------- */

static cvm_answer_t value_take(struct store *store, struct job *job)
{
    const PGresult *result = job->results[0];
    if (!PQntuples(result))
        return CVM_ANSWER_NOT_FOUND;
    if (job->statement == GET_META)
        (void)store->host->op_set_number(
            job->op, CVM_OUT_VERSION, strtoll(PQgetvalue(result, 0, 1), NULL, 10));
    return store->host->op_set_text(job->op, CVM_OUT_VALUE, PQgetvalue(result, 0, 0))
               ? CVM_ANSWER_UNAVAILABLE
               : CVM_ANSWER_OK;
}

const struct verb CVM_VALUE = {get_send, value_take, 0, 0};

static int32_t server_send(struct link *link, struct job *job)
{
    struct params params = {.count = 0};
    return cvm_link_send(link, job, job->statement, &params);
}

static cvm_answer_t now_take(struct store *store, struct job *job)
{
    if (PQntuples(job->results[0]) != 1)
        return CVM_ANSWER_UNAVAILABLE;
    (void)store->host->op_set_number(
        job->op, CVM_OUT_NOW_MS, strtoll(PQgetvalue(job->results[0], 0, 0), NULL, 10));
    return CVM_ANSWER_OK;
}

const struct verb CVM_NOW = {server_send, now_take, 0, 0};

static cvm_answer_t ready_take(struct store *store, struct job *job)
{
    (void)store;
    const PGresult *result = job->results[0];
    int32_t is_there = PQntuples(result) == 1;
    int32_t is_writable = is_there && *PQgetvalue(result, 0, 0) == 'f';
    if (is_writable && *PQgetvalue(result, 0, 1) == 'f')
        return CVM_ANSWER_OK;
    (void)snprintf(
        job->text, sizeof job->text, "%s", is_writable ? CVM_FROZEN_TEXT : CVM_TEXT_READ_ONLY);
    return CVM_ANSWER_UNAVAILABLE;
}

const struct verb CVM_READY = {server_send, ready_take, 0, 1};
