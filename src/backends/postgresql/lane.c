/* Jobs on their way to a link and back. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store.h"

void cvm_job_end(struct store *store, struct job *job, cvm_answer_t answer, const char *text)
{
    for (uint32_t i = 0; i < job->result_count; i++)
        PQclear(job->results[i]);
    store->host->complete(job->op, answer, text && *text ? text : NULL);
    free(job);
}

/* --- Those that wait too long ----------------------------------------------------------------- */

/* Nothing is known of one that is in doubt, and nothing was done of any other. */
static void lane_give_up(struct lane *lane, struct job *job, const char *why)
{
    cvm_job_end(
        lane->store, job, job->is_in_doubt ? CVM_ANSWER_UNKNOWN : CVM_ANSWER_UNAVAILABLE, why);
}

static void lane_watch_time(struct lane *lane)
{
    uint64_t now_ms = cvm_monotonic_ms();
    const cvm_host_t *host = lane->store->host;
    if (!lane->first) {
        host->timer_stop(lane->late);
        return;
    }
    uint64_t until_ms = lane->first->until_ms; /* those that were put back have another one */
    for (const struct job *job = lane->first; job; job = job->next)
        until_ms = job->until_ms < until_ms ? job->until_ms : until_ms;
    host->timer_start(lane->late, until_ms > now_ms ? (int64_t)(until_ms - now_ms) : 0);
}

/* Ends those of the queue that it is over for. */
static void lane_end_some(
    struct lane *lane, int32_t (*is_over)(const struct job *job, uint64_t now_ms), const char *why)
{
    uint64_t now_ms = cvm_monotonic_ms();
    struct job **link = &lane->first;
    while (*link) {
        struct job *job = *link;
        if (is_over(job, now_ms)) {
            *link = job->next;
            lane_give_up(lane, job, why);
        } else {
            link = &job->next;
        }
    }
    lane->last = link;
    lane_watch_time(lane);
}

static int32_t job_is_late(const struct job *job, uint64_t now_ms)
{
    return job->until_ms <= now_ms;
}

static int32_t job_need_not_wait(const struct job *job, uint64_t now_ms)
{
    (void)now_ms;
    return !job->is_in_doubt;
}

static void lane_is_late(void *argument)
{
    lane_end_some(argument, job_is_late, "PostgreSQL does not answer");
    cvm_lane_work(argument);
}

void cvm_lane_fail(struct lane *lane, const char *why)
{
    lane_end_some(lane, job_need_not_wait, why);
}

/* --- The queue -------------------------------------------------------------------------------- */

/* There are jobs that no link has taken. If one is being connected, they wait for it; if each that
 * there is has work, another one is opened; and if none can be connected, they are refused. */
static void lane_find_link(struct lane *lane)
{
    struct link *closed = NULL, *failed = NULL;
    int32_t is_served = 0;
    for (uint32_t i = 0; i < lane->link_count; i++) {
        struct link *link = &lane->links[i];
        if (link->state == LINK_CONNECTING || (link->state == LINK_WAITING && !link->failures))
            return;
        is_served |= link->state == LINK_IDLE || link->state == LINK_BUSY;
        if (link->state == LINK_WAITING)
            failed = link;
        if (link->state == LINK_CLOSED && !closed)
            closed = link;
    }
    if (failed && !is_served)
        cvm_lane_fail(lane, failed->why);
    else if (closed && !failed)
        cvm_link_open(closed);
}

static void lane_turn(void *argument)
{
    struct lane *lane = argument;
    for (uint32_t i = 0; i < lane->link_count && lane->first; i++)
        cvm_link_work(&lane->links[i]);
    if (lane->first)
        lane_find_link(lane);
    if (lane->store->closing)
        cvm_store_closed(lane->store);
}

int32_t cvm_lane_init(struct lane *lane, struct store *store, struct link *links, uint32_t count)
{
    const cvm_host_t *host = store->host;
    *lane = (struct lane){.store = store, .links = links, .link_count = count};
    lane->last = &lane->first;
    lane->turn = host->timer_new(store->context, lane_turn, lane);
    lane->late = host->timer_new(store->context, lane_is_late, lane);
    for (uint32_t i = 0; i < count; i++) {
        links[i].lane = lane;
        links[i].fd = -1;
    }
    return lane->turn && lane->late ? 0 : -1;
}

void cvm_lane_work(struct lane *lane)
{
    if (lane->first || lane->store->closing)
        lane->store->host->timer_start(lane->turn, 0);
}

void cvm_lane_put(struct lane *lane, struct job *job)
{
    int32_t was_empty = !lane->first; /* else it is not the first to be late */
    job->next = NULL;
    *lane->last = job;
    lane->last = &job->next;
    if (was_empty)
        lane_watch_time(lane);
    cvm_lane_work(lane);
}

void cvm_lane_put_back(struct lane *lane, struct job *first)
{
    struct job **last = &first;
    while (*last)
        last = &(*last)->next;
    if (!lane->first)
        lane->last = last;
    *last = lane->first;
    lane->first = first;
    lane_end_some(lane, job_is_late, "PostgreSQL does not answer");
    cvm_lane_work(lane);
}

const char *cvm_job_uid(const struct store *store, const struct job *job)
{
    const cvm_change_t *change = job->change;
    if (!change)
        return "";
    if (change->as_read || change->wanted)
        return store->host->text(
            change->as_read ? change->as_read : change->wanted, CVM_D_DEVICE_UID);
    return change->certificate_count ? store->host->text(change->certificates[0], CVM_C_DEVICE_UID)
                                     : "";
}

void cvm_lane_hurry(struct lane *lane)
{
    if (!lane->late)
        return; /* it was never opened */
    uint64_t until_ms = cvm_monotonic_ms() + CVM_CLOSE_GRACE_MS;
    for (struct job *job = lane->first; job; job = job->next)
        job->until_ms = job->until_ms < until_ms ? job->until_ms : until_ms;
    lane_watch_time(lane);
    for (uint32_t i = 0; i < lane->link_count; i++)
        if (lane->links[i].state == LINK_BUSY)
            lane->store->host->timer_start(lane->links[i].timer, CVM_CLOSE_GRACE_MS);
}

/* Puts it behind those whose uid comes before its own, or is the same. */
static void batch_insert(const struct store *store, struct job **batch, struct job *job)
{
    const char *uid = cvm_job_uid(store, job);
    while (*batch && strcmp(cvm_job_uid(store, *batch), uid) <= 0)
        batch = &(*batch)->next;
    job->next = *batch;
    *batch = job;
}

struct job *cvm_lane_take(struct lane *lane)
{
    struct job *batch = NULL;
    for (uint32_t count = 0; count < CVM_LARGEST_BATCH && lane->first; count++) {
        struct job *job = lane->first;
        if (count && job->is_alone)
            break;
        lane->first = job->next;
        if (!lane->first)
            lane->last = &lane->first;
        batch_insert(lane->store, &batch, job);
        if (job->is_alone)
            break;
    }
    lane_watch_time(lane);
    return batch;
}
