/* Jobs: from call to call, and to their end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store.h"

void *cvm_dynamo_job(
    struct store *store, cvm_op_t *op, size_t size, enum verb verb, void (*clear)(struct job *job))
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
    job->verb = verb;
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
    if (job->verb != VERB_READS && answer == CVM_ANSWER_BROKEN)
        answer = CVM_ANSWER_UNAVAILABLE;
    if (job->verb == VERB_ASKS && answer == CVM_ANSWER_BUSY)
        answer = CVM_ANSWER_UNAVAILABLE;
    int32_t denies = answer == CVM_ANSWER_UNAVAILABLE || answer == CVM_ANSWER_BUSY ||
                     answer == CVM_ANSWER_INVALID;
    int32_t is_doubt = job->verb == VERB_WRITES && job->in_doubt && denies;
    char copy[DYNAMO_TEXT_SIZE];
    (void)snprintf(copy, sizeof copy, "%s%s",
        is_doubt ? "whether it was written is not known: " : "", text ? text : "");
    if (is_doubt)
        answer = CVM_ANSWER_UNKNOWN;
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
    cvm_aws_call_cancel(&job->call);
    if (job->clear)
        job->clear(job);
    cvm_aws_call_clear(&job->call);
    cvm_dynamo_look_clear(&job->look);
    store->host->timer_free(job->timer);
    free(job);
    if (ended.op)
        store->host->complete(ended.op, answer, *copy ? copy : NULL);
    else if (ended.ended)
        ended.ended(ended.argument, answer, *copy ? copy : NULL);
    cvm_dynamo_go_on(store);
}

void cvm_dynamo_out_of_memory(struct job *job)
{
    cvm_dynamo_end(job, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

static int32_t is_write(const struct job *job)
{
    return job->name >= FIRST_WRITE;
}

/* What a refusal is to the host. */
static cvm_answer_t refusal_answer(const struct job *job)
{
    const struct aws_call *call = &job->call;
    if (cvm_aws_is_throttling(call->error))
        return CVM_ANSWER_BUSY;
    if (is_write(job) && strcmp(call->error, "ValidationException") == 0)
        return CVM_ANSWER_INVALID;
    return CVM_ANSWER_UNAVAILABLE;
}

void cvm_dynamo_fail(struct job *job)
{
    const struct aws_call *call = &job->call;
    cvm_answer_t answer = call->outcome == AWS_ERROR    ? refusal_answer(job)
                          : call->outcome == AWS_BROKEN ? CVM_ANSWER_BROKEN
                                                        : CVM_ANSWER_UNAVAILABLE;
    if (call->retry_after_s && job->op)
        (void)job->store->host->op_set_number(job->op, CVM_OUT_RETRY_AFTER_S, call->retry_after_s);
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

/* A transaction that was cancelled was not carried out, however often it was sent: its token says
 * so. */
static void note_doubt(struct job *job)
{
    const struct aws_call *call = &job->call;
    if (!is_write(job))
        return;
    job->in_doubt |= call->in_doubt || strcmp(call->error, "TransactionInProgressException") == 0;
    if (call->outcome == AWS_OK || strcmp(call->error, "TransactionCanceledException") == 0)
        job->in_doubt = 0;
}

static void job_answered(struct aws_call *call)
{
    struct job *job = (struct job *)(void *)((char *)call - offsetof(struct job, call));
    note_doubt(job);
    int32_t is_taken =
        job->takes_all || (call->outcome == AWS_OK && call->answer) ||
        (call->outcome == AWS_ERROR && job->takes_conditions && is_condition(call->error));
    if (is_taken)
        job->then(job);
    else
        cvm_dynamo_fail(job);
}

void cvm_dynamo_call(struct job *job, enum dynamo_call name, void (*then)(struct job *job))
{
#define TARGET(name) "DynamoDB_20120810." name
    static const char *const TARGETS[] = {[GET_ITEM] = TARGET("GetItem"),
        [BATCH_GET_ITEM] = TARGET("BatchGetItem"),
        [QUERY] = TARGET("Query"),
        [SCAN] = TARGET("Scan"),
        [DESCRIBE_TABLE] = TARGET("DescribeTable"),
        [CREATE_TABLE] = TARGET("CreateTable"),
        [PUT_ITEM] = TARGET("PutItem"),
        [UPDATE_ITEM] = TARGET("UpdateItem"),
        [DELETE_ITEM] = TARGET("DeleteItem"),
        [TRANSACT_WRITE_ITEMS] = TARGET("TransactWriteItems"),
        [BATCH_EXECUTE_STATEMENT] = TARGET("BatchExecuteStatement")};
    struct aws_call *call = &job->call;
    job->then = then;
    if (call->body.failed) {
        cvm_dynamo_out_of_memory(job);
        return;
    }
    cJSON_Delete(call->answer);
    call->answer = NULL;
    job->name = name;
    call->client = &job->store->client;
    call->method = "POST";
    call->path = "/";
    call->query = "";
    call->content_type = "application/x-amz-json-1.0";
    call->target = TARGETS[name];
    call->until_ms = job->until_ms;
    call->done = job_answered;
    cvm_aws_call(call);
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
