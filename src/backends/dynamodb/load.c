/* An import, or a part of a copy: devices that have no more than the maker's row holds go in
 * batches, others by a change each. Never by BatchWriteItem, which writes over what is there. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "change.h"
#include "device.h"
#include "rows.h"

#define BATCH         25 /* statements of one call */
#define AT_ONCE       8  /* changes */
#define MOST_ROUNDS   5  /* for rows that others wrote, or that there was no throughput for */
#define FIRST_WAIT_MS 100
#define MOST_GROUP    40 /* certificates of one change: with all that leads to them they fit */

/* What becomes of a device of the load, by its uid. */
struct loaded {
    uint32_t first;      /* its place in the load */
    int64_t revision;    /* that it gets if it is new */
    const char *token;   /* that it is to have */
    const cJSON *row;    /* as it is */
    int32_t is_inserted; /* by this load, perhaps in an earlier round */
    int32_t is_written;  /* in this round */
    int32_t has_conflicted;
};

/* What is written by a change of its own. */
struct group {
    struct load *load;
    cvm_change_t change;
    cvm_record_t *as_read, *wanted;
    const cvm_record_t **certificates;
    struct loaded *loaded; /* NULL: certificates alone */
};

struct load {
    struct job job;
    const cvm_loading_t *loading;
    struct loaded *devices; /* as many as the load has; those that come again have none */
    uint32_t *place; /* of each device of the load: its struct's, in the order of its first row */
    uint32_t count;
    const cvm_record_t **certificates; /* sorted by device */
    struct group *groups;
    uint32_t group_count, group_at, running;
    uint32_t bulk_at; /* devices below it were put into batches */
    uint32_t batch[BATCH], batch_count;
    uint32_t rounds;
    int32_t is_checking, is_starting, must_go_round;
    int32_t must_wait; /* before the next round */
    int32_t has_judged;
    cvm_answer_t answer; /* the first failure's */
    char text[DYNAMO_TEXT_SIZE];
};

static const char *uid_of(const struct load *load, uint32_t i)
{
    return cvm_dynamo_host(&load->job)->text(load->loading->devices[i], CVM_D_DEVICE_UID);
}

static const char *token_of(const struct load *load, uint32_t i)
{
    return cvm_dynamo_host(&load->job)->text(load->loading->devices[i], CVM_D_DEVICE_TOKEN);
}

/* Each round, and each batch, has an operation's time: loads may be long. */
static void begin_time(struct job *job)
{
    job->aws.until_ms = cvm_monotonic_ms() + (uint64_t)job->store->aws.timeout_ms;
}

#define HASHED "sha256:"

/* The maker's table holds tokens as they are, an import brings hashes of them. */
static int32_t is_hash_of(const char *hash, const char *token)
{
    char sha256[CVM_SHA256_HEX_SIZE];
    size_t length = strlen(HASHED);
    return strncmp(hash, HASHED, length) == 0 && strncmp(token, HASHED, length) != 0 &&
           !cvm_sha256_hex(token, strlen(token), sha256) && strcmp(hash + length, sha256) == 0;
}

static int32_t is_same_token(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || is_hash_of(a, b) || is_hash_of(b, a);
}

/* --- Groups ----------------------------------------------------------------------------------- */

static void groups_clear(struct load *load)
{
    for (uint32_t i = 0; i < load->group_count; i++) {
        cvm_dynamo_host(&load->job)->record_free(load->groups[i].as_read);
        cvm_dynamo_host(&load->job)->record_free(load->groups[i].wanted);
    }
    free(load->groups);
    load->groups = NULL;
    load->group_count = load->group_at = 0;
}

static void load_tell(struct load *load);

static void load_clear(struct job *job)
{
    struct load *load = (struct load *)(void *)job;
    load_tell(load);
    groups_clear(load);
    free(load->devices);
    free(load->place);
    free(load->certificates);
}

static struct group *groups_add(struct load *load, struct loaded *loaded)
{
    struct group *group = &load->groups[load->group_count++];
    *group = (struct group){.load = load, .loaded = loaded};
    group->change.size = sizeof group->change;
    return group;
}

static const char *certificate_uid(const struct load *load, uint32_t i)
{
    return cvm_dynamo_host(&load->job)->text(load->certificates[i], CVM_C_DEVICE_UID);
}

/* How many of the certificates from there are of the same device, and go into one change. */
static uint32_t run_of(const struct load *load, uint32_t from)
{
    uint32_t count = 1;
    while (from + count < load->loading->certificate_count && count < MOST_GROUP &&
           strcmp(certificate_uid(load, from), certificate_uid(load, from + count)) == 0)
        count++;
    return count;
}

/* Certificates go by themselves: a device is there before them, or not at all. */
static void groups_take_certificates(struct load *load)
{
    for (uint32_t i = 0, count; i < load->loading->certificate_count; i += count) {
        count = run_of(load, i);
        struct group *group = groups_add(load, NULL);
        group->change.certificates = load->certificates + i;
        group->change.certificate_count = count;
    }
}

/* A new device that is more than a row. 0, or -1 without memory. */
static int32_t groups_take_device(struct load *load, struct loaded *loaded)
{
    const cvm_host_t *host = cvm_dynamo_host(&load->job);
    struct group *group = groups_add(load, loaded);
    group->wanted = host->record_copy(load->loading->devices[loaded->first]);
    group->change.wanted = group->wanted;
    return !group->wanted || host->set_text(group->wanted, CVM_D_DEVICE_TOKEN, loaded->token) ||
                   host->set_number(group->wanted, CVM_D_REVISION, loaded->revision)
               ? -1
               : 0;
}

/* One that is there, and gets another token. */
static int32_t groups_take_token(struct load *load, struct loaded *loaded)
{
    const cvm_host_t *host = cvm_dynamo_host(&load->job);
    struct group *group = groups_add(load, loaded);
    const cJSON *state = cvm_dynamo_state(&load->job.look, uid_of(load, loaded->first));
    group->as_read = cvm_dynamo_device(host, loaded->row, state);
    group->wanted = group->as_read ? host->record_copy(group->as_read) : NULL;
    group->change.as_read = group->as_read;
    group->change.wanted = group->wanted;
    return !group->wanted || host->set_text(group->wanted, CVM_D_DEVICE_TOKEN, loaded->token) ? -1
                                                                                              : 0;
}

/* The maker's row is all of it. */
static int32_t is_plain(const struct load *load, const struct loaded *loaded)
{
    const cvm_record_t *device = load->loading->devices[loaded->first];
    return !cvm_dynamo_device_has_state(cvm_dynamo_host(&load->job), device) &&
           !*cvm_dynamo_host(&load->job)->text(device, CVM_D_THING_NAME) &&
           !*cvm_dynamo_host(&load->job)->text(device, CVM_D_REGISTERED_ON);
}

static int32_t gets_token(const struct loaded *loaded)
{
    return loaded->row && strcmp(cvm_dynamo_text(loaded->row, "device_token"), loaded->token) != 0;
}

static int32_t groups_make(struct load *load)
{
    groups_clear(load);
    load->groups =
        calloc((size_t)load->count + load->loading->certificate_count + 1, sizeof *load->groups);
    int32_t failed = !load->groups;
    for (uint32_t i = 0; i < load->count && !failed; i++) {
        struct loaded *loaded = &load->devices[i];
        if (!loaded->row && !is_plain(load, loaded))
            failed = groups_take_device(load, loaded);
        else if (gets_token(loaded))
            failed = groups_take_token(load, loaded);
    }
    if (!failed)
        groups_take_certificates(load);
    return failed;
}

/* --- The end ---------------------------------------------------------------------------------- */

static void load_round(struct job *job);

static void load_note(struct load *load, cvm_answer_t answer, const char *text)
{
    if (load->answer == CVM_ANSWER_OK) {
        load->answer = answer;
        (void)snprintf(load->text, sizeof load->text, "%s", text ? text : "");
    }
}

static void load_give_way(struct load *load)
{
    cvm_dynamo_end(&load->job, CVM_ANSWER_BUSY,
        load->must_wait ? "DynamoDB has no throughput left" : "others write the same devices");
}

static void load_finish(struct load *load)
{
    struct job *job = &load->job;
    int32_t is_over = load->rounds >= MOST_ROUNDS;
    if (load->answer != CVM_ANSWER_OK || !load->must_go_round) {
        cvm_dynamo_end(job, load->answer, load->text);
        return;
    }
    begin_time(job);
    if (is_over ||
        (load->must_wait && cvm_dynamo_wait(job, FIRST_WAIT_MS << load->rounds, load_round)))
        load_give_way(load);
    else if (!load->must_wait)
        load_round(job);
}

/* --- Changes ---------------------------------------------------------------------------------- */

static void groups_go_on(struct load *load);
static void bulk_go_on(struct job *job);

static void group_ended(void *argument, cvm_answer_t answer, const char *text)
{
    const struct group *group = argument;
    struct load *load = group->load;
    load->running--;
    if (answer == CVM_ANSWER_OK && group->loaded && !load->is_checking) {
        group->loaded->is_written = 1;
        group->loaded->is_inserted |= !group->as_read;
    } else if (answer == CVM_ANSWER_CONFLICT && group->loaded && !load->is_checking) {
        load->must_go_round = 1; /* another one was here first */
        group->loaded->has_conflicted = 1;
    } else if (answer != CVM_ANSWER_OK && answer != CVM_ANSWER_NOT_FOUND) {
        load_note(load, answer, text);
    }
    if (!load->is_starting)
        groups_go_on(load);
}

static void groups_go_on(struct load *load)
{
    while (load->group_at < load->group_count && load->running < AT_ONCE &&
           load->answer == CVM_ANSWER_OK) {
        struct group *group = &load->groups[load->group_at++];
        load->running++;
        load->is_starting = 1; /* it may end at once */
        if (cvm_dynamo_change_begin(load->job.store, &group->change,
                load->is_checking ? CHANGE_CHECK : CHANGE_LOAD, group_ended, group)) {
            load->running--;
            load_note(load, CVM_ANSWER_UNAVAILABLE, "out of memory");
        }
        load->is_starting = 0;
    }
    if (load->running)
        return;
    if (load->answer == CVM_ANSWER_OK && load->is_checking) {
        load->is_checking = 0;
        load->group_at = 0;
        bulk_go_on(&load->job);
        return;
    }
    load_tell(load);
    load_finish(load);
}

/* --- Batches ---------------------------------------------------------------------------------- */

static void print_parameter(struct cvm_buffer *body, const char *text)
{
    cvm_buffer_text(body, ",{\"S\":");
    cvm_buffer_json(body, text);
    cvm_buffer_text(body, "}");
}

static void print_statement(struct load *load, struct cvm_buffer *body, const struct loaded *loaded)
{
    const cvm_host_t *host = cvm_dynamo_host(&load->job);
    const cvm_record_t *device = load->loading->devices[loaded->first];
    struct cvm_buffer statement = {.most = 1024};
    cvm_buffer_text(&statement, "INSERT INTO \"");
    cvm_buffer_text(&statement, load->job.store->tables[MAKERS]);
    cvm_buffer_text(&statement,
        "\" VALUE {'is_enabled':?,'is_registered':?,'cvm_revision':?,'device_uid':?,"
        "'device_token':?}");
    cvm_buffer_text(body, "{\"Statement\":");
    cvm_buffer_json(body, statement.text ? statement.text : "");
    body->failed |= statement.failed;
    cvm_buffer_free(&statement);
    cvm_buffer_format(body,
        ",\"Parameters\":[{\"N\":\"%d\"},{\"N\":\"%d\"},{\"N\":\"%" PRId64 "\"}",
        host->number(device, CVM_D_IS_ENABLED) != 0, host->number(device, CVM_D_IS_REGISTERED) != 0,
        loaded->revision);
    print_parameter(body, host->text(device, CVM_D_DEVICE_UID));
    print_parameter(body, loaded->token);
    cvm_buffer_text(body, "]}");
}

/* What DynamoDB says of one statement; code: NULL if it was carried out. */
static void statement_became(struct load *load, struct loaded *loaded, const char *code)
{
    char text[100];
    if (!code) {
        loaded->is_inserted = loaded->is_written = 1;
    } else if (strcmp(code, "DuplicateItem") == 0) {
        load->must_go_round = 1; /* it is there, by another one or by us */
    } else if (strcmp(code, "ValidationError") == 0 || strcmp(code, "AccessDenied") == 0 ||
               strcmp(code, "ResourceNotFound") == 0) {
        (void)snprintf(text, sizeof text, "DynamoDB refuses a row: %.60s", code);
        load_note(load, *code == 'V' ? CVM_ANSWER_INVALID : CVM_ANSWER_UNAVAILABLE, text);
    } else { /* throughput, or a fault */
        load->must_go_round = load->must_wait = 1;
    }
}

static void bulk_answered(struct job *job)
{
    struct load *load = (struct load *)(void *)job;
    const cJSON *responses = cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "Responses"),
                *response;
    uint32_t i = 0;
    cJSON_ArrayForEach(response, responses)
    {
        const cJSON *error = cJSON_GetObjectItemCaseSensitive(response, "Error");
        const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(error, "Code"));
        if (i == load->batch_count)
            break;
        statement_became(load, &load->devices[load->batch[i++]],
            !error ? NULL
            : code ? code
                   : "an error without a name");
    }
    load->must_go_round |= i < load->batch_count;
    bulk_go_on(job);
}

/* Goes on with the next devices that are new and plain; after the last one with the changes. */
static void bulk_go_on(struct job *job)
{
    struct load *load = (struct load *)(void *)job;
    struct cvm_buffer *body = cvm_dynamo_body(job);
    load->batch_count = 0;
    begin_time(job);
    cvm_buffer_text(body, "{\"Statements\":[");
    for (;
         load->bulk_at < load->count && load->batch_count < BATCH && load->answer == CVM_ANSWER_OK;
         load->bulk_at++) {
        const struct loaded *loaded = &load->devices[load->bulk_at];
        if (loaded->row || !is_plain(load, loaded))
            continue;
        cvm_buffer_text(body, load->batch_count ? "," : "");
        print_statement(load, body, loaded);
        load->batch[load->batch_count++] = load->bulk_at;
    }
    cvm_buffer_text(body, "]}");
    if (load->batch_count)
        cvm_dynamo_call(job, BATCH_EXECUTE_STATEMENT, bulk_answered);
    else
        groups_go_on(load);
}

/* --- What becomes of each row ----------------------------------------------------------------- */

/* The load's rows in their order, from what the store had, or got from its first row. */
static void judge_rows(struct load *load, int32_t tells)
{
    int32_t replaces = (load->loading->flags & CVM_LOAD_REPLACE_TOKENS) != 0;
    for (uint32_t i = 0; i < load->count; i++) {
        struct loaded *loaded = &load->devices[i];
        loaded->token = loaded->row ? cvm_dynamo_text(loaded->row, "device_token")
                                    : token_of(load, loaded->first);
    }
    for (uint32_t i = 0; i < load->loading->count; i++) {
        struct loaded *loaded = &load->devices[load->place[i]];
        int32_t is_same = is_same_token(token_of(load, i), loaded->token);
        cvm_load_t became = loaded->is_inserted && loaded->first == i ? CVM_LOAD_INSERTED
                            : is_same                                 ? CVM_LOAD_UNCHANGED
                            : replaces                                ? CVM_LOAD_REPLACED
                                                                      : CVM_LOAD_CONFLICT;
        if (replaces && !is_same)
            loaded->token = token_of(load, i);
        /* What was told in an earlier round was so. */
        int32_t is_there = loaded->row || loaded->is_written;
        int32_t is_replaced = became != CVM_LOAD_REPLACED || loaded->is_written;
        if (tells && is_there && is_replaced && (!load->loading->rows[i] || loaded->is_written))
            load->loading->rows[i] = (uint8_t)became;
    }
}

/* Also when the load fails half-way. */
static void load_tell(struct load *load)
{
    if (load->has_judged && load->loading->rows)
        judge_rows(load, 1);
}

static int32_t has_rules(const struct load *load)
{
    for (uint32_t i = 0; i < load->group_count; i++)
        if (!load->groups[i].as_read)
            return 1;
    return 0;
}

static void load_looked(struct job *job)
{
    struct load *load = (struct load *)(void *)job;
    for (uint32_t i = 0; i < load->count; i++) {
        struct loaded *loaded = &load->devices[i];
        loaded->row = cvm_dynamo_find(&job->look, MAKERS, uid_of(load, loaded->first), NULL);
        loaded->is_written = 0;
        if (loaded->has_conflicted && !loaded->row)
            load_note(
                load, CVM_ANSWER_CONFLICT, "a device's state is there still, and its row is not");
        loaded->is_inserted |=
            loaded->row && cvm_dynamo_number(loaded->row, "cvm_revision") == loaded->revision;
    }
    if (load->answer != CVM_ANSWER_OK) {
        cvm_dynamo_end(job, load->answer, load->text);
        return;
    }
    judge_rows(load, 0);
    load->bulk_at = 0;
    load->must_go_round = load->must_wait = 0;
    load->has_judged = 1;
    if (groups_make(load)) {
        cvm_dynamo_out_of_memory(job);
        return;
    }
    load->is_checking = has_rules(load) && !load->rounds;
    load->rounds++;
    if (load->is_checking)
        groups_go_on(load);
    else
        bulk_go_on(job);
}

/* --- Getting in ------------------------------------------------------------------------------- */

static void load_round(struct job *job)
{
    struct load *load = (struct load *)(void *)job;
    struct look *look = &load->job.look;
    int32_t replaces = (load->loading->flags & CVM_LOAD_REPLACE_TOKENS) != 0;
    begin_time(&load->job);
    cvm_dynamo_look_clear(look);
    for (uint32_t i = 0; i < load->count; i++) {
        const char *uid = uid_of(load, load->devices[i].first);
        (void)cvm_dynamo_look_add(look, MAKERS, uid, NULL);
        if (replaces)
            (void)cvm_dynamo_look_state(look, uid);
    }
    if (look->failed)
        cvm_dynamo_out_of_memory(&load->job);
    else
        cvm_dynamo_look(&load->job, load_looked);
}

/* Each device once. 0, or -1 without memory. */
static int32_t take_devices(struct load *load)
{
    struct look seen = {.items = NULL};
    for (uint32_t i = 0; i < load->loading->count && !seen.failed; i++) {
        uint32_t before = seen.count;
        int32_t place = cvm_dynamo_look_add(&seen, MAKERS, uid_of(load, i), NULL);
        load->place[i] = (uint32_t)place;
        if (seen.count == before)
            continue;
        int64_t revision =
            cvm_dynamo_host(&load->job)->number(load->loading->devices[i], CVM_D_REVISION);
        load->devices[load->count++] =
            (struct loaded){.first = i, .revision = revision ? revision : cvm_dynamo_random()};
    }
    int32_t failed = seen.failed;
    cvm_dynamo_look_clear(&seen);
    return failed;
}

struct sorted {
    const char *uid;
    const cvm_record_t *record;
    uint32_t at;
};

/* By device, and else in the load's order: what leaves `current` comes first. */
static int compare_sorted(const void *a, const void *b)
{
    const struct sorted *one = a, *other = b;
    int order = strcmp(one->uid, other->uid);
    return order ? order : (one->at > other->at) - (one->at < other->at);
}

static int32_t take_certificates(struct load *load)
{
    uint32_t count = load->loading->certificate_count;
    struct sorted *sorted = calloc(count ? count : 1, sizeof *sorted);
    load->certificates = calloc(count ? count : 1, sizeof(const cvm_record_t *));
    for (uint32_t i = 0; sorted && i < count; i++) {
        const cvm_record_t *record = load->loading->certificates[i];
        sorted[i] =
            (struct sorted){cvm_dynamo_host(&load->job)->text(record, CVM_C_DEVICE_UID), record, i};
    }
    if (sorted && count)
        qsort(sorted, count, sizeof *sorted, compare_sorted);
    for (uint32_t i = 0; sorted && load->certificates && i < count; i++)
        load->certificates[i] = sorted[i].record;
    int32_t failed = !sorted || !load->certificates;
    free(sorted);
    return failed;
}

void cvm_dynamo_load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    struct load *load = cvm_dynamo_job(self, op, sizeof *load, VERB_WRITES, load_clear);
    if (!load)
        return;
    load->loading = loading;
    load->devices = calloc(loading->count ? loading->count : 1, sizeof *load->devices);
    load->place = calloc(loading->count ? loading->count : 1, sizeof *load->place);
    for (uint32_t i = 0; loading->rows && i < loading->count; i++)
        loading->rows[i] = CVM_LOAD_NONE;
    if (!load->devices || !load->place || take_devices(load) || take_certificates(load))
        cvm_dynamo_out_of_memory(&load->job);
    else
        load_round(&load->job);
}
