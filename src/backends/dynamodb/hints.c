/* Scans by hints: what is due, and what a CRL lists. A hint leads to a device, whose rows are
 * looked at; one that leads nowhere is taken away, or put off until something is due. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certificate.h"
#include "device.h"
#include "key.h"
#include "rows.h"
#include "scan.h"

/* The rows of a transaction don't all appear at one moment: what was hinted at so lately is not
 * called stale. */
#define YOUNG_MS 60000

/* --- The kinds -------------------------------------------------------------------------------- */

static int32_t is_state(const cJSON *row, const char *state)
{
    return strcmp(cvm_dynamo_text(row, "state"), state) == 0;
}

static int32_t is_due_row(const cJSON *row, int64_t before_ms)
{
    return is_state(row, "retiring") && cvm_dynamo_number(row, "revoke_after") <= before_ms;
}

static int32_t is_revoked_row(const cJSON *row, const cJSON *device, int64_t before_ms)
{
    (void)device;
    return (is_state(row, "revoked") || is_due_row(row, before_ms)) &&
           cvm_dynamo_number(row, "not_after") > before_ms;
}

static int32_t is_suspended_row(const cJSON *row, const cJSON *device, int64_t before_ms)
{
    return device && cvm_dynamo_flag(device, "is_enabled") != FLAG_ON &&
           (is_state(row, "current") || is_state(row, "retiring")) &&
           cvm_dynamo_number(row, "not_after") > before_ms;
}

static int32_t is_retiring_row(const cJSON *row, const cJSON *device, int64_t before_ms)
{
    (void)device;
    return is_due_row(row, before_ms);
}

/* What each kind's hints lead to. */
static const struct hinted {
    const char *prefix, *kind;
    int32_t is_timed; /* its hints have `due` */
    int64_t (*due_ms)(const cvm_host_t *host, const cvm_record_t *device); /* -1: never */
    int32_t (*is_row)(const cJSON *row, const cJSON *device, int64_t before_ms);
} HINTED[] = {
    [CVM_SCAN_DUE] = {"D#", DUE_RETIREMENTS, 1, NULL, is_retiring_row},
    [CVM_SCAN_UNSUSPENDED] = {"D#", DUE_SUSPENSIONS, 1, cvm_dynamo_suspension_ms, NULL},
    [CVM_SCAN_ENDED_LEASES] = {"D#", DUE_LEASES, 1, cvm_dynamo_lease_ms, NULL},
    [CVM_SCAN_REVOKED] = {"R", "", 0, NULL, is_revoked_row},
    [CVM_SCAN_SUSPENDED] = {"R", "", 0, NULL, is_suspended_row},
};

static const struct hinted *kind_of(const struct scan *scan)
{
    return &HINTED[scan->what];
}

/* --- Where it goes on ------------------------------------------------------------------------- */

/* id: "" once the device of that uid is done with. */
static void hints_cursor(struct scan *scan, const char *uid, const char *id)
{
    char cursor[CVM_CURSOR_SIZE];
    (void)snprintf(cursor, sizeof cursor, "%" PRIu32 "|%.128s|%.64s", scan->shard, uid, id);
    cvm_dynamo_scan_end(scan, cursor);
}

/* On to what lies behind the page. */
static void hints_next(struct scan *scan)
{
    *scan->rest_id = *scan->rest_uid = 0;
    if (!scan->page_end) {
        scan->shard++;
        *scan->uid = 0;
    }
    if (scan->shard == DYNAMO_SHARDS)
        cvm_dynamo_scan_end(scan, "");
    else if (cvm_dynamo_scan_is_over(scan))
        hints_cursor(scan, scan->uid, "");
    else
        cvm_dynamo_follow_hints(scan);
}

/* --- Hints that lead nowhere ------------------------------------------------------------------ */

static const cJSON *state_of(const struct scan *scan, const char *uid)
{
    return cvm_dynamo_state(&scan->job.look, uid);
}

static const cJSON *row_of(const struct scan *scan, const char *id)
{
    return cvm_dynamo_certificate_row(&scan->job.look, id);
}

static void hint_is_stale(struct scan *scan, const cJSON *hint)
{
    int64_t age_ms = cvm_dynamo_host(&scan->job)->now_ms(scan->job.store->aws.context) -
                     cvm_dynamo_number(hint, "stamped_at");
    if (kind_of(scan)->is_timed && scan->stale_count < DYNAMO_MOST_HINTS && age_ms > YOUNG_MS)
        scan->stale[scan->stale_count++] = hint;
}

/* When the device is to be looked at next; -1: never. */
static int64_t next_retirement(const struct scan *scan, const char *uid)
{
    const cJSON *state = state_of(scan, uid);
    int64_t next_ms = -1;
    const char *id;
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++) {
        const cJSON *row = row_of(scan, id);
        int64_t at_ms = cvm_dynamo_number(row, "revoke_after");
        if (is_state(row, "retiring") && (next_ms < 0 || at_ms < next_ms))
            next_ms = at_ms;
    }
    return next_ms;
}

static void tidy_next(struct job *job);

/* The hint is taken away, or put off, unless somebody has given it a new reason since. */
static void tidy(struct scan *scan, const cJSON *hint)
{
    struct job *job = &scan->job;
    struct cvm_buffer *body = cvm_dynamo_body(job);
    struct expression expression = {.name_count = 0};
    const char *uid = cvm_dynamo_text(hint, "sk");
    int64_t next_ms = scan->what == CVM_SCAN_DUE ? next_retirement(scan, uid) : -1;
    cvm_dynamo_expression_clear(&expression);
    cvm_dynamo_print_target(body, job->store->tables[OURS], cvm_dynamo_text(hint, "pk"), uid);
    cvm_dynamo_and_text(&expression, "stamp", cvm_dynamo_text(hint, "stamp"));
    if (next_ms >= 0)
        cvm_dynamo_set_number(&expression, "due", next_ms);
    cvm_dynamo_print_expression(body, &expression, 0);
    cvm_dynamo_expression_free(&expression);
    job->takes_all = 1;
    cvm_dynamo_call(job, next_ms >= 0 ? UPDATE_ITEM : DELETE_ITEM, tidy_next);
}

/* Goes on with the hints that were found to lead nowhere. What fails is tried again by a later
 * scan. */
static void tidy_next(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    int32_t is_answered =
        !scan->stale_at || job->aws.call.outcome == AWS_OK || job->aws.call.outcome == AWS_ERROR;
    job->takes_all = 0;
    if (is_answered && scan->stale_at < scan->stale_count)
        tidy(scan, scan->stale[scan->stale_at++]);
    else
        hints_next(scan);
}

/* --- Hints that are followed ------------------------------------------------------------------ */

/* A device of that kind. -1 without memory. */
static int32_t follow_device(struct scan *scan, const cJSON *hint)
{
    const cvm_host_t *host = cvm_dynamo_host(&scan->job);
    const char *uid = cvm_dynamo_text(hint, "sk");
    const cJSON *row = cvm_dynamo_find(&scan->job.look, MAKERS, uid, NULL),
                *state = state_of(scan, uid);
    if (!row) { /* it was taken out of the table: what is due of it waits until it comes again */
        if (!cvm_dynamo_has(state, "revision"))
            hint_is_stale(scan, hint);
        return 0;
    }
    cvm_record_t *device = cvm_dynamo_device(host, row, state);
    if (!device)
        return -1;
    int64_t due_ms = kind_of(scan)->due_ms(host, device);
    if (due_ms >= 0 && due_ms <= scan->before_ms)
        return cvm_dynamo_answer(scan, device);
    host->record_free(device);
    if (!cvm_dynamo_device_is_torn(row, state))
        hint_is_stale(scan, hint);
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The device's certificates in the order of their ids, behind rest_id. 1: there is no room for all;
 * then rest_id is the last that was answered. -1 without memory. */
static int32_t answer_rows(
    struct scan *scan, const cJSON *hint, const char *const *ids, uint32_t count)
{
    const cJSON *device =
        cvm_dynamo_find(&scan->job.look, MAKERS, cvm_dynamo_text(hint, "sk"), NULL);
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        const cJSON *row = row_of(scan, ids[i]);
        if (!row || !kind_of(scan)->is_row(row, device, scan->before_ms))
            continue;
        found++;
        if (strcmp(ids[i], scan->rest_id) <= 0)
            continue;
        if (scan->answered == scan->limit)
            return 1;
        if (cvm_dynamo_answer(scan, cvm_dynamo_certificate(cvm_dynamo_host(&scan->job), row, 0)))
            return -1;
        (void)snprintf(scan->rest_id, sizeof scan->rest_id, "%s", ids[i]);
    }
    if (!found)
        hint_is_stale(scan, hint);
    return 0;
}

static int32_t follow_rows(struct scan *scan, const cJSON *hint)
{
    const cJSON *state = state_of(scan, cvm_dynamo_text(hint, "sk"));
    uint32_t count = 0;
    while (cvm_dynamo_member(state, "certificates", count))
        count++;
    const char **ids = calloc(count ? count : 1, sizeof *ids);
    if (!ids)
        return -1;
    const cJSON *member = cvm_dynamo_members(state, "certificates");
    for (uint32_t i = 0; member && i < count; i++, member = member->next)
        ids[i] = cJSON_GetStringValue(member);
    qsort(ids, count, sizeof *ids, compare_ids);
    int32_t became = answer_rows(scan, hint, ids, count);
    free(ids);
    return became;
}

static void hints_looked(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    const cJSON *hint;
    scan->stale_count = scan->stale_at = 0;
    cJSON_ArrayForEach(hint, scan->page)
    {
        const char *uid = cvm_dynamo_text(hint, "sk");
        if (strcmp(uid, scan->rest_uid) != 0)
            *scan->rest_id = 0;
        if (scan->answered == scan->limit) {
            hints_cursor(scan, scan->uid, "");
            return;
        }
        int32_t became =
            kind_of(scan)->due_ms ? follow_device(scan, hint) : follow_rows(scan, hint);
        if (became < 0) {
            cvm_dynamo_out_of_memory(job);
            return;
        }
        if (became > 0) {
            hints_cursor(scan, uid, scan->rest_id);
            return;
        }
        (void)snprintf(scan->uid, sizeof scan->uid, "%s", uid); /* it is done with */
    }
    if (scan->page_end)
        (void)snprintf(scan->uid, sizeof scan->uid, "%s", cvm_dynamo_text(scan->page_end, "sk"));
    tidy_next(job);
}

/* The states are known: then the certificates that they name. */
static void hints_know_states(struct job *job)
{
    const struct scan *scan = (const struct scan *)(const void *)job;
    const cJSON *hint;
    cJSON_ArrayForEach(hint, scan->page)
    {
        cvm_dynamo_look_certificates(&job->look, state_of(scan, cvm_dynamo_text(hint, "sk")));
    }
    cvm_dynamo_look(job, hints_looked);
}

static void hints_queried(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    const cJSON *hint;
    if (cvm_dynamo_take_page(scan))
        return;
    if (scan->page_end && strcmp(cvm_dynamo_text(scan->page_end, "sk"), scan->uid) <= 0) {
        cvm_dynamo_end(job, CVM_ANSWER_BROKEN, "DynamoDB's pages go round");
        return;
    }
    cvm_dynamo_look_clear(&job->look);
    cJSON_ArrayForEach(hint, scan->page)
    {
        const char *uid = cvm_dynamo_text(hint, "sk");
        if (*uid) {
            (void)cvm_dynamo_look_add(&job->look, MAKERS, uid, NULL);
            (void)cvm_dynamo_look_state(&job->look, uid);
        }
    }
    cvm_dynamo_look(job, kind_of(scan)->is_row ? hints_know_states : hints_looked);
}

/* A device that was answered in part comes again. */
void cvm_dynamo_follow_hints(struct scan *scan)
{
    struct cvm_buffer *body = cvm_dynamo_body(&scan->job);
    const struct hinted *kind = kind_of(scan);
    char pk[DYNAMO_KEY_SIZE];
    cvm_dynamo_print_table(body, scan->job.store->tables[OURS]);
    cvm_buffer_format(body, ",\"ConsistentRead\":true,\"Limit\":%d", DYNAMO_MOST_HINTS);
    cvm_buffer_text(body, ",\"KeyConditionExpression\":\"pk=:p AND sk>");
    cvm_buffer_text(body, *scan->rest_uid ? "=:s\"" : ":s\"");
    if (kind->is_timed) /* 0 is no attribute */
        cvm_buffer_text(body, ",\"FilterExpression\":\"attribute_not_exists(due) OR due<=:t\"");
    cvm_buffer_text(body, ",\"ExpressionAttributeValues\":{\":p\":{\"S\":");
    cvm_buffer_json(body, cvm_dynamo_shard_key(pk, kind->prefix, kind->kind, scan->shard));
    cvm_buffer_text(body, "},\":s\":{\"S\":");
    cvm_buffer_json(body, *scan->uid ? scan->uid : " ");
    if (kind->is_timed)
        cvm_buffer_format(body, "},\":t\":{\"N\":\"%" PRId64 "\"", scan->before_ms);
    cvm_buffer_text(body, "}}}");
    cvm_dynamo_call(&scan->job, QUERY, hints_queried);
}
