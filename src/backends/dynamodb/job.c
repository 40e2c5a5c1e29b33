/* Jobs of the DynamoDB store: what its calls are, and which errors are answers. */
#include <string.h>

#include "store.h"

static struct job *job_of(const struct aws_job *job)
{
    return (struct job *)(uintptr_t)job;
}

static void job_clear(struct aws_job *aws)
{
    struct job *job = job_of(aws);
    if (job->clear)
        job->clear(job);
    cvm_dynamo_look_clear(&job->look);
}

static void job_then(struct aws_job *aws)
{
    job_of(aws)->then(job_of(aws));
}

static int32_t is_error(const struct aws_job *job, const char *name)
{
    return strcmp(job->call.error, name) == 0;
}

static int32_t job_takes(const struct aws_job *job)
{
    return job_of(job)->takes_all ||
           (job_of(job)->takes_conditions && job->call.outcome == AWS_ERROR &&
               (is_error(job, "ConditionalCheckFailedException") ||
                   is_error(job, "TransactionCanceledException") ||
                   is_error(job, "TransactionConflictException") ||
                   is_error(job, "TransactionInProgressException")));
}

/* A transaction has a token: one that was cancelled was not carried out, and one that is in
 * progress may be. */
static int32_t job_doubt(const struct aws_job *job)
{
    if (is_error(job, "TransactionCanceledException"))
        return -1;
    return is_error(job, "TransactionInProgressException");
}

void *cvm_dynamo_job(struct store *store, cvm_op_t *op, size_t size, enum aws_verb verb,
    void (*clear)(struct job *job))
{
    struct job *job = cvm_aws_job(&store->aws, op, size, verb, job_clear);
    if (!job)
        return NULL;
    job->store = store;
    job->clear = clear;
    job->aws.takes = job_takes;
    job->aws.doubt = job_doubt;
    return job;
}

const cvm_host_t *cvm_dynamo_host(const struct job *job)
{
    return job->store->aws.host;
}

struct cvm_buffer *cvm_dynamo_body(struct job *job)
{
    return cvm_aws_job_body(&job->aws);
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
    struct aws_call *call = &job->aws.call;
    call->method = "POST";
    call->path = "/";
    call->query = "";
    call->content_type = "application/x-amz-json-1.0";
    call->target = TARGETS[name];
    job->then = then;
    cvm_aws_job_call(&job->aws, name >= FIRST_WRITE, job_then);
}

int32_t cvm_dynamo_wait(struct job *job, int64_t ms, void (*then)(struct job *job))
{
    job->then = then;
    return cvm_aws_job_wait(&job->aws, ms, job_then);
}

void cvm_dynamo_end(struct job *job, cvm_answer_t answer, const char *text)
{
    cvm_aws_job_end(&job->aws, answer, text);
}

void cvm_dynamo_fail(struct job *job)
{
    cvm_aws_job_fail(&job->aws);
}

void cvm_dynamo_out_of_memory(struct job *job)
{
    cvm_aws_job_out_of_memory(&job->aws);
}
