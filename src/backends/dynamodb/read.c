/* What reads one device, or one item. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "certificate.h"
#include "device.h"
#include "key.h"
#include "rows.h"
#include "store.h"

#define MOST_TEARS 3  /* readings that a change has come between */
#define MOST_KEPT  32 /* certificates of a device */

/* --- States that were read -------------------------------------------------------------------- */

static cJSON **state_slot(struct store *store, const char *pk)
{
    return &store->states[cvm_hash(pk) % DYNAMO_STATES];
}

/* Which certificates it lists, if they are not too many. Nothing depends on it: without memory it
 * is forgotten. */
static void state_keep(struct store *store, const cJSON *state)
{
    static const char *const KEPT[] = {"pk", "certificates"};
    cJSON **slot = state_slot(store, cvm_dynamo_text(state, "pk"));
    if (!cvm_dynamo_member(state, "certificates", 0))
        return;
    cJSON_Delete(*slot);
    *slot = NULL;
    if (cvm_dynamo_member(state, "certificates", MOST_KEPT))
        return;
    *slot = cJSON_CreateObject();
    for (size_t i = 0; i < sizeof KEPT / sizeof KEPT[0]; i++) {
        cJSON *copy = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(state, KEPT[i]), 1);
        if (!cJSON_AddItemToObject(*slot, KEPT[i], copy))
            cJSON_Delete(copy);
    }
}

/* NULL if it is not kept. */
static const cJSON *state_kept(struct store *store, const char *device_uid)
{
    char pk[DYNAMO_KEY_SIZE];
    const cJSON *state = *state_slot(store, cvm_dynamo_key(pk, "U#", device_uid));
    return strcmp(cvm_dynamo_text(state, "pk"), pk) == 0 ? state : NULL;
}

void cvm_dynamo_forget_states(struct store *store)
{
    for (uint32_t i = 0; i < DYNAMO_STATES; i++) {
        cJSON_Delete(store->states[i]);
        store->states[i] = NULL;
    }
}

/* --- A device --------------------------------------------------------------------------------- */

struct get {
    struct job job;
    const char *uid; /* the caller's */
    uint32_t tears;
};

static void get_look(struct get *get);

static void get_looked(struct job *job)
{
    struct get *get = (struct get *)(void *)job;
    const cvm_host_t *host = job->store->aws.host;
    const cJSON *row = cvm_dynamo_found(&job->look, 0), *state = cvm_dynamo_found(&job->look, 1);
    if (!row) {
        cvm_dynamo_end(job, CVM_ANSWER_NOT_FOUND, NULL);
        return;
    }
    if ((cvm_dynamo_device_is_torn(row, state) && get->tears++ < MOST_TEARS) ||
        (cvm_dynamo_device_lacks_state(row, state) && !get->tears++)) {
        get_look(get);
        return;
    }
    state_keep(job->store, state);
    cvm_record_t *device = cvm_dynamo_device(host, row, state);
    if (!device || host->op_add_record(job->aws.op, device))
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

static void get_look(struct get *get)
{
    struct look *look = &get->job.look;
    cvm_dynamo_look_clear(look);
    (void)cvm_dynamo_look_add(look, MAKERS, get->uid, NULL);
    (void)cvm_dynamo_look_state(look, get->uid);
    cvm_dynamo_look(&get->job, get_looked);
}

void cvm_dynamo_get(void *self, cvm_op_t *op, const char *device_uid)
{
    struct store *store = self;
    if (!*device_uid || strlen(device_uid) > 128) { /* a key is never empty */
        store->aws.host->complete(op, CVM_ANSWER_NOT_FOUND, NULL);
        return;
    }
    struct get *get = cvm_dynamo_job(store, op, sizeof *get, VERB_READS, NULL);
    if (!get)
        return;
    get->uid = device_uid;
    get_look(get);
}

/* --- Its certificates ------------------------------------------------------------------------- */

struct get_certificates {
    struct job job;
    const char *uid; /* the caller's */
    uint32_t limit;
    int32_t has_guessed;
};

static int32_t is_revoked(const cJSON *row)
{
    return strcmp(cvm_dynamo_text(row, "state"), "revoked") == 0;
}

/* First those that are not revoked, the newest first. */
static int compare_rows(const void *a, const void *b)
{
    const cJSON *one = *(const cJSON *const *)a, *other = *(const cJSON *const *)b;
    int64_t first = cvm_dynamo_number(one, "issued_at"),
            second = cvm_dynamo_number(other, "issued_at");
    if (is_revoked(one) != is_revoked(other))
        return is_revoked(one) - is_revoked(other);
    return first > second ? -1 : first < second;
}

static int32_t answer_rows(struct get_certificates *get, const cJSON **rows, uint32_t count)
{
    const cvm_host_t *host = get->job.store->aws.host;
    qsort(rows, count, sizeof(const cJSON *), compare_rows);
    for (uint32_t i = 0; i < count && i < get->limit; i++) {
        cvm_record_t *record = cvm_dynamo_certificate(host, rows[i], 1);
        if (!record || host->op_add_record(get->job.aws.op, record))
            return -1;
    }
    return 0;
}

static void look_for_state(struct get_certificates *get, const cJSON *kept);

static void got_rows(struct job *job)
{
    struct get_certificates *get = (struct get_certificates *)(void *)job;
    const struct look *look = &job->look;
    const cJSON *state = cvm_dynamo_found(look, 0);
    const cJSON **rows = calloc(look->count, sizeof(const cJSON *)); /* the state is one of them */
    uint32_t count = 0, lacking = 0;
    const cJSON *member = rows ? cvm_dynamo_members(state, "certificates") : NULL;
    /* They differ, and were looked at; unless something else answers for DynamoDB. */
    const char *id;
    for (; member && count < look->count && (id = cJSON_GetStringValue(member));
         member = member->next) {
        const cJSON *row = cvm_dynamo_certificate_row(look, id);
        if (row)
            rows[count++] = row;
        else
            lacking++;
    }
    if (lacking && get->has_guessed) { /* it was not there before the state was read */
        cvm_dynamo_look_clear(&job->look);
        look_for_state(get, NULL);
    } else if (!rows || answer_rows(get, rows, count)) {
        cvm_dynamo_out_of_memory(job);
    } else {
        cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
    }
    free(rows);
}

static void got_state(struct job *job)
{
    const cJSON *state = cvm_dynamo_found(&job->look, 0);
    state_keep(job->store, state);
    cvm_dynamo_look_certificates(&job->look, state);
    cvm_dynamo_look(job, got_rows);
}

static void look_for_state(struct get_certificates *get, const cJSON *kept)
{
    get->has_guessed = kept != NULL;
    (void)cvm_dynamo_look_state(&get->job.look, get->uid);
    cvm_dynamo_look_certificates(&get->job.look, kept);
    cvm_dynamo_look(&get->job, got_state);
}

void cvm_dynamo_get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    struct get_certificates *get = cvm_dynamo_job(self, op, sizeof *get, VERB_READS, NULL);
    if (!get)
        return;
    get->uid = device_uid;
    get->limit = limit;
    look_for_state(get, state_kept(self, device_uid));
}

/* --- Whose it is ------------------------------------------------------------------------------ */

static void found_uid(struct job *job)
{
    const char *uid = cvm_dynamo_text(cvm_dynamo_found(&job->look, 0), "device_uid");
    if (!*uid)
        cvm_dynamo_end(job, CVM_ANSWER_NOT_FOUND, NULL);
    else if (job->store->aws.host->op_set_text(job->aws.op, CVM_OUT_VALUE, uid))
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

void cvm_dynamo_find_uid(void *self, cvm_op_t *op, cvm_find_by_t by, const char *value)
{
    static const struct {
        const char *prefix, *sk;
    } KINDS[] = {[CVM_FIND_CERTIFICATE] = {"C#", "C"},
        [CVM_FIND_THING] = {"T#", "T"},
        [CVM_FIND_KEY] = {"K#", "K"}};
    struct store *store = self;
    char pk[DYNAMO_KEY_SIZE];
    if (by < CVM_FIND_CERTIFICATE || by > CVM_FIND_KEY) {
        store->aws.host->complete(op, CVM_ANSWER_INVALID, "not by that");
        return;
    }
    if (!*value || strlen(value) > 128) {
        store->aws.host->complete(op, CVM_ANSWER_NOT_FOUND, NULL);
        return;
    }
    struct job *job = cvm_dynamo_job(store, op, sizeof *job, VERB_READS, NULL);
    if (!job)
        return;
    (void)cvm_dynamo_look_add(
        &job->look, OURS, cvm_dynamo_key(pk, KINDS[by].prefix, value), KINDS[by].sk);
    cvm_dynamo_look(job, found_uid);
}

/* --- The service ------------------------------------------------------------------------------ */

/* Also when another one asks at the same moment, and both are told of a conflict. */
static void is_ready(struct job *job)
{
    cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

/* A write that changes nothing, in both tables: it takes the same keys and rights as one that does.
 * No uid has a slash. */
void cvm_dynamo_ready(void *self, cvm_op_t *op)
{
    struct store *store = self;
    struct job *job = cvm_dynamo_job(store, op, sizeof *job, VERB_ASKS, NULL);
    if (!job)
        return;
    struct cvm_buffer *body = cvm_dynamo_body(job);
    cvm_buffer_text(body, "{\"TransactItems\":[{\"Delete\":");
    cvm_dynamo_print_target(body, store->tables[MAKERS], "/ready", NULL);
    cvm_buffer_text(body, "}},{\"Delete\":");
    cvm_dynamo_print_target(body, store->tables[OURS], "/ready", "/ready");
    cvm_buffer_text(body, "}}]}");
    job->takes_conditions = 1;
    cvm_dynamo_call(job, TRANSACT_WRITE_ITEMS, is_ready);
}

static void told_time(struct job *job)
{
    int64_t now_ms = cvm_aws_now_ms(&job->store->aws.client);
    if (!now_ms) {
        cvm_dynamo_end(job, CVM_ANSWER_UNAVAILABLE, "DynamoDB's answers have no Date");
        return;
    }
    (void)job->store->aws.host->op_set_number(job->aws.op, CVM_OUT_NOW_MS, now_ms);
    cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

/* As the Dates of its answers say. */
void cvm_dynamo_now(void *self, cvm_op_t *op)
{
    struct store *store = self;
    struct job *job = cvm_dynamo_job(store, op, sizeof *job, VERB_ASKS, NULL);
    if (!job)
        return;
    struct cvm_buffer *body = cvm_dynamo_body(job);
    cvm_dynamo_print_target(body, store->tables[OURS], "now", "now");
    cvm_buffer_text(body, "}");
    cvm_dynamo_call(job, GET_ITEM, told_time);
}
