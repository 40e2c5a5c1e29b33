/* The tables themselves: looked at when the store opens, made by `cvm store create`, never by a
 * server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "item.h"
#include "store.h"

#define POLL_MS      500
#define MOST_MAKE_MS 300000 /* AWS says: some seconds */

/* What each table is keyed by. */
static const struct {
    const char *hash, *range; /* range: NULL without one */
} KEYS[TABLE_COUNT] = {[MAKERS] = {"device_uid", NULL}, [OURS] = {"pk", "sk"}};

struct tables {
    struct job job;
    enum table table; /* that is looked at */
    int32_t makes;    /* those that are missing */
    int32_t only_prints;
    int32_t is_new; /* the one that is waited for */
    struct cvm_buffer report;
};

static void tables_clear(struct job *job)
{
    cvm_buffer_free(&((struct tables *)(void *)job)->report);
}

static const char *table_name(const struct tables *tables)
{
    return tables->job.store->tables[tables->table];
}

/* --- What a table is -------------------------------------------------------------------------- */

/* The key's attribute of that role, if it is a text; "" else. */
static const char *key_of(const cJSON *table, const char *role)
{
    const cJSON *key, *attribute;
    const char *name = "";
    cJSON_ArrayForEach(key, cJSON_GetObjectItemCaseSensitive(table, "KeySchema"))
    {
        const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(key, "KeyType"));
        const char *is =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(key, "AttributeName"));
        if (type && is && strcmp(type, role) == 0)
            name = is;
    }
    cJSON_ArrayForEach(attribute, cJSON_GetObjectItemCaseSensitive(table, "AttributeDefinitions"))
    {
        const char *is =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(attribute, "AttributeName"));
        const char *type =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(attribute, "AttributeType"));
        if (is && type && strcmp(is, name) == 0 && strcmp(type, "S") != 0)
            return "";
    }
    return name;
}

/* Why the table can't be worked with; NULL if it can. */
static const char *table_fault(enum table which, const cJSON *table)
{
    const char *range = KEYS[which].range ? KEYS[which].range : "";
    if (strcmp(key_of(table, "HASH"), KEYS[which].hash) != 0 ||
        strcmp(key_of(table, "RANGE"), range) != 0)
        return which == MAKERS ? "its key is not device_uid, a text, alone"
                               : "its keys are not pk and sk, both texts";
    if (cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(table, "Replicas")) > 0)
        return "it is a global table: there the last writer wins, and transactions are one "
               "region's";
    return NULL;
}

/* --- One after the other ---------------------------------------------------------------------- */

static void describe(struct job *job);

static void tables_fail(struct tables *tables, cvm_answer_t answer, const char *why)
{
    char text[DYNAMO_TEXT_SIZE];
    (void)snprintf(text, sizeof text, "DynamoDB's table %.100s: %s", table_name(tables), why);
    cvm_dynamo_end(&tables->job, answer, text);
}

static void tables_next(struct tables *tables)
{
    struct job *job = &tables->job;
    tables->is_new = 0;
    if (++tables->table < TABLE_COUNT)
        describe(job);
    else if (job->store->aws.host->op_set_text(
                 job->aws.op, CVM_OUT_VALUE, tables->report.text ? tables->report.text : ""))
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

static void created(struct job *job)
{
    struct tables *tables = (struct tables *)(void *)job;
    job->takes_all = 0;
    if (job->aws.call.outcome != AWS_OK &&
        strcmp(job->aws.call.error, "ResourceInUseException") != 0) {
        cvm_dynamo_fail(job);
        return;
    }
    tables->is_new = 1;
    describe(job);
}

static void print_definition(const struct tables *tables, struct cvm_buffer *body)
{
    const char *hash = KEYS[tables->table].hash, *range = KEYS[tables->table].range;
    cvm_dynamo_print_table(body, table_name(tables));
    cvm_buffer_format(body,
        ",\"BillingMode\":\"PAY_PER_REQUEST\",\"DeletionProtectionEnabled\":true,"
        "\"KeySchema\":[{\"AttributeName\":\"%s\",\"KeyType\":\"HASH\"}",
        hash);
    if (range)
        cvm_buffer_format(body, ",{\"AttributeName\":\"%s\",\"KeyType\":\"RANGE\"}", range);
    cvm_buffer_format(body,
        "],\"AttributeDefinitions\":[{\"AttributeName\":\"%s\",\"AttributeType\":\"S\"}", hash);
    if (range)
        cvm_buffer_format(body, ",{\"AttributeName\":\"%s\",\"AttributeType\":\"S\"}", range);
    cvm_buffer_text(body, "]}");
}

static void missing(struct tables *tables)
{
    struct job *job = &tables->job;
    if (!tables->makes) {
        tables_fail(tables, CVM_ANSWER_INVALID, "there is none: `cvm store create` makes it");
        return;
    }
    struct cvm_buffer *to = tables->only_prints ? &tables->report : cvm_dynamo_body(job);
    print_definition(tables, to);
    if (tables->only_prints) {
        cvm_buffer_text(&tables->report, "\n");
        tables_next(tables);
        return;
    }
    job->takes_all = 1;
    cvm_dynamo_call(job, CREATE_TABLE, created);
}

static void described(struct job *job)
{
    struct tables *tables = (struct tables *)(void *)job;
    const cJSON *table = cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "Table");
    const char *status =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(table, "TableStatus"));
    const char *fault = table_fault(tables->table, table);
    int32_t is_table = cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(table, "KeySchema"));
    job->takes_all = 0;
    if (strcmp(job->aws.call.error, "ResourceNotFoundException") == 0 && !tables->is_new) {
        missing(tables);
    } else if (job->aws.call.outcome != AWS_OK && !tables->is_new) {
        cvm_dynamo_fail(job);
    } else if (!status || strcmp(status, "CREATING") == 0) {
        if (cvm_dynamo_wait(job, POLL_MS, describe))
            tables_fail(tables, CVM_ANSWER_UNAVAILABLE, "it is not there yet");
    } else if (!is_table) {
        tables_fail(tables, CVM_ANSWER_UNAVAILABLE, "what is answered can't be understood");
    } else if (fault) {
        tables_fail(tables, CVM_ANSWER_INVALID, fault);
    } else if (strcmp(status, "ACTIVE") != 0 && strcmp(status, "UPDATING") != 0) {
        tables_fail(tables, CVM_ANSWER_UNAVAILABLE, status);
    } else {
        if (tables->makes && !tables->only_prints) {
            cvm_buffer_text(&tables->report, table_name(tables));
            cvm_buffer_text(&tables->report, tables->is_new ? ": made\n" : ": is there\n");
        }
        tables_next(tables);
    }
}

static void describe(struct job *job)
{
    struct cvm_buffer *body = cvm_dynamo_body(job);
    cvm_dynamo_print_table(body, table_name((struct tables *)(void *)job));
    cvm_buffer_text(body, "}");
    job->takes_all = 1;
    cvm_dynamo_call(job, DESCRIBE_TABLE, described);
}

/* --- Getting in ------------------------------------------------------------------------------- */

static struct tables *tables_new(struct store *store, cvm_op_t *op)
{
    if (cvm_aws_backend_open(&store->aws)) {
        store->aws.host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return NULL;
    }
    struct tables *tables = cvm_dynamo_job(store, op, sizeof *tables, VERB_ASKS, tables_clear);
    if (tables)
        tables->report.most = 4096;
    return tables;
}

void cvm_dynamo_open(void *self, cvm_op_t *op, uint32_t how)
{
    struct store *store = self;
    if (how == 0 && !cvm_aws_backend_open(&store->aws)) { /* a command, which comes by for a verb */
        store->aws.host->complete(op, CVM_ANSWER_OK, NULL);
        return;
    }
    struct tables *tables = tables_new(store, op);
    if (tables)
        describe(&tables->job);
}

void cvm_dynamo_migrate(void *self, cvm_op_t *op, uint32_t how)
{
    struct tables *tables = tables_new(self, op);
    if (!tables)
        return;
    tables->makes = 1;
    tables->only_prints = (how & CVM_MIGRATE_PRINT) != 0;
    tables->job.aws.until_ms = cvm_monotonic_ms() + MOST_MAKE_MS;
    describe(&tables->job);
}
