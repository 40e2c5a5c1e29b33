/* Jobs: from call to call, and to their end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store.h"

#define TARGET_SIZE 64

void *cvm_dynamo_job(
    struct store *store, cvm_op_t *op, size_t size, int32_t writes, void (*clear)(struct job *job))
{
    struct job *job = store->closing || !store->client.http ? NULL : calloc(1, size);
    if (!job && op)
        store->host->complete(op, CVM_ANSWER_UNAVAILABLE,
            store->closing ? "the store closes" : "out of memory, or the store is not open");
    if (!job)
        return NULL;
    job->store = store;
    job->op = op;
    job->clear = clear;
    job->writes = writes;
    job->until_ms = cvm_monotonic_ms() + (uint64_t)store->timeout_ms;
    job->next = store->running;
    job->link = &store->running;
    if (store->running)
        store->running->link = &job->next;
    store->running = job;
    return job;
}

void cvm_dynamo_end(struct job *job, cvm_answer_t answer, const char *text)
{
    struct store *store = job->store;
    const struct job ended = *job;
    char copy[DYNAMO_TEXT_SIZE];
    (void)snprintf(copy, sizeof copy, "%s", text ? text : "");
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
    cvm_aws_call_cancel(&job->call);
    cvm_aws_call_clear(&job->call);
    cvm_dynamo_look_clear(&job->look);
    store->host->timer_free(job->timer);
    if (job->clear)
        job->clear(job);
    free(job);
    if (ended.op)
        store->host->complete(ended.op, answer, *copy ? copy : NULL);
    else if (ended.ended)
        ended.ended(ended.argument, answer, *copy ? copy : NULL);
    cvm_dynamo_go_on(store);
}

void cvm_dynamo_out_of_memory(struct job *job)
{
    cvm_dynamo_end(job,
        job->call.in_doubt && job->writes ? CVM_ANSWER_UNKNOWN : CVM_ANSWER_UNAVAILABLE,
        "out of memory");
}

/* What a refusal is to the host. */
static cvm_answer_t refusal_answer(const struct job *job)
{
    const struct aws_call *call = &job->call;
    if (cvm_aws_is_throttling(call->error))
        return CVM_ANSWER_BUSY;
    if (job->writes && strcmp(call->error, "ValidationException") == 0)
        return CVM_ANSWER_INVALID;
    return CVM_ANSWER_UNAVAILABLE;
}

void cvm_dynamo_fail(struct job *job)
{
    const struct aws_call *call = &job->call;
    const cvm_host_t *host = job->store->host;
    cvm_answer_t answer = call->outcome == AWS_ERROR    ? refusal_answer(job)
                          : call->outcome == AWS_UNSENT ? CVM_ANSWER_UNAVAILABLE
                          : job->writes                 ? CVM_ANSWER_UNKNOWN
                          : call->outcome == AWS_BROKEN ? CVM_ANSWER_BROKEN
                                                        : CVM_ANSWER_UNAVAILABLE;
    if (call->retry_after_s && job->op)
        (void)host->op_set_number(job->op, CVM_OUT_RETRY_AFTER_S, call->retry_after_s);
    cvm_dynamo_end(job, answer, call->text);
}

struct cvm_buffer *cvm_dynamo_body(struct job *job)
{
    cvm_buffer_clear(&job->call.body);
    job->call.body.most = 16u << 20;
    return &job->call.body;
}

static int32_t is_condition(const char *error)
{
    return strcmp(error, "ConditionalCheckFailedException") == 0 ||
           strcmp(error, "TransactionCanceledException") == 0 ||
           strcmp(error, "TransactionConflictException") == 0 ||
           strcmp(error, "TransactionInProgressException") == 0;
}

static void job_answered(struct aws_call *call)
{
    struct job *job = (struct job *)(void *)((char *)call - offsetof(struct job, call));
    if (job->takes_all || (call->outcome == AWS_OK && call->answer))
        job->then(job);
    else if (call->outcome == AWS_ERROR && job->takes_conditions && is_condition(call->error))
        job->then(job);
    else
        cvm_dynamo_fail(job);
}

static void job_call_now(struct job *job, const char *target)
{
    struct aws_call *call = &job->call;
    cJSON_Delete(call->answer);
    call->answer = NULL;
    call->client = &job->store->client;
    call->method = "POST";
    call->path = "/";
    call->query = "";
    call->content_type = "application/x-amz-json-1.0";
    call->target = target;
    call->until_ms = job->until_ms;
    call->done = job_answered;
    cvm_aws_call(call);
}

void cvm_dynamo_call(struct job *job, const char *name, void (*then)(struct job *job))
{
    static const char *const TARGETS[] = {"DynamoDB_20120810.GetItem", "DynamoDB_20120810.PutItem",
        "DynamoDB_20120810.UpdateItem", "DynamoDB_20120810.DeleteItem",
        "DynamoDB_20120810.BatchGetItem", "DynamoDB_20120810.Query", "DynamoDB_20120810.Scan",
        "DynamoDB_20120810.TransactWriteItems", "DynamoDB_20120810.BatchExecuteStatement",
        "DynamoDB_20120810.DescribeTable", "DynamoDB_20120810.CreateTable",
        "DynamoDB_20120810.UpdateContinuousBackups"};
    job->then = then;
    if (job->call.body.failed) {
        cvm_dynamo_out_of_memory(job);
        return;
    }
    for (size_t i = 0; i < sizeof TARGETS / sizeof *TARGETS; i++)
        if (strcmp(strchr(TARGETS[i], '.') + 1, name) == 0) {
            job_call_now(job, TARGETS[i]);
            return;
        }
}

static void job_waited(void *argument)
{
    struct job *job = argument;
    job->then(job);
}

int32_t cvm_dynamo_wait(struct job *job, int64_t ms, void (*then)(struct job *job))
{
    const cvm_host_t *host = job->store->host;
    if (cvm_monotonic_ms() + (uint64_t)ms + 50 > job->until_ms)
        return -1;
    if (!job->timer)
        job->timer = host->timer_new(job->store->context, job_waited, job);
    if (!job->timer)
        return -1;
    job->then = then;
    host->timer_start(job->timer, ms);
    return 0;
}
