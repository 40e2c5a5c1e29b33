/* Small named values. A version is random: none is used again, and a write whose answer was lost
 * knows itself by it. */
#include <string.h>

#include "item.h"
#include "store.h"

#define VALUES "M"

/* --- Reading ---------------------------------------------------------------------------------- */

static void value_read(struct job *job)
{
    const cvm_host_t *host = job->store->aws.host;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "Item");
    int64_t now_ms = cvm_aws_now_ms(&job->store->aws.client);
    if (now_ms)
        (void)host->op_set_number(job->aws.op, CVM_OUT_NOW_MS, now_ms);
    if (!item)
        cvm_dynamo_end(job, CVM_ANSWER_NOT_FOUND, NULL);
    else if (host->op_set_text(job->aws.op, CVM_OUT_VALUE, cvm_dynamo_text(item, "value")) ||
             host->op_set_number(job->aws.op, CVM_OUT_VERSION, cvm_dynamo_number(item, "version")))
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

void cvm_dynamo_meta_get(void *self, cvm_op_t *op, const char *name)
{
    struct store *store = self;
    struct job *job = cvm_dynamo_job(store, op, sizeof *job, VERB_READS, NULL);
    if (!job)
        return;
    struct cvm_buffer *body = cvm_dynamo_body(job);
    cvm_dynamo_print_target(body, store->tables[OURS], VALUES, name);
    cvm_buffer_text(body, ",\"ConsistentRead\":true}");
    cvm_dynamo_call(job, GET_ITEM, value_read);
}

/* --- Writing ---------------------------------------------------------------------------------- */

struct put {
    struct job job;
    int64_t version; /* the new one */
    int32_t removes;
};

static void value_written(struct job *job)
{
    const struct put *put = (const struct put *)(const void *)job;
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(job->aws.call.answer, "Item");
    int32_t failed = job->aws.call.outcome != AWS_OK;
    if (failed && strcmp(job->aws.call.error, "ConditionalCheckFailedException") != 0) {
        cvm_dynamo_end(job, CVM_ANSWER_BUSY, job->aws.call.text);
        return;
    }
    int32_t is_ours = !put->removes && cvm_dynamo_number(item, "version") == put->version;
    int32_t is_unclear = put->removes && !item && job->aws.in_doubt; /* gone, by whomever */
    if (failed && !is_ours) {
        cvm_dynamo_end(job, is_unclear ? CVM_ANSWER_UNKNOWN : CVM_ANSWER_CONFLICT, NULL);
        return;
    }
    if (!put->removes)
        (void)job->store->aws.host->op_set_number(job->aws.op, CVM_OUT_VERSION, put->version);
    cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
}

static void print_put(
    const struct put *put, struct cvm_buffer *body, const char *name, const char *wanted)
{
    cvm_dynamo_print_table(body, put->job.store->tables[OURS]);
    cvm_buffer_text(body, ",\"Item\":{\"pk\":{\"S\":\"" VALUES "\"},\"sk\":{\"S\":");
    cvm_buffer_json(body, name);
    cvm_buffer_text(body, "},\"version\":{\"N\":\"");
    cvm_buffer_number(body, put->version);
    cvm_buffer_text(body, "\"},\"value\":{\"S\":");
    cvm_buffer_json(body, wanted);
    cvm_buffer_text(body, "}}");
}

void cvm_dynamo_meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    struct store *store = self;
    struct put *put = cvm_dynamo_job(store, op, sizeof *put, VERB_WRITES, NULL);
    if (!put)
        return;
    struct cvm_buffer *body = cvm_dynamo_body(&put->job);
    struct expression expression = {.name_count = 0};
    cvm_dynamo_expression_clear(&expression);
    put->version = cvm_dynamo_random();
    put->removes = !wanted;
    if (wanted)
        print_put(put, body, name, wanted);
    else
        cvm_dynamo_print_target(body, store->tables[OURS], VALUES, name);
    cvm_dynamo_and_number(&expression, "version", version);
    cvm_dynamo_print_expression(body, &expression, 1);
    cvm_dynamo_expression_free(&expression);
    cvm_buffer_text(body, ",\"ReturnValuesOnConditionCheckFailure\":\"ALL_OLD\"}");
    put->job.takes_conditions = 1;
    cvm_dynamo_call(&put->job, wanted ? PUT_ITEM : DELETE_ITEM, value_written);
}
