/*
 * One connection, on the loop. What waits in its lane is sent as one batch: statements, and a Sync
 * behind them, which is one transaction to the server. Nothing counts before the answer to the
 * Sync: the results come before the commit.
 *
 *   CLOSED → CONNECTING (a thread) → IDLE ⇄ BUSY;  lost or failed → WAITING → CONNECTING
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "store.h"

#define FIRST_DELAY_MS   100
#define LONGEST_DELAY_MS 5000
#define MOST_DOUBLINGS   6

/* SQLSTATEs, or how they begin. */
#define ROLLED_BACK           "40"
#define DATA_EXCEPTION        "22"
#define UNIQUE_VIOLATION      "23505"
#define CARDINALITY_VIOLATION "21000"
#define DIVISION_BY_ZERO      "22012" /* GUARD's, see statements.c */
#define IS_FROZEN             "22P02" /* NOT_FROZEN's */
#define READ_ONLY             "25006"
#define NO_SUCH_STATEMENT     "26000"
#define PLAN_HAS_CHANGED      "0A000"

static void link_happened(void *argument, uint32_t events);
static void link_timed(void *argument);

static const cvm_host_t *host_of(const struct link *link)
{
    return link->lane->store->host;
}

/* --- Connecting ------------------------------------------------------------------------------- */

static void link_disconnect(struct link *link)
{
    host_of(link)->watch_free(link->watch);
    link->watch = NULL;
    if (link->fd >= 0)
        (void)close(link->fd);
    link->fd = -1;
    PQfinish(link->connection);
    link->connection = NULL;
}

static void link_wait(struct link *link)
{
    uint32_t times = link->failures + link->losses;
    uint32_t doublings = times < MOST_DOUBLINGS ? times : MOST_DOUBLINGS;
    int64_t delay_ms = (int64_t)FIRST_DELAY_MS << doublings;
    if (delay_ms > LONGEST_DELAY_MS)
        delay_ms = LONGEST_DELAY_MS;
    delay_ms = delay_ms / 2 + cvm_store_random() % (delay_ms / 2); /* not all servers at once */
    link->state = LINK_WAITING;
    host_of(link)->timer_start(link->timer, times > 1 || link->failures ? delay_ms : 0);
}

/* On the loop: the thread has ended. */
static void link_connected(void *argument)
{
    struct link *link = argument;
    struct store *store = link->lane->store;
    (void)pthread_join(link->thread, NULL);
    if (link->answer == CVM_ANSWER_OK) {
        link->fd = fcntl(PQsocket(link->connection), F_DUPFD_CLOEXEC, 0);
        if (link->fd >= 0)
            link->watch = store->host->watch_new(store->context, link->fd, link_happened, link);
        if (!link->watch) {
            link->answer = CVM_ANSWER_UNAVAILABLE;
            (void)snprintf(link->why, sizeof link->why, "out of memory or descriptors");
        }
    }
    link->must_go = link->has_warned = 0;
    if (link->answer != CVM_ANSWER_OK) {
        link_disconnect(link);
        link->state = LINK_CLOSED;
        if (!link->failures++ && !store->opening)
            store->host->log(store->context, CVM_LEVEL_WARNING, link->why);
        if (!store->opening)
            link_wait(link);
    } else {
        link->failures = 0;
        link->state = LINK_IDLE;
        store->host->watch_set(link->watch, CVM_READABLE);
    }
    cvm_lane_work(link->lane);
    cvm_store_connected(store, link);
}

static void *link_connect(void *argument)
{
    struct link *link = argument;
    const struct store *store = link->lane->store;
    cvm_connect(link);
    while (store->host->post(store->context, link_connected, link))
        cvm_sleep_us(10000); /* out of memory: it waits for this */
    return NULL;
}

void cvm_link_open(struct link *link)
{
    const cvm_host_t *host = host_of(link);
    if (!link->timer)
        link->timer = host->timer_new(link->lane->store->context, link_timed, link);
    link->state = LINK_CONNECTING;
    if (link->timer && !cvm_thread_start(&link->thread, link_connect, link))
        return;
    link->state = LINK_CLOSED;
    link->failures++;
    link->answer = CVM_ANSWER_UNAVAILABLE;
    (void)snprintf(link->why, sizeof link->why, "no thread, or out of memory");
    if (link->timer && !link->lane->store->opening)
        link_wait(link);
}

void cvm_link_close(struct link *link)
{
    if (link->state == LINK_BUSY || link->state == LINK_CONNECTING || link->state == LINK_CLOSED)
        return;
    link_disconnect(link);
    host_of(link)->timer_stop(link->timer);
    link->state = LINK_CLOSED;
}

/* --- The batch's outcome ---------------------------------------------------------------------- */

static void link_forget_results(struct job *job)
{
    while (job->result_count)
        PQclear(job->results[--job->result_count]);
    job->sent_count = 0;
}

/* Nothing is left of it on the way. */
static struct job *link_end_batch(struct link *link)
{
    struct job *first = link->first;
    link->first = link->current = NULL;
    link->fences = 0;
    link->state = LINK_IDLE;
    host_of(link)->timer_stop(link->timer);
    return first;
}

static int32_t is_state(const struct link *link, const char *prefix)
{
    return strncmp(link->state_code, prefix, strlen(prefix)) == 0;
}

/* A text that is no number can be only that: what we send are numbers. */
static int32_t link_is_frozen(const struct link *link, const struct job *job)
{
    return job->verb->writes && is_state(link, IS_FROZEN);
}

/* What an error means to the one operation that has caused it. 1 if it is to be tried again. */
static int32_t link_judge(const struct link *link, const struct job *job, cvm_answer_t *answer)
{
    *answer = CVM_ANSWER_UNAVAILABLE;
    if (link_is_frozen(link, job))
        return 0;
    if (is_state(link, ROLLED_BACK))
        return 1; /* who else is at it made it roll back */
    if (is_state(link, DIVISION_BY_ZERO) && !job->loading)
        return 1; /* statements.c: somebody else's came in between */
    if (is_state(link, UNIQUE_VIOLATION) || is_state(link, DIVISION_BY_ZERO))
        *answer = CVM_ANSWER_CONFLICT;
    else if (job->verb->writes && (is_state(link, DATA_EXCEPTION) || is_state(link, "23") ||
                                      is_state(link, CARDINALITY_VIOLATION)))
        *answer = CVM_ANSWER_INVALID;
    return 0;
}

/* The server has said that nothing was written, this time. */
static void link_fail_batch(struct link *link)
{
    struct store *store = link->lane->store;
    struct job *first = link_end_batch(link);
    for (struct job *job = first; job; job = job->next)
        link_forget_results(job);
    cvm_answer_t answer = CVM_ANSWER_OK;
    if (first && !first->next && !link_judge(link, first, &answer)) {
        cvm_job_end(store, first, first->is_in_doubt ? CVM_ANSWER_UNKNOWN : answer,
            link_is_frozen(link, first) ? CVM_FROZEN_TEXT : link->text);
        return;
    }
    for (struct job *job = first; job; job = job->next)
        job->is_alone = 1;
    cvm_lane_put_back(link->lane, first);
}

/* Nobody knows what was written: it is asked for again, and recognises itself. */
static void link_doubt_batch(struct link *link, const char *why)
{
    const struct store *store = link->lane->store;
    uint64_t until_ms =
        cvm_monotonic_ms() + (uint64_t)(store->closing ? CVM_CLOSE_GRACE_MS : store->timeout_ms);
    struct job *first = link_end_batch(link);
    for (struct job *job = first; job; job = job->next) {
        link_forget_results(job);
        if (job->verb->writes && !job->is_in_doubt) {
            job->is_in_doubt = 1;
            job->until_ms = until_ms;
        }
        (void)snprintf(job->text, sizeof job->text, "%s", why);
    }
    cvm_lane_put_back(link->lane, first);
}

static void link_complete_batch(struct link *link)
{
    struct store *store = link->lane->store;
    struct job *first = link_end_batch(link);
    link->losses = 0; /* not sooner: it may be lost with each batch */
    while (first) {
        struct job *job = first;
        first = job->next;
        cvm_answer_t answer = job->verb->take(store, job);
        cvm_job_end(store, job, answer, answer == CVM_ANSWER_OK ? NULL : job->text);
    }
}

static void link_lose(struct link *link, const char *why)
{
    struct store *store = link->lane->store;
    char text[CVM_JOB_TEXT];
    (void)snprintf(text, sizeof text, "%.*s", (int)strcspn(why, "\n"), why);
    int32_t was_busy = link->state == LINK_BUSY;
    link->losses++;
    link_disconnect(link);
    store->host->log(store->context, CVM_LEVEL_WARNING, text);
    if (was_busy)
        link_doubt_batch(link, text);
    link_wait(link);
}

static void link_end(struct link *link)
{
    const struct store *store = link->lane->store;
    if (link->has_failed)
        link_fail_batch(link);
    else if (link->has_warned && link->first->verb->writes)
        link_doubt_batch(link, "PostgreSQL warned of the commit"); /* of a standby that has not
                                                                      got it, for all we know */
    else
        link_complete_batch(link);
    if (link->must_go) {
        link_lose(link, "PostgreSQL: connecting anew, after an error that this one stays with");
        return;
    }
    store->host->watch_set(link->watch, CVM_READABLE);
    cvm_lane_work(link->lane);
}

/* --- Reading ---------------------------------------------------------------------------------- */

static void link_note_failure(struct link *link, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    link->has_failed = 1;
    (void)snprintf(link->state_code, sizeof link->state_code, "%s", state ? state : "");
    (void)snprintf(link->text, sizeof link->text, "PostgreSQL: %s", text ? text : "no reason");
    /* Another server writes now, or what was prepared is gone. */
    link->must_go |= is_state(link, READ_ONLY) || is_state(link, NO_SUCH_STATEMENT) ||
                     is_state(link, PLAN_HAS_CHANGED);
}

/* The job whose statement is answered next; NULL behind the last. */
static struct job *link_current(struct link *link)
{
    while (link->current && link->current->result_count == link->current->sent_count)
        link->current = link->current->next;
    return link->current;
}

/* The server tells of something, in this thread or the connecting one. What matters is that nobody
 * waited to the end for a standby to get the commit. */
void cvm_link_warned(void *argument, const PGresult *result)
{
    struct link *link = argument;
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    link->has_warned |= severity && strcmp(severity, "WARNING") == 0 && function &&
                        strncmp(function, "SyncRep", 7) == 0;
}

/* What a server may answer to a batch, and what it is to us. */
enum outcome { ROWS, FAILURE, SKIPPED, END, NONSENSE };

static enum outcome link_judge_result(const struct link *link, const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        return link->fences || link->current ? ROWS : NONSENSE;
    case PGRES_FATAL_ERROR:
        return FAILURE;
    case PGRES_PIPELINE_ABORTED:
        return link->has_failed ? SKIPPED : NONSENSE;
    case PGRES_PIPELINE_SYNC:
        return link->has_failed || (!link->fences && !link->current) ? END : NONSENSE;
    default:
        return NONSENSE;
    }
}

/* Takes a result over. */
static enum outcome link_take_result(struct link *link, PGresult *result)
{
    (void)link_current(link);
    enum outcome outcome = link_judge_result(link, result);
    if (outcome == ROWS && !link->fences) {
        link->current->results[link->current->result_count++] = result;
        return outcome;
    }
    if (outcome == ROWS)
        link->fences--;
    if (outcome == FAILURE && !link->has_failed)
        link_note_failure(link, result);
    PQclear(result);
    return outcome;
}

static int32_t link_is_dead(const struct link *link)
{
    return PQstatus(link->connection) == CONNECTION_BAD;
}

static void link_read(struct link *link)
{
    while (link->state == LINK_BUSY && !PQisBusy(link->connection)) {
        PGresult *result = PQgetResult(link->connection);
        if (link_is_dead(link)) {
            PQclear(result);
            link_lose(link, PQerrorMessage(link->connection));
            return;
        }
        enum outcome outcome = result ? link_take_result(link, result) : ROWS;
        if (outcome == NONSENSE)
            link_lose(link, "PostgreSQL answers what was not asked");
        else if (outcome == END)
            link_end(link);
    }
}

/* --- Writing ---------------------------------------------------------------------------------- */

static void link_flush(struct link *link)
{
    int left = PQflush(link->connection);
    if (left < 0)
        link_lose(link, PQerrorMessage(link->connection));
    else
        host_of(link)->watch_set(link->watch, left ? CVM_READABLE | CVM_WRITABLE : CVM_READABLE);
}

static void link_happened(void *argument, uint32_t events)
{
    struct link *link = argument;
    if ((events & CVM_READABLE) && !PQconsumeInput(link->connection)) {
        link_lose(link, PQerrorMessage(link->connection));
        return;
    }
    if (link->state == LINK_BUSY)
        link_read(link);
    if (link->state == LINK_BUSY)
        link_flush(link);
}

int32_t cvm_link_send(
    struct link *link, struct job *job, enum statement statement, struct params *params)
{
    const struct store *store = link->lane->store;
    char name[CVM_STATEMENT_NAME_SIZE];
    int32_t is_sent = 0;
    if (!params->failed && store->is_pooled)
        is_sent = PQsendQueryParams(link->connection, store->texts[statement], params->count, NULL,
            params->values, NULL, NULL, 0);
    else if (!params->failed)
        is_sent = PQsendQueryPrepared(link->connection, cvm_statement_name(statement, name),
            params->count, params->values, NULL, NULL, 0);
    cvm_params_clear(params);
    if (job)
        job->sent_count += is_sent != 0;
    return is_sent ? 0 : -1;
}

/* Nothing of a job that does not fit into memory goes out with others. */
static int32_t link_send_all(struct link *link)
{
    struct params none = {.count = 0};
    for (struct job *job = link->first; job; job = job->next) {
        if (job->is_in_doubt && !link->fences) {
            if (cvm_link_send(link, NULL, FENCE, &none))
                return -1;
            link->fences = 1;
        }
    }
    for (struct job *job = link->first; job; job = job->next)
        if (job->verb->send(link, job))
            return -1;
    return PQpipelineSync(link->connection) ? 0 : -1;
}

/* The timer: its batch has had its time, or it is time to connect again. */
static void link_timed(void *argument)
{
    struct link *link = argument;
    if (link->state == LINK_BUSY)
        link_lose(link, "PostgreSQL does not answer");
    else if (link->state == LINK_WAITING)
        cvm_link_open(link);
}

void cvm_link_work(struct link *link)
{
    const struct store *store = link->lane->store;
    if (link->state != LINK_IDLE)
        return;
    link->first = link->current = cvm_lane_take(link->lane);
    if (!link->first)
        return;
    link->state = LINK_BUSY;
    link->has_failed = link->has_warned = 0;
    if (link_send_all(link)) {
        link_lose(link, "out of memory for a statement");
        return;
    }
    store->host->timer_start(link->timer, store->timeout_ms);
    link_flush(link);
}
