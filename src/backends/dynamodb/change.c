/* Compare and swap: a plan, sent as one transaction, and what its answer means. What a plan takes
 * for granted stands in its conditions; where one of them fails that is no conflict, the rows are
 * looked at and it is planned anew. */
#include "change.h"

#include <stdio.h>
#include <string.h>

#include "base/hex.h"

#define MOST_ROUNDS 6

static void change_clear(struct job *job)
{
    cvm_dynamo_expression_free(&((struct change *)(void *)job)->expression);
}

static void change_plan(struct job *job);

/* --- What became of it ------------------------------------------------------------------------ */

/* What was known is out of date. */
static void change_look_again(struct change *change)
{
    cvm_dynamo_look_clear(&change->job.look);
    if (change->has_looked && change->rounds++ == MOST_ROUNDS) {
        cvm_dynamo_end(&change->job, CVM_ANSWER_BUSY, "others change these rows all the time");
        return;
    }
    change->has_looked = 1;
    change_plan(&change->job);
}

static void change_send(struct job *job);

static void change_wait(struct change *change)
{
    if (cvm_dynamo_wait(&change->job, cvm_aws_backoff_ms(++change->waits), change_send))
        cvm_dynamo_end(&change->job, CVM_ANSWER_BUSY, "others change these rows all the time");
}

static void change_cancelled(struct change *change)
{
    const cJSON *reasons =
        cJSON_GetObjectItemCaseSensitive(change->job.aws.call.answer, "CancellationReasons");
    const cJSON *reason;
    uint32_t i = 0;
    int32_t is_conflict = 0, is_stale = 0, is_invalid = 0;
    cJSON_ArrayForEach(reason, reasons)
    {
        const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(reason, "Code"));
        enum subject subject = i < change->action_count ? change->subjects[i] : OF_HINT;
        int32_t has_failed = code && strcmp(code, "ConditionalCheckFailed") == 0;
        int32_t is_device = change->wanted->as_read || change->wanted->wanted;
        is_conflict |= has_failed && is_device && (subject == OF_ROW || subject == OF_STATE);
        is_stale |= has_failed;
        is_invalid |= code && strcmp(code, "ValidationError") == 0;
        i++;
    }
    if (is_conflict)
        cvm_dynamo_end(&change->job, CVM_ANSWER_CONFLICT, NULL);
    else if (is_invalid)
        cvm_dynamo_end(&change->job, CVM_ANSWER_INVALID, change->job.aws.call.text);
    else if (is_stale)
        change_look_again(change);
    else
        change_wait(change); /* for a transaction that is under way, or for throughput */
}

static void change_answered(struct job *job)
{
    struct change *change = (struct change *)(void *)job;
    if (job->aws.call.outcome == AWS_OK)
        cvm_dynamo_end(job, CVM_ANSWER_OK, NULL);
    else if (strcmp(job->aws.call.error, "TransactionCanceledException") == 0)
        change_cancelled(change);
    else
        change_wait(change);
}

/* --- On its way ------------------------------------------------------------------------------- */

static void change_send(struct job *job)
{
    job->takes_conditions = 1;
    cvm_dynamo_call(job, TRANSACT_WRITE_ITEMS, change_answered);
}

/* Looks as often as what was found leads to more. */
static void change_plan(struct job *job)
{
    struct change *change = (struct change *)(void *)job;
    if (change->has_looked && cvm_dynamo_plan_looks(change)) {
        cvm_dynamo_look(job, change_plan);
        return;
    }
    if (job->look.failed || cvm_random_hex(16, change->token)) {
        cvm_dynamo_out_of_memory(job);
        return;
    }
    cvm_answer_t answer = cvm_dynamo_plan(change);
    if (answer == CVM_ANSWER_OK && change->mode != CHANGE_CHECK)
        change_send(job);
    else
        cvm_dynamo_end(job, answer, answer == CVM_ANSWER_INVALID ? CVM_DYNAMO_TOO_MANY : NULL);
}

static struct change *change_new(
    struct store *store, cvm_op_t *op, const cvm_change_t *wanted, enum change_mode mode)
{
    const cvm_host_t *host = store->aws.host;
    struct change *change = cvm_dynamo_job(store, op, sizeof *change, VERB_WRITES, change_clear);
    if (!change)
        return NULL;
    const cvm_record_t *device = wanted->as_read ? wanted->as_read : wanted->wanted;
    int64_t loaded =
        mode != CHANGE_SWAP && wanted->wanted ? host->number(wanted->wanted, CVM_D_REVISION) : 0;
    change->wanted = wanted;
    change->mode = mode;
    change->uid = device ? host->text(device, CVM_D_DEVICE_UID)
                  : wanted->certificate_count
                      ? host->text(wanted->certificates[0], CVM_C_DEVICE_UID)
                      : "";
    change->revision = wanted->as_read ? host->number(wanted->as_read, CVM_D_REVISION) + 1
                       : loaded        ? loaded
                                       : cvm_dynamo_random();
    return change;
}

static void change_begin(struct change *change)
{
    change->has_looked = !cvm_dynamo_plan_needs_no_look(change);
    change_plan(&change->job);
}

void cvm_dynamo_change(void *self, cvm_op_t *op, const cvm_change_t *wanted)
{
    struct store *store = self;
    if (wanted->certificate_count > DYNAMO_MOST_CHANGED) {
        store->aws.host->complete(op, CVM_ANSWER_INVALID, CVM_DYNAMO_TOO_MANY);
        return;
    }
    struct change *change = change_new(store, op, wanted, CHANGE_SWAP);
    if (change)
        change_begin(change);
}

int32_t cvm_dynamo_change_begin(struct store *store, const cvm_change_t *wanted,
    enum change_mode mode, void (*ended)(void *argument, cvm_answer_t answer, const char *text),
    void *argument)
{
    struct change *change = change_new(store, NULL, wanted, mode);
    if (!change)
        return -1;
    change->job.aws.ended = ended;
    change->job.aws.argument = argument;
    change_begin(change);
    return 0;
}
