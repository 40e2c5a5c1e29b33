/* Jobs: from call to call, and to their end. */
#include "job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define LARGEST_BODY  (16u << 20)
#define LEAST_LEFT_MS 50

/* --- The backend's end ------------------------------------------------------------------------ */

static void backend_closed(struct aws_backend *backend)
{
    cvm_op_t *op = backend->closing;
    backend->host->timer_free(backend->end);
    backend->end = NULL;
    cvm_aws_client_close(&backend->client);
    backend->host->complete(op, CVM_ANSWER_OK, NULL);
}

/* The first of those that are parts of others, which wait for them; or the first. None that waits
 * for the host. */
static struct aws_job *backend_first(const struct aws_backend *backend)
{
    struct aws_job *first = NULL;
    for (struct aws_job *job = backend->running; job; job = job->next) {
        if (!job->op && !job->is_asking)
            return job;
        if (!first && !job->is_asking)
            first = job;
    }
    return first;
}

static void job_cut_short(struct aws_job *job)
{
    job->in_doubt |= job->is_write && job->call.link != NULL;
    cvm_aws_job_end(job, CVM_ANSWER_UNAVAILABLE, "it is being closed");
}

/* What waits for the host ends when it is answered, and the backend with the last of them. */
static void backend_cut_short(void *argument)
{
    struct aws_backend *backend = argument;
    backend->is_cutting = backend->is_cut = 1;
    for (struct aws_job *job; (job = backend_first(backend));)
        job_cut_short(job);
    backend->is_cutting = 0;
    if (!backend->running)
        backend_closed(backend);
}

/* Not from within a callback of libcurl's client: the last job may have ended in one. */
static void backend_go_on(struct aws_backend *backend)
{
    if (backend->closing && !backend->running && !backend->is_cutting)
        backend->host->timer_start(backend->end, 0);
}

int32_t cvm_aws_backend_open(struct aws_backend *backend)
{
    if (!backend->end)
        backend->end = backend->host->timer_new(backend->context, backend_cut_short, backend);
    return backend->end ? cvm_aws_client_open(&backend->client) : -1;
}

void cvm_aws_backend_close(struct aws_backend *backend, cvm_op_t *op)
{
    backend->closing = op;
    if (backend->end)
        backend->host->timer_start(backend->end, backend->running ? AWS_CLOSE_GRACE_MS : 0);
    else /* it was never opened */
        backend_closed(backend);
}

/* --- Beginning and ending --------------------------------------------------------------------- */

void *cvm_aws_job(struct aws_backend *backend, cvm_op_t *op, size_t size, enum aws_verb verb,
    void (*clear)(struct aws_job *job))
{
    struct aws_job *job = backend->closing || !backend->client.http ? NULL : calloc(1, size);
    if (!job && op)
        backend->host->complete(op, CVM_ANSWER_UNAVAILABLE,
            backend->closing ? "it is being closed" : "out of memory, or it is not open");
    if (!job)
        return NULL;
    job->backend = backend;
    job->op = op;
    job->clear = clear;
    job->verb = verb;
    job->until_ms = cvm_monotonic_ms() + (uint64_t)backend->timeout_ms;
    job->next = backend->running;
    job->link = &backend->running;
    if (backend->running)
        backend->running->link = &job->next;
    backend->running = job;
    return job;
}

/* What a verb of that kind may answer. */
static cvm_answer_t allowed_answer(const struct aws_job *job, cvm_answer_t answer)
{
    if (job->verb != VERB_READS && answer == CVM_ANSWER_BROKEN)
        return CVM_ANSWER_UNAVAILABLE;
    if ((job->verb == VERB_ASKS || job->verb == VERB_STEPS) && answer == CVM_ANSWER_BUSY)
        return CVM_ANSWER_UNAVAILABLE;
    return answer;
}

static int32_t is_in_doubt(const struct aws_job *job, cvm_answer_t answer)
{
    int32_t denies = answer == CVM_ANSWER_UNAVAILABLE || answer == CVM_ANSWER_BUSY ||
                     answer == CVM_ANSWER_INVALID;
    int32_t writes = job->verb == VERB_WRITES || job->verb == VERB_STEPS;
    return writes && job->in_doubt && denies;
}

void cvm_aws_job_end(struct aws_job *job, cvm_answer_t answer, const char *text)
{
    struct aws_backend *backend = job->backend;
    const struct aws_job ended = *job;
    answer = allowed_answer(job, answer);
    int32_t is_doubt = is_in_doubt(job, answer);
    char copy[AWS_TEXT_SIZE];
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
    backend->host->timer_free(job->timer);
    free(job);
    if (ended.op)
        backend->host->complete(ended.op, answer, *copy ? copy : NULL);
    else if (ended.ended)
        ended.ended(ended.argument, answer, *copy ? copy : NULL);
    backend_go_on(backend);
}

void cvm_aws_job_out_of_memory(struct aws_job *job)
{
    cvm_aws_job_end(job, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

/* What a refusal is to the host. */
static cvm_answer_t refusal_answer(const struct aws_job *job)
{
    const struct aws_call *call = &job->call;
    if (cvm_aws_is_throttling(call->error))
        return CVM_ANSWER_BUSY;
    if (job->is_write && (strcmp(call->error, "ValidationException") == 0 ||
                             strcmp(call->error, "InvalidRequestException") == 0))
        return CVM_ANSWER_INVALID;
    return CVM_ANSWER_UNAVAILABLE;
}

void cvm_aws_job_fail(struct aws_job *job)
{
    const struct aws_call *call = &job->call;
    cvm_answer_t answer = call->outcome == AWS_ERROR    ? refusal_answer(job)
                          : call->outcome == AWS_BROKEN ? CVM_ANSWER_BROKEN
                                                        : CVM_ANSWER_UNAVAILABLE;
    if (call->retry_after_s && job->op)
        (void)job->backend->host->op_set_number(
            job->op, CVM_OUT_RETRY_AFTER_S, call->retry_after_s);
    cvm_aws_job_end(job, answer, call->text);
}

/* --- Asking the host -------------------------------------------------------------------------- */

void cvm_aws_job_asks(struct aws_job *job)
{
    job->is_asking = 1;
}

int32_t cvm_aws_job_told(struct aws_job *job)
{
    job->is_asking = 0;
    if (!job->backend->is_cut)
        return 0;
    job_cut_short(job);
    return -1;
}

/* --- Calls ------------------------------------------------------------------------------------ */

struct cvm_buffer *cvm_aws_job_body(struct aws_job *job)
{
    cvm_buffer_clear(&job->call.body);
    job->call.body.most = LARGEST_BODY;
    return &job->call.body;
}

static void note_doubt(struct aws_job *job)
{
    if (!job->is_write)
        return;
    int32_t doubt = job->call.outcome == AWS_OK ? -1 : job->doubt ? job->doubt(job) : 0;
    job->in_doubt |= job->call.in_doubt || doubt > 0;
    if (doubt < 0)
        job->in_doubt = 0;
}

static void job_answered(struct aws_call *call)
{
    struct aws_job *job = (struct aws_job *)(void *)((char *)call - offsetof(struct aws_job, call));
    note_doubt(job);
    if (call->outcome == AWS_OK || (job->takes && job->takes(job)))
        job->then(job);
    else
        cvm_aws_job_fail(job);
}

void cvm_aws_job_call(struct aws_job *job, int32_t is_write, void (*then)(struct aws_job *job))
{
    struct aws_call *call = &job->call;
    job->then = then;
    if (call->body.failed) {
        cvm_aws_job_out_of_memory(job);
        return;
    }
    cJSON_Delete(call->answer);
    call->answer = NULL;
    job->is_write = is_write;
    call->client = &job->backend->client;
    call->until_ms = job->until_ms;
    call->done = job_answered;
    cvm_aws_call(call);
}

int64_t cvm_aws_job_left_ms(const struct aws_job *job)
{
    uint64_t now_ms = cvm_monotonic_ms();
    return job->until_ms > now_ms ? (int64_t)(job->until_ms - now_ms) : 0;
}

static void job_waited(void *argument)
{
    struct aws_job *job = argument;
    job->then(job);
}

int32_t cvm_aws_job_wait(struct aws_job *job, int64_t ms, void (*then)(struct aws_job *job))
{
    const cvm_host_t *host = job->backend->host;
    if (ms + LEAST_LEFT_MS > cvm_aws_job_left_ms(job))
        return -1;
    if (!job->timer)
        job->timer = host->timer_new(job->backend->context, job_waited, job);
    if (!job->timer)
        return -1;
    job->then = then;
    host->timer_start(job->timer, ms);
    return 0;
}
