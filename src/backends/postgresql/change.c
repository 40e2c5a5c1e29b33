/* What writes: changes of a device's records, and values. */
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define NOTHING INT64_C(-1) /* in a column */

/* --- A change's parameters -------------------------------------------------------------------- */

static void change_add_certificates(
    struct params *params, const cvm_host_t *host, const cvm_change_t *change)
{
    for (uint32_t field = 0; field < CVM_CERTIFICATE_FIELD_COUNT; field++)
        cvm_params_column(params, host, change->certificates, change->certificate_count,
            CVM_RECORD_CERTIFICATE, field);
}

static void change_add_field(struct params *params, const cvm_host_t *host,
    const cvm_record_t *record, cvm_record_kind_t kind, uint32_t field)
{
    if (host->field_kind(kind, field) == CVM_FIELD_NUMBER)
        cvm_params_number(params, host->number(record, field));
    else
        cvm_params_text(params, host->text(record, field));
}

static void change_add_certificate(
    struct params *params, const cvm_host_t *host, const cvm_record_t *certificate)
{
    for (uint32_t field = 0; field < CVM_CERTIFICATE_FIELD_COUNT; field++)
        change_add_field(params, host, certificate, CVM_RECORD_CERTIFICATE, field);
}

static void change_add_device(
    struct params *params, const cvm_host_t *host, const cvm_record_t *wanted, int64_t revision)
{
    for (uint32_t field = CVM_D_DEVICE_UID + 1; field < CVM_DEVICE_FIELD_COUNT; field++) {
        if (field == CVM_D_REVISION)
            cvm_params_number(params, revision);
        else
            change_add_field(params, host, wanted, CVM_RECORD_DEVICE, field);
    }
}

static const char *key_of(const cvm_host_t *host, const cvm_record_t *device)
{
    return device ? host->text(device, CVM_D_PUBLIC_KEY_SHA256) : "";
}

static int32_t is_compromised(const cvm_host_t *host, const cvm_record_t *certificate)
{
    return strcmp(host->text(certificate, CVM_C_REASON), "keyCompromise") == 0 &&
           *host->text(certificate, CVM_C_PUBLIC_KEY_SHA256);
}

/* A key that a certificate of the change still has. */
static int32_t change_keeps_key(const cvm_host_t *host, const cvm_change_t *change, const char *key)
{
    if (strcmp(key_of(host, change->wanted), key) == 0)
        return 1;
    for (uint32_t i = 0; i < change->certificate_count; i++)
        if (strcmp(host->text(change->certificates[i], CVM_C_PUBLIC_KEY_SHA256), key) == 0 &&
            strcmp(host->text(change->certificates[i], CVM_C_STATE), "revoked") != 0)
            return 1;
    return 0;
}

/* Keys that the device may lose, or that nobody may have until then. */
struct keys {
    const char *list[CVM_MOST_CHANGED + 1];
    int64_t until[CVM_MOST_CHANGED + 1];
    uint32_t count;
};

/* The device's former key, and those of certificates that are revoked now. */
static void change_find_freed(
    const cvm_host_t *host, const cvm_change_t *change, struct keys *freed)
{
    const char *former = key_of(host, change->as_read);
    freed->count = 0;
    if (*former && !change_keeps_key(host, change, former))
        freed->list[freed->count++] = former;
    for (uint32_t i = 0; i < change->certificate_count; i++) {
        const char *key = host->text(change->certificates[i], CVM_C_PUBLIC_KEY_SHA256);
        if (*key && !change_keeps_key(host, change, key) &&
            !is_compromised(host, change->certificates[i]))
            freed->list[freed->count++] = key;
    }
}

static void change_find_blocked(
    const cvm_host_t *host, const cvm_change_t *change, struct keys *blocked)
{
    blocked->count = 0;
    for (uint32_t i = 0; i < change->certificate_count; i++) {
        const cvm_record_t *certificate = change->certificates[i];
        if (!is_compromised(host, certificate))
            continue;
        const char *key = host->text(certificate, CVM_C_PUBLIC_KEY_SHA256);
        uint32_t at = 0;
        while (at < blocked->count && strcmp(blocked->list[at], key) != 0)
            at++;
        if (at < blocked->count) /* one row can't be written twice */
            continue;
        blocked->list[blocked->count] = key;
        blocked->until[blocked->count++] = host->number(certificate, CVM_C_NOT_AFTER);
    }
}

/* The most general statement for it: what its answers mean goes by that. */
static enum statement change_kind(const struct job *job)
{
    if (!job->change->as_read && !job->change->wanted)
        return WRITE_CERTIFICATES;
    if (!job->change->wanted)
        return DELETE_DEVICE;
    return job->change->as_read ? UPDATE_DEVICE : INSERT_DEVICE;
}

/* A certificate for the key comes into being, or into use: nobody else may have it, and it must not
 * be compromised. */
static int32_t change_uses_key(const cvm_host_t *host, const cvm_change_t *change, const char *key)
{
    if (strcmp(key, key_of(host, change->as_read)) != 0)
        return 1;
    for (uint32_t i = 0; i < change->certificate_count; i++) {
        const char *state = host->text(change->certificates[i], CVM_C_STATE);
        if ((strcmp(state, "pending") == 0 || strcmp(state, "current") == 0) &&
            strcmp(host->text(change->certificates[i], CVM_C_PUBLIC_KEY_SHA256), key) == 0)
            return 1;
    }
    return 0;
}

/* The statement with the fewest parts that writes all of the change. */
static enum statement change_statement(
    enum statement kind, const cvm_change_t *change, int32_t takes_key, int32_t loses_keys)
{
    if (kind != UPDATE_DEVICE || loses_keys)
        return kind;
    if (!change->certificate_count && !takes_key)
        return UPDATE_DEVICE_ALONE;
    return change->certificate_count == 1 ? UPDATE_DEVICE_WITH_ONE : UPDATE_DEVICE;
}

static void change_add_many(struct params *params, const cvm_host_t *host,
    const cvm_change_t *change, const struct keys *freed, const struct keys *blocked)
{
    cvm_params_texts(params, freed->list, freed->count);
    cvm_params_texts(params, blocked->list, blocked->count);
    cvm_params_numbers(params, blocked->until, blocked->count);
    change_add_certificates(params, host, change);
}

static int32_t change_send(struct link *link, struct job *job)
{
    const cvm_host_t *host = link->lane->store->host;
    const cvm_change_t *change = job->change;
    struct params params = {.count = 0};
    struct keys freed, blocked;
    const char *key = key_of(host, change->wanted);
    int32_t takes_key = *key && change_uses_key(host, change, key);
    int64_t revision =
        change->as_read ? host->number(change->as_read, CVM_D_REVISION) : job->change_id + 1;
    change_find_freed(host, change, &freed);
    change_find_blocked(host, change, &blocked);
    enum statement statement =
        change_statement(change_kind(job), change, takes_key, freed.count > 0 || blocked.count > 0);
    cvm_params_text(&params, cvm_job_uid(link->lane->store, job));
    cvm_params_number(&params, revision);
    cvm_params_number(&params, job->change_id);
    if (statement != UPDATE_DEVICE_ALONE)
        cvm_params_text(&params, takes_key ? key : NULL);
    if (statement == UPDATE_DEVICE_WITH_ONE)
        change_add_certificate(&params, host, change->certificates[0]);
    else if (statement != UPDATE_DEVICE_ALONE)
        change_add_many(&params, host, change, &freed, &blocked);
    if (change->wanted)
        change_add_device(&params, host, change->wanted, revision + (change->as_read != NULL));
    return cvm_link_send(link, job, statement, &params);
}

/* --- What it answers -------------------------------------------------------------------------- */

static int64_t number_at(const PGresult *result, int column)
{
    return PQgetisnull(result, 0, column) ? NOTHING
                                          : strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

/* A conflict of one that may have been written before: with itself, if the row has gone on since.
 */
static cvm_answer_t change_settle(const struct store *store, const struct job *job)
{
    enum statement statement = change_kind(job);
    if (statement == WRITE_CERTIFICATES || statement == INSERT_DEVICE)
        return CVM_ANSWER_UNKNOWN;
    int64_t revision = number_at(job->results[0], 2);
    int64_t as_read = store->host->number(job->change->as_read, CVM_D_REVISION);
    if (statement == DELETE_DEVICE)
        return revision == NOTHING ? CVM_ANSWER_OK : CVM_ANSWER_UNKNOWN;
    return revision == as_read + 1 ? CVM_ANSWER_CONFLICT : CVM_ANSWER_UNKNOWN;
}

static cvm_answer_t change_take(struct store *store, struct job *job)
{
    if (!job->result_count || PQntuples(job->results[0]) != 1)
        return CVM_ANSWER_UNKNOWN;
    int32_t is_allowed = number_at(job->results[0], 0) > 0;
    int32_t is_changed = number_at(job->results[0], 1) > 0;
    enum statement statement = change_kind(job);
    if (is_changed)
        return CVM_ANSWER_OK;
    if (job->is_in_doubt)
        return change_settle(store, job);
    if (!is_allowed || statement == DELETE_DEVICE)
        return CVM_ANSWER_CONFLICT;
    if (statement == WRITE_CERTIFICATES)
        return CVM_ANSWER_NOT_FOUND;
    return *key_of(store->host, job->change->wanted) ? CVM_ANSWER_KEY_IN_USE : CVM_ANSWER_CONFLICT;
}

const struct verb CVM_CHANGE = {change_send, change_take, 1, 0};

/* --- Values ----------------------------------------------------------------------------------- */

/* What is on its way is waited for, and what comes later sees it. */
static int32_t meta_freezes(const struct job *job)
{
    return job->wanted && strcmp(job->name, CVM_FROZEN) == 0;
}

static int32_t meta_send(struct link *link, struct job *job)
{
    struct params params = {.count = 0}, none = {.count = 0};
    cvm_params_text(&params, job->name);
    if (job->wanted && !*job->wanted)
        params.values[params.count++] = ""; /* a value that is empty is one */
    else
        cvm_params_text(&params, job->wanted);
    cvm_params_number(&params, job->version ? job->version : job->change_id + 1);
    cvm_params_number(&params, job->change_id);
    enum statement statement = job->version ? UPDATE_META : INSERT_META;
    if (meta_freezes(job) && cvm_link_send(link, job, LOCK_ALL, &none))
        return -1;
    return cvm_link_send(link, job, job->wanted ? statement : DELETE_META, &params);
}

static cvm_answer_t meta_take(struct store *store, struct job *job)
{
    if (!job->result_count)
        return CVM_ANSWER_UNKNOWN;
    const PGresult *result = job->results[job->result_count - 1];
    if (PQntuples(result) != 1)
        return job->is_in_doubt ? CVM_ANSWER_UNKNOWN : CVM_ANSWER_CONFLICT;
    (void)store->host->op_set_number(
        job->op, CVM_OUT_VERSION, strtoll(PQgetvalue(result, 0, 0), NULL, 10));
    return CVM_ANSWER_OK;
}

const struct verb CVM_META_PUT = {meta_send, meta_take, 1, 0};
