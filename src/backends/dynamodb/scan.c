/* Scans. Devices, certificates and values are gone through as they lie in the tables; of what is
 * due, and of what a CRL lists, hints lead to the devices, whose rows are looked at. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "certificate.h"
#include "device.h"
#include "key.h"
#include "scan.h"

#define MOST_HINTS    DYNAMO_MOST_STALE /* that are followed at once */
#define PAGE          100
#define LEAST_LEFT_MS 5000 /* with less a page is left as it is */

/* --- The answer ------------------------------------------------------------------------------- */

static const cvm_host_t *host_of(const struct scan *scan)
{
    return scan->job.store->host;
}

/* 0, or -1 without memory. */
static int32_t answer_record(struct scan *scan, cvm_record_t *record)
{
    scan->answered++;
    return !record || host_of(scan)->op_add_record(scan->job.op, record) ? -1 : 0;
}

static void scan_end(struct scan *scan, const char *cursor)
{
    if (*cursor && host_of(scan)->op_set_text(scan->job.op, CVM_OUT_CURSOR, cursor))
        cvm_dynamo_out_of_memory(&scan->job);
    else
        cvm_dynamo_end(&scan->job, CVM_ANSWER_OK, NULL);
}

static uint32_t scan_room(const struct scan *scan)
{
    uint32_t room = scan->limit - scan->answered;
    return room < PAGE ? room : PAGE;
}

/* --- Tables, from their beginning to their end ------------------------------------------------ */

static const char *last_key(const struct scan *scan, const char *name)
{
    return cvm_dynamo_text(
        cJSON_GetObjectItemCaseSensitive(scan->job.call.answer, "LastEvaluatedKey"), name);
}

static int32_t is_last_page(const struct scan *scan)
{
    return !cJSON_GetObjectItemCaseSensitive(scan->job.call.answer, "LastEvaluatedKey");
}

static cJSON *items_of(const struct scan *scan)
{
    return cJSON_GetObjectItemCaseSensitive(scan->job.call.answer, "Items");
}

/* The page was answered. It goes on until there is no room for more, or little time left. */
static void page_end(struct scan *scan, const char *pk, const char *sk, void (*next)(struct scan *))
{
    char cursor[2 * DYNAMO_KEY_SIZE] = "";
    if (!scan->is_last)
        (void)snprintf(cursor, sizeof cursor, "%.280s%s%.270s", pk, sk ? "|" : "", sk ? sk : "");
    (void)snprintf(scan->pk, sizeof scan->pk, "%s", pk);
    (void)snprintf(scan->sk, sizeof scan->sk, "%s", sk ? sk : "");
    int32_t is_place = strlen(cursor) < CVM_CURSOR_SIZE; /* else it can't be told */
    int32_t has_time = cvm_monotonic_ms() + LEAST_LEFT_MS < scan->job.until_ms;
    if (*cursor && scan_room(scan) && (has_time || !is_place))
        next(scan);
    else
        scan_end(scan, cursor);
}

static void print_begin(struct scan *scan, enum table table)
{
    struct cvm_buffer *body = cvm_dynamo_body(&scan->job);
    cvm_buffer_text(body, "{\"TableName\":");
    cvm_buffer_json(body, scan->job.store->tables[table]);
    cvm_buffer_format(body, ",\"ConsistentRead\":true,\"Limit\":%" PRIu32, scan_room(scan));
    if (!*scan->pk)
        return;
    cvm_buffer_text(body, ",\"ExclusiveStartKey\":");
    cvm_dynamo_print_key(body, scan->pk, table == MAKERS ? NULL : scan->sk);
}

/* --- Devices ---------------------------------------------------------------------------------- */

static void scan_devices(struct scan *scan);

/* A uid that could be one: the maker's table may hold anything. */
static int32_t is_uid(const char *uid)
{
    size_t length =
        strspn(uid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-");
    return length && !uid[length] && length <= 128;
}

static void devices_looked(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    char pk[DYNAMO_KEY_SIZE];
    const cJSON *row;
    cJSON_ArrayForEach(row, scan->page)
    {
        const char *uid = cvm_dynamo_text(row, "device_uid");
        const cJSON *state = cvm_dynamo_find(&job->look, OURS, cvm_dynamo_key(pk, "U#", uid), "S");
        if (is_uid(uid) && answer_record(scan, cvm_dynamo_device(host_of(scan), row, state))) {
            cvm_dynamo_out_of_memory(job);
            return;
        }
    }
    page_end(scan, scan->last, NULL, scan_devices);
}

static void devices_scanned(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    char pk[DYNAMO_KEY_SIZE];
    const cJSON *row;
    cvm_dynamo_look_clear(&job->look);
    (void)snprintf(scan->last, sizeof scan->last, "%s", last_key(scan, "device_uid"));
    cJSON_Delete(scan->page);
    scan->page = cJSON_DetachItemFromObjectCaseSensitive(job->call.answer, "Items");
    scan->is_last = is_last_page(scan);
    cJSON_ArrayForEach(row, scan->page)
    {
        const char *uid = cvm_dynamo_text(row, "device_uid");
        if (is_uid(uid))
            (void)cvm_dynamo_look_add(&job->look, OURS, cvm_dynamo_key(pk, "U#", uid), "S");
    }
    if (job->look.failed)
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_look(job, devices_looked);
}

static void scan_devices(struct scan *scan)
{
    print_begin(scan, MAKERS);
    cvm_buffer_text(&scan->job.call.body, "," CVM_DYNAMO_MAKERS_PROJECTION "}");
    cvm_dynamo_call(&scan->job, "Scan", devices_scanned);
}

/* --- All certificates ------------------------------------------------------------------------- */

static void scan_certificates(struct scan *scan);

static void certificates_scanned(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    const cJSON *row;
    scan->is_last = is_last_page(scan);
    cJSON_ArrayForEach(row, items_of(scan))
    {
        if (answer_record(scan, cvm_dynamo_certificate(host_of(scan), row, 1))) {
            cvm_dynamo_out_of_memory(job);
            return;
        }
    }
    char pk[DYNAMO_KEY_SIZE], sk[DYNAMO_KEY_SIZE];
    (void)snprintf(pk, sizeof pk, "%s", last_key(scan, "pk"));
    (void)snprintf(sk, sizeof sk, "%s", last_key(scan, "sk"));
    page_end(scan, pk, sk, scan_certificates);
}

static void scan_certificates(struct scan *scan)
{
    print_begin(scan, OURS);
    cvm_buffer_text(&scan->job.call.body,
        ",\"FilterExpression\":\"begins_with(pk,:c)\",\"ExpressionAttributeValues\":{\":c\":"
        "{\"S\":\"C#\"}}}");
    cvm_dynamo_call(&scan->job, "Scan", certificates_scanned);
}

/* --- Values ----------------------------------------------------------------------------------- */

static void scan_values(struct scan *scan);

static cvm_record_t *value_record(const cvm_host_t *host, const cJSON *item)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_VALUE);
    if (!record ||
        (!host->set_text(record, CVM_V_NAME, cvm_dynamo_text(item, "sk")) &&
            !host->set_number(record, CVM_V_VERSION, cvm_dynamo_number(item, "version"))))
        return record;
    host->record_free(record);
    return NULL;
}

static void values_scanned(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    const cJSON *item;
    scan->is_last = is_last_page(scan);
    cJSON_ArrayForEach(item, items_of(scan))
    {
        if (answer_record(scan, value_record(host_of(scan), item))) {
            cvm_dynamo_out_of_memory(job);
            return;
        }
    }
    char sk[DYNAMO_KEY_SIZE];
    (void)snprintf(sk, sizeof sk, "%s", last_key(scan, "sk"));
    page_end(scan, "M", sk, scan_values);
}

static void scan_values(struct scan *scan)
{
    print_begin(scan, OURS);
    cvm_buffer_text(&scan->job.call.body,
        ",\"ProjectionExpression\":\"pk,sk,version\",\"KeyConditionExpression\":\"pk=:m\","
        "\"ExpressionAttributeValues\":{\":m\":{\"S\":\"M\"}}}");
    cvm_dynamo_call(&scan->job, "Query", values_scanned);
}

/* --- By hints --------------------------------------------------------------------------------- */

static void follow_hints(struct scan *scan);

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

static int32_t is_ended_lease(const cvm_host_t *host, const cvm_record_t *device, int64_t before_ms)
{
    return (*host->text(device, CVM_D_LEASE_OWNER) ||
               *host->text(device, CVM_D_LEASE_CERTIFICATE_ID)) &&
           host->number(device, CVM_D_LEASE_UNTIL) <= before_ms;
}

static int32_t is_unsuspended(const cvm_host_t *host, const cvm_record_t *device, int64_t before_ms)
{
    (void)before_ms;
    return host->number(device, CVM_D_IS_SUSPENDED) == host->number(device, CVM_D_IS_ENABLED) &&
           *host->text(device, CVM_D_CERTIFICATE_ID);
}

/* What each kind's hints lead to. */
static const struct hinted {
    const char *prefix, *kind;
    int32_t is_timed; /* its hints have `due` */
    int32_t (*is_device)(const cvm_host_t *host, const cvm_record_t *device, int64_t before_ms);
    int32_t (*is_row)(const cJSON *row, const cJSON *device, int64_t before_ms);
} HINTED[] = {
    [CVM_SCAN_DUE] = {"D#", DUE_RETIREMENTS, 1, NULL, is_retiring_row},
    [CVM_SCAN_UNSUSPENDED] = {"D#", DUE_SUSPENSIONS, 1, is_unsuspended, NULL},
    [CVM_SCAN_ENDED_LEASES] = {"D#", DUE_LEASES, 1, is_ended_lease, NULL},
    [CVM_SCAN_REVOKED] = {"R", "", 0, NULL, is_revoked_row},
    [CVM_SCAN_SUSPENDED] = {"R", "", 0, NULL, is_suspended_row},
};

static const struct hinted *kind_of(const struct scan *scan)
{
    return &HINTED[scan->what];
}

static void hints_cursor(struct scan *scan, const char *uid, const char *id)
{
    char cursor[CVM_CURSOR_SIZE];
    (void)snprintf(cursor, sizeof cursor, "%" PRIu32 "|%s|%s", scan->shard, uid, id);
    scan_end(scan, cursor);
}

/* On to what lies behind the hints that were followed. */
static void hints_next(struct scan *scan)
{
    *scan->after_id = 0;
    if (scan->is_last) {
        scan->shard++;
        *scan->sk = 0;
    }
    if (scan->shard == DYNAMO_SHARDS)
        scan_end(scan, "");
    else if (scan->answered == scan->limit)
        hints_cursor(scan, scan->sk, "");
    else
        follow_hints(scan);
}

/* --- Hints that lead nowhere ------------------------------------------------------------------ */

static void tidy_next(struct job *job);

/* When the device is to be looked at next; -1: never. */
static int64_t next_retirement(const struct scan *scan, const cJSON *state)
{
    char pk[DYNAMO_KEY_SIZE];
    int64_t next_ms = -1;
    const char *id;
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++) {
        const cJSON *row =
            cvm_dynamo_find(&scan->job.look, OURS, cvm_dynamo_key(pk, "C#", id), "C");
        int64_t at_ms = cvm_dynamo_number(row, "revoke_after");
        if (is_state(row, "retiring") && (next_ms < 0 || at_ms < next_ms))
            next_ms = at_ms;
    }
    return next_ms;
}

/* The hint is taken away, or put off, unless somebody has given it a new reason since. */
static void tidy(struct scan *scan, const cJSON *hint)
{
    struct job *job = &scan->job;
    struct cvm_buffer *body = cvm_dynamo_body(job);
    struct expression expression = {.name_count = 0};
    char pk[DYNAMO_KEY_SIZE];
    const char *uid = cvm_dynamo_text(hint, "sk");
    const cJSON *state = cvm_dynamo_find(&job->look, OURS, cvm_dynamo_key(pk, "U#", uid), "S");
    int64_t next_ms = scan->what == CVM_SCAN_DUE ? next_retirement(scan, state) : -1;
    cvm_dynamo_expression_clear(&expression);
    cvm_dynamo_print_target(body, job->store->tables[OURS], cvm_dynamo_text(hint, "pk"), uid);
    cvm_dynamo_and_text(&expression, "stamp", cvm_dynamo_text(hint, "stamp"));
    if (next_ms >= 0)
        cvm_dynamo_set_number(&expression, "due", next_ms);
    cvm_dynamo_print_expression(body, &expression, 0);
    cvm_dynamo_expression_free(&expression);
    job->takes_all = 1;
    cvm_dynamo_call(job, next_ms >= 0 ? "UpdateItem" : "DeleteItem", tidy_next);
}

/* Goes on with the hints that were found to lead nowhere. What fails is tried again by the next
 * scan. */
static void tidy_next(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    int32_t is_answered =
        !scan->stale_at || job->call.outcome == AWS_OK || job->call.outcome == AWS_ERROR;
    job->takes_all = 0;
    if (is_answered && scan->stale_at < scan->stale_count) {
        tidy(scan, scan->stale[scan->stale_at++]);
        return;
    }
    hints_next(scan);
}

/* --- Hints that are followed ------------------------------------------------------------------ */

static void hint_is_stale(struct scan *scan, const cJSON *hint)
{
    if (kind_of(scan)->is_timed && scan->stale_count < DYNAMO_MOST_STALE)
        scan->stale[scan->stale_count++] = hint;
}

/* A device of that kind. -1 without memory. */
static int32_t follow_device(struct scan *scan, const cJSON *hint)
{
    const cvm_host_t *host = host_of(scan);
    const char *uid = cvm_dynamo_text(hint, "sk");
    char pk[DYNAMO_KEY_SIZE];
    const cJSON *row = cvm_dynamo_find(&scan->job.look, MAKERS, uid, NULL),
                *state = cvm_dynamo_find(&scan->job.look, OURS, cvm_dynamo_key(pk, "U#", uid), "S");
    if (!row) { /* it was taken out of the table: what is due of it waits until it comes again */
        if (!cvm_dynamo_has(state, "revision"))
            hint_is_stale(scan, hint);
        return 0;
    }
    cvm_record_t *device = cvm_dynamo_device(host, row, state);
    if (!device)
        return -1;
    if (kind_of(scan)->is_device(host, device, scan->before_ms))
        return answer_record(scan, device);
    host->record_free(device);
    if (!cvm_dynamo_device_is_torn(row, state))
        hint_is_stale(scan, hint);
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A device's certificates, in the order of their ids, behind the one that was answered last. 1:
 * there is no room for more, -1 without memory. */
static int32_t follow_rows(struct scan *scan, const cJSON *hint)
{
    const struct look *look = &scan->job.look;
    const char *uid = cvm_dynamo_text(hint, "sk"), *ids[512], *id;
    char pk[DYNAMO_KEY_SIZE];
    const cJSON *state = cvm_dynamo_find(look, OURS, cvm_dynamo_key(pk, "U#", uid), "S"),
                *device = cvm_dynamo_find(look, MAKERS, uid, NULL);
    uint32_t count = 0, found = 0;
    while (count < 512 && (id = cvm_dynamo_member(state, "certificates", count)))
        ids[count++] = id;
    qsort(ids, count, sizeof *ids, compare_ids);
    for (uint32_t i = 0; i < count; i++) {
        const cJSON *row = cvm_dynamo_find(look, OURS, cvm_dynamo_key(pk, "C#", ids[i]), "C");
        if (!row || !kind_of(scan)->is_row(row, device, scan->before_ms))
            continue;
        found++;
        if (strcmp(ids[i], scan->after_id) <= 0)
            continue;
        if (scan->answered == scan->limit)
            return 1;
        (void)snprintf(scan->last, sizeof scan->last, "%s", ids[i]);
        if (answer_record(scan, cvm_dynamo_certificate(host_of(scan), row, 0)))
            return -1;
    }
    if (!found)
        hint_is_stale(scan, hint);
    return 0;
}

static void hints_looked(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    const cJSON *hint;
    scan->stale_count = scan->stale_at = 0;
    cJSON_ArrayForEach(hint, scan->page)
    {
        const char *uid = cvm_dynamo_text(hint, "sk");
        int32_t is_first = strcmp(uid, scan->after_uid) == 0;
        if (!is_first)
            *scan->after_id = 0;
        *scan->last = 0;
        if (scan->answered == scan->limit) {
            hints_cursor(scan, scan->sk, "");
            return;
        }
        int32_t became =
            kind_of(scan)->is_device ? follow_device(scan, hint) : follow_rows(scan, hint);
        if (became < 0) {
            cvm_dynamo_out_of_memory(job);
            return;
        }
        if (became > 0) {
            hints_cursor(scan, uid, *scan->last ? scan->last : scan->after_id);
            return;
        }
        (void)snprintf(scan->sk, sizeof scan->sk, "%s", uid); /* it is done with */
    }
    if (*scan->page_end)
        (void)snprintf(scan->sk, sizeof scan->sk, "%s", scan->page_end);
    tidy_next(job);
}

/* The states are known: then the certificates that they name. */
static void hints_know_states(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    char pk[DYNAMO_KEY_SIZE];
    const char *id;
    const cJSON *hint;
    cJSON_ArrayForEach(hint, scan->page)
    {
        const cJSON *state = cvm_dynamo_find(
            &job->look, OURS, cvm_dynamo_key(pk, "U#", cvm_dynamo_text(hint, "sk")), "S");
        for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++)
            (void)cvm_dynamo_look_add(&job->look, OURS, cvm_dynamo_key(pk, "C#", id), "C");
    }
    if (job->look.failed)
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_look(job, hints_looked);
}

static void hints_queried(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    char pk[DYNAMO_KEY_SIZE];
    const cJSON *hint;
    cvm_dynamo_look_clear(&job->look);
    scan->is_last = is_last_page(scan);
    (void)snprintf(scan->page_end, sizeof scan->page_end, "%s", last_key(scan, "sk"));
    cJSON_Delete(scan->page);
    scan->page = cJSON_DetachItemFromObjectCaseSensitive(job->call.answer, "Items");
    cJSON_ArrayForEach(hint, scan->page)
    {
        const char *uid = cvm_dynamo_text(hint, "sk");
        if (*uid) {
            (void)cvm_dynamo_look_add(&job->look, MAKERS, uid, NULL);
            (void)cvm_dynamo_look_add(&job->look, OURS, cvm_dynamo_key(pk, "U#", uid), "S");
        }
    }
    if (job->look.failed)
        cvm_dynamo_out_of_memory(job);
    else
        cvm_dynamo_look(job, kind_of(scan)->is_row ? hints_know_states : hints_looked);
}

/* The place is before the device that was answered in part: its hint comes again. */
static void follow_hints(struct scan *scan)
{
    struct cvm_buffer *body = cvm_dynamo_body(&scan->job);
    const struct hinted *kind = kind_of(scan);
    char pk[DYNAMO_KEY_SIZE];
    cvm_buffer_text(body, "{\"TableName\":");
    cvm_buffer_json(body, scan->job.store->tables[OURS]);
    cvm_buffer_format(body, ",\"ConsistentRead\":true,\"Limit\":%d", MOST_HINTS);
    cvm_buffer_text(body, ",\"KeyConditionExpression\":\"pk=:p AND sk>");
    cvm_buffer_text(body, *scan->after_id ? "=:s\"" : ":s\"");
    if (kind->is_timed) /* 0 is no attribute */
        cvm_buffer_text(body, ",\"FilterExpression\":\"attribute_not_exists(due) OR due<=:t\"");
    cvm_buffer_text(body, ",\"ExpressionAttributeValues\":{\":p\":{\"S\":");
    cvm_buffer_json(body, cvm_dynamo_shard_key(pk, kind->prefix, kind->kind, scan->shard));
    cvm_buffer_text(body, "},\":s\":{\"S\":");
    cvm_buffer_json(body, *scan->sk ? scan->sk : " ");
    if (kind->is_timed)
        cvm_buffer_format(body, "},\":t\":{\"N\":\"%" PRId64 "\"", scan->before_ms);
    cvm_buffer_text(body, "}}}");
    cvm_dynamo_call(&scan->job, "Query", hints_queried);
}

/* --- Getting in ------------------------------------------------------------------------------- */

static void scan_clear(struct job *job)
{
    cJSON_Delete(((struct scan *)(void *)job)->page);
}

/* SHARD|UID|ID, of hints; PK|SK, or UID. */
static void take_cursor(struct scan *scan, const char *cursor)
{
    const char *split = strncmp(cursor, "M|", 2) == 0 ? cursor + 1 : strrchr(cursor, '|');
    const char *first = strchr(cursor, '|');
    if (scan->what == CVM_SCAN_DEVICES) {
        (void)snprintf(scan->pk, sizeof scan->pk, "%s", cursor);
    } else if (scan->what == CVM_SCAN_CERTIFICATES || scan->what == CVM_SCAN_META) {
        if (split) {
            (void)snprintf(scan->pk, sizeof scan->pk, "%.*s", (int)(split - cursor), cursor);
            (void)snprintf(scan->sk, sizeof scan->sk, "%s", split + 1);
        }
    } else if (first && split > first) {
        scan->shard = (uint32_t)strtoul(cursor, NULL, 10) % DYNAMO_SHARDS;
        (void)snprintf(scan->sk, sizeof scan->sk, "%.*s", (int)(split - first - 1), first + 1);
        (void)snprintf(scan->after_id, sizeof scan->after_id, "%s", split + 1);
        (void)snprintf(scan->after_uid, sizeof scan->after_uid, "%s", scan->sk);
    }
}

static void scan_begin(struct scan *scan)
{
    switch (scan->what) {
    case CVM_SCAN_DEVICES:
        scan_devices(scan);
        return;
    case CVM_SCAN_CERTIFICATES:
        scan_certificates(scan);
        return;
    case CVM_SCAN_META:
        scan_values(scan);
        return;
    default:
        follow_hints(scan);
    }
}

void cvm_dynamo_scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit)
{
    struct store *store = self;
    int32_t is_listed = what == CVM_SCAN_REVOKED || what == CVM_SCAN_SUSPENDED;
    if (what < CVM_SCAN_DEVICES || what > CVM_SCAN_META || (is_listed && !store->lists_revoked)) {
        store->host->complete(op, CVM_ANSWER_INVALID, "no such scan");
        return;
    }
    struct scan *scan = cvm_dynamo_job(store, op, sizeof *scan, 0, scan_clear);
    if (!scan)
        return;
    scan->what = what;
    scan->before_ms = before_ms;
    scan->limit = limit ? limit : 1;
    take_cursor(scan, cursor);
    scan_begin(scan);
}
