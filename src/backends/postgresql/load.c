/* What an import inserts: a few statements for all rows, by arrays. */
#include <stdlib.h>
#include <string.h>

#include "store.h"

/* The devices' column; of revisions those that are missing are made. */
static void load_add_column(
    struct params *params, const cvm_host_t *host, const cvm_loading_t *loading, uint32_t field)
{
    if (field != CVM_D_REVISION) {
        cvm_params_column(params, host, (const cvm_record_t *const *)loading->devices,
            loading->count, CVM_RECORD_DEVICE, field);
        return;
    }
    int64_t *revisions = malloc((loading->count ? loading->count : 1) * sizeof *revisions);
    for (uint32_t i = 0; revisions && i < loading->count; i++) {
        revisions[i] = host->number(loading->devices[i], CVM_D_REVISION);
        if (!revisions[i])
            revisions[i] = cvm_store_random();
    }
    cvm_params_numbers(params, revisions, revisions ? loading->count : 0);
    params->failed |= !revisions;
    free(revisions);
}

/* What an import's rows have, in the order of LOAD_PLAIN_DEVICES. */
static const uint32_t PLAIN_FIELDS[] = {
    CVM_D_DEVICE_UID, CVM_D_DEVICE_TOKEN, CVM_D_IS_ENABLED, CVM_D_REVISION};
#define PLAIN_COUNT (sizeof PLAIN_FIELDS / sizeof PLAIN_FIELDS[0])

static int32_t field_is_plain(uint32_t field)
{
    for (size_t i = 0; i < PLAIN_COUNT; i++)
        if (PLAIN_FIELDS[i] == field)
            return 1;
    return 0;
}

/* No device has more than that. */
static int32_t load_is_plain(const cvm_host_t *host, const cvm_loading_t *loading)
{
    for (uint32_t field = 0; field < CVM_DEVICE_FIELD_COUNT; field++) {
        if (field_is_plain(field))
            continue;
        for (uint32_t i = 0; i < loading->count; i++)
            if (host->number(loading->devices[i], field) || *host->text(loading->devices[i], field))
                return 0;
    }
    return 1;
}

static int32_t load_send_devices(struct link *link, struct job *job)
{
    const cvm_host_t *host = link->lane->store->host;
    struct params params = {.count = 0};
    int32_t is_plain = load_is_plain(host, job->loading);
    uint32_t count = is_plain ? PLAIN_COUNT : CVM_DEVICE_FIELD_COUNT;
    cvm_params_number(&params, job->change_id);
    for (uint32_t i = 0; i < count; i++)
        load_add_column(&params, host, job->loading, is_plain ? PLAIN_FIELDS[i] : i);
    return cvm_link_send(link, job, is_plain ? LOAD_PLAIN_DEVICES : LOAD_DEVICES, &params);
}

static int32_t load_send_certificates(struct link *link, struct job *job)
{
    const cvm_loading_t *loading = job->loading;
    struct params params = {.count = 0};
    cvm_params_number(&params, job->change_id);
    for (uint32_t field = 0; field < CVM_CERTIFICATE_FIELD_COUNT; field++)
        cvm_params_column(&params, link->lane->store->host, loading->certificates,
            loading->certificate_count, CVM_RECORD_CERTIFICATE, field);
    return cvm_link_send(link, job, LOAD_CERTIFICATES, &params);
}

static int32_t load_send_certificate_keys(struct link *link, struct job *job)
{
    const cvm_loading_t *loading = job->loading;
    struct params params = {.count = 0};
    cvm_params_number(&params, job->change_id);
    cvm_params_column(&params, link->lane->store->host, loading->certificates,
        loading->certificate_count, CVM_RECORD_CERTIFICATE, CVM_C_CERTIFICATE_ID);
    return cvm_link_send(link, job, LOAD_CERTIFICATE_KEYS, &params);
}

/* Two columns: the uids and what they have, or the other way round. */
static int32_t load_send_pairs(struct link *link, struct job *job, enum statement statement,
    uint32_t first_field, uint32_t second_field)
{
    const cvm_host_t *host = link->lane->store->host;
    struct params params = {.count = 0};
    cvm_params_number(&params, job->change_id);
    load_add_column(&params, host, job->loading, first_field);
    load_add_column(&params, host, job->loading, second_field);
    return cvm_link_send(link, job, statement, &params);
}

static int32_t load_send_states(struct link *link, struct job *job)
{
    struct params params = {.count = 0};
    cvm_params_number(&params, job->change_id);
    load_add_column(&params, link->lane->store->host, job->loading, CVM_D_DEVICE_UID);
    return cvm_link_send(link, job, LOAD_STATES, &params);
}

static int32_t load_has_keys(const cvm_host_t *host, const cvm_loading_t *loading)
{
    for (uint32_t i = 0; i < loading->count; i++)
        if (*host->text(loading->devices[i], CVM_D_PUBLIC_KEY_SHA256))
            return 1;
    return 0;
}

static int32_t load_send(struct link *link, struct job *job)
{
    const cvm_host_t *host = link->lane->store->host;
    const cvm_loading_t *loading = job->loading;
    int32_t failed = load_send_devices(link, job);
    if (!failed && load_has_keys(host, loading))
        failed = load_send_pairs(link, job, LOAD_KEYS, CVM_D_PUBLIC_KEY_SHA256, CVM_D_DEVICE_UID);
    if (!failed && loading->certificate_count)
        failed = load_send_certificates(link, job) || load_send_certificate_keys(link, job);
    if (!failed && (loading->flags & CVM_LOAD_REPLACE_TOKENS))
        failed = load_send_pairs(link, job, REPLACE_TOKENS, CVM_D_DEVICE_UID, CVM_D_DEVICE_TOKEN);
    return failed ? failed : load_send_states(link, job);
}

/* --- What became of each ---------------------------------------------------------------------- */

/* The row of the states that is the device's; they come in the order of their uids. -1: none. */
static int load_find(const PGresult *states, const char *uid)
{
    int low = 0, high = PQntuples(states) - 1;
    while (low <= high) {
        int middle = low + (high - low) / 2, order = strcmp(PQgetvalue(states, middle, 0), uid);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

/* is_first: the load has not come across the device before. */
static cvm_load_t load_judge(
    const struct job *job, const PGresult *states, int row, const char *token, int32_t is_first)
{
    int64_t change_id = strtoll(PQgetvalue(states, row, 2), NULL, 10);
    if (change_id == job->change_id && is_first)
        return CVM_LOAD_INSERTED;
    if (change_id == job->change_id + 1)
        return CVM_LOAD_REPLACED;
    return strcmp(PQgetvalue(states, row, 1), token) == 0 ? CVM_LOAD_UNCHANGED : CVM_LOAD_CONFLICT;
}

static cvm_answer_t load_take(struct store *store, struct job *job)
{
    const PGresult *states = job->results[job->result_count - 1];
    const cvm_loading_t *loading = job->loading;
    uint8_t *seen = calloc(1, (size_t)PQntuples(states) + 1);
    for (uint32_t i = 0; seen && i < loading->count; i++) {
        const cvm_record_t *device = loading->devices[i];
        int row = load_find(states, store->host->text(device, CVM_D_DEVICE_UID));
        if (row < 0)
            continue; /* somebody has removed it since, in the same instant */
        loading->rows[i] = (uint8_t)load_judge(
            job, states, row, store->host->text(device, CVM_D_DEVICE_TOKEN), !seen[row]);
        seen[row] = 1;
    }
    int32_t failed = !seen;
    free(seen);
    return failed ? CVM_ANSWER_UNKNOWN : CVM_ANSWER_OK;
}

const struct verb CVM_LOAD = {load_send, load_take, 1, 0};
