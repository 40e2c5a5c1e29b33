/* Scans: devices, certificates and values, as they lie in the tables. */
#include "scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "certificate.h"
#include "device.h"
#include "rows.h"

#define PAGE          100
#define LONGEST_PLACE 240  /* of the two parts of one */
#define LEAST_LEFT_MS 5000 /* with less a page is left as it is */

/* --- The answer ------------------------------------------------------------------------------- */

int32_t cvm_dynamo_answer(struct scan *scan, cvm_record_t *record)
{
    scan->answered++;
    return !record || cvm_dynamo_host(&scan->job)->op_add_record(scan->job.aws.op, record) ? -1 : 0;
}

void cvm_dynamo_scan_end(struct scan *scan, const char *cursor)
{
    if (*cursor &&
        cvm_dynamo_host(&scan->job)->op_set_text(scan->job.aws.op, CVM_OUT_CURSOR, cursor))
        cvm_dynamo_out_of_memory(&scan->job);
    else
        cvm_dynamo_end(&scan->job, CVM_ANSWER_OK, NULL);
}

int32_t cvm_dynamo_scan_is_over(const struct scan *scan)
{
    return scan->answered >= scan->limit ||
           cvm_monotonic_ms() + LEAST_LEFT_MS > scan->job.aws.until_ms;
}

int32_t cvm_dynamo_take_page(struct scan *scan)
{
    cJSON *answer = scan->job.aws.call.answer, *before = scan->page_end;
    cJSON_Delete(scan->page);
    scan->page = cJSON_DetachItemFromObjectCaseSensitive(answer, "Items");
    scan->page_end = cJSON_DetachItemFromObjectCaseSensitive(answer, "LastEvaluatedKey");
    int32_t goes_on = cJSON_IsObject(scan->page_end) && scan->page_end->child &&
                      !cJSON_Compare(before, scan->page_end, 1);
    cJSON_Delete(before);
    if (cJSON_IsArray(scan->page) && (!scan->page_end || goes_on))
        return 0;
    cvm_dynamo_end(&scan->job, CVM_ANSWER_BROKEN, "DynamoDB answers a page that is none");
    return -1;
}

static void copy(char to[DYNAMO_KEY_SIZE], const char *from, size_t length)
{
    (void)snprintf(to, DYNAMO_KEY_SIZE, "%.*s", (int)length, from);
}

/* --- Pages of a table ------------------------------------------------------------------------- */

int32_t cvm_dynamo_place(const struct scan *scan, char place[CVM_CURSOR_SIZE])
{
    int32_t is_makers = scan->pages->table == MAKERS;
    const char *pk = cvm_dynamo_text(scan->page_end, is_makers ? "device_uid" : "pk"),
               *sk = cvm_dynamo_text(scan->page_end, "sk");
    *place = 0;
    if (!scan->page_end)
        return 0;
    int length = snprintf(place, CVM_CURSOR_SIZE, "%s%s%s", pk, is_makers ? "" : "|", sk);
    return *pk && length > 0 && length <= LONGEST_PLACE ? 0 : -1;
}

/* A value's name, behind "M|", may have any character. */
void cvm_dynamo_begin_at(struct scan *scan, const char *place)
{
    const char *split = strncmp(place, "M|", 2) == 0 ? place + 1 : strrchr(place, '|');
    if (scan->pages->table == MAKERS) {
        copy(scan->pk, place, strlen(place));
    } else if (split) {
        copy(scan->pk, place, (size_t)(split - place));
        copy(scan->sk, split + 1, strlen(split + 1));
    }
}

static void page_answered(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    if (!cvm_dynamo_take_page(scan))
        scan->pages->take(scan);
}

static void print_begin(const struct scan *scan, struct cvm_buffer *body)
{
    char *key = scan->page_end ? cJSON_PrintUnformatted(scan->page_end) : NULL;
    body->failed |= scan->page_end && !key;
    if (key || *scan->pk)
        cvm_buffer_text(body, ",\"ExclusiveStartKey\":");
    if (key)
        cvm_buffer_text(body, key);
    else if (*scan->pk)
        cvm_dynamo_print_key(body, scan->pk, scan->pages->table == MAKERS ? NULL : scan->sk);
    cJSON_free(key);
}

void cvm_dynamo_next_page(struct scan *scan, uint32_t items)
{
    struct cvm_buffer *body = cvm_dynamo_body(&scan->job);
    cvm_dynamo_print_table(body, scan->job.store->tables[scan->pages->table]);
    cvm_buffer_format(body, ",\"ConsistentRead\":true,\"Limit\":%" PRIu32, items);
    print_begin(scan, body);
    cvm_buffer_text(body, scan->pages->request);
    cvm_dynamo_call(&scan->job, scan->pages->call, page_answered);
}

static void scan_page(struct scan *scan)
{
    uint32_t room = scan->answered < scan->limit ? scan->limit - scan->answered : 1;
    cvm_dynamo_next_page(scan, room < PAGE ? room : PAGE);
}

/* It goes on while there is room and time, and where the place can't be told. */
static void page_end(struct scan *scan)
{
    char cursor[CVM_CURSOR_SIZE];
    int32_t has_no_place = cvm_dynamo_place(scan, cursor);
    if (scan->page_end && (has_no_place || !cvm_dynamo_scan_is_over(scan)))
        scan_page(scan);
    else
        cvm_dynamo_scan_end(scan, cursor);
}

/* --- Devices ---------------------------------------------------------------------------------- */

int32_t cvm_dynamo_is_uid(const char *uid)
{
    size_t length =
        strspn(uid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-");
    return length && !uid[length] && length <= 128;
}

static void devices_looked(struct job *job)
{
    struct scan *scan = (struct scan *)(void *)job;
    const cJSON *row;
    cJSON_ArrayForEach(row, scan->page)
    {
        const char *uid = cvm_dynamo_text(row, "device_uid");
        const cJSON *state = cvm_dynamo_state(&job->look, uid);
        if (cvm_dynamo_is_uid(uid) &&
            cvm_dynamo_answer(scan, cvm_dynamo_device(cvm_dynamo_host(&scan->job), row, state))) {
            cvm_dynamo_out_of_memory(job);
            return;
        }
    }
    page_end(scan);
}

static void take_devices(struct scan *scan)
{
    struct job *job = &scan->job;
    const cJSON *row;
    cvm_dynamo_look_clear(&job->look);
    cJSON_ArrayForEach(row, scan->page)
    {
        const char *uid = cvm_dynamo_text(row, "device_uid");
        if (cvm_dynamo_is_uid(uid))
            (void)cvm_dynamo_look_state(&job->look, uid);
    }
    cvm_dynamo_look(job, devices_looked);
}

/* --- Certificates and values ------------------------------------------------------------------ */

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

static void take_items(struct scan *scan)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, scan->page)
    {
        cvm_record_t *record = scan->what == CVM_SCAN_META
                                   ? value_record(cvm_dynamo_host(&scan->job), item)
                                   : cvm_dynamo_certificate(cvm_dynamo_host(&scan->job), item, 1);
        if (cvm_dynamo_answer(scan, record)) {
            cvm_dynamo_out_of_memory(&scan->job);
            return;
        }
    }
    page_end(scan);
}

static const struct pages PAGES[] = {
    [CVM_SCAN_DEVICES] = {SCAN, MAKERS, "," CVM_DYNAMO_MAKERS_PROJECTION "}", take_devices},
    [CVM_SCAN_CERTIFICATES] = {SCAN, OURS,
        ",\"FilterExpression\":\"begins_with(pk,:c)\",\"ExpressionAttributeValues\":{\":c\":{\"S\":"
        "\"C#\"}}}",
        take_items},
    [CVM_SCAN_META] = {QUERY, OURS,
        ",\"ProjectionExpression\":\"pk,sk,version\",\"KeyConditionExpression\":\"pk=:m\","
        "\"ExpressionAttributeValues\":{\":m\":{\"S\":\"M\"}}}",
        take_items},
};

/* --- Getting in ------------------------------------------------------------------------------- */

void cvm_dynamo_scan_clear(struct job *job)
{
    cJSON_Delete(((struct scan *)(void *)job)->page);
    cJSON_Delete(((struct scan *)(void *)job)->page_end);
}

/* SHARD|UID|ID: with an ID the device was answered in part. */
static void take_hints_cursor(struct scan *scan, const char *cursor)
{
    const char *first = strchr(cursor, '|'), *split = strrchr(cursor, '|');
    if (!first || split == first)
        return;
    scan->shard = (uint32_t)strtoul(cursor, NULL, 10) % DYNAMO_SHARDS;
    copy(scan->uid, first + 1, (size_t)(split - first - 1));
    if (split[1])
        copy(scan->rest_uid, scan->uid, strlen(scan->uid));
    (void)snprintf(scan->rest_id, sizeof scan->rest_id, "%s", split + 1);
}

void cvm_dynamo_scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit)
{
    struct store *store = self;
    int32_t is_listed = what == CVM_SCAN_REVOKED || what == CVM_SCAN_SUSPENDED;
    if (what < CVM_SCAN_DEVICES || what > CVM_SCAN_META || (is_listed && !store->lists_revoked)) {
        store->aws.host->complete(op, CVM_ANSWER_INVALID, "no such scan");
        return;
    }
    struct scan *scan = cvm_dynamo_job(store, op, sizeof *scan, VERB_READS, cvm_dynamo_scan_clear);
    if (!scan)
        return;
    scan->what = what;
    scan->before_ms = before_ms;
    scan->limit = limit ? limit : 1;
    if (what == CVM_SCAN_DEVICES || what == CVM_SCAN_CERTIFICATES || what == CVM_SCAN_META) {
        scan->pages = &PAGES[what];
        cvm_dynamo_begin_at(scan, cursor);
        scan_page(scan);
    } else {
        take_hints_cursor(scan, cursor);
        cvm_dynamo_follow_hints(scan);
    }
}
