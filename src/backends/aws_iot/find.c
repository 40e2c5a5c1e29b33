/* A certificate that may have been made, and that nobody recorded, by its key: the newest ones of
 * the account are looked at, as far as that is bearable. */
#include "find.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "pem.h"

#define PAGES     8
#define LOOKS     20
#define PAGE_SIZE "250" /* AWS's largest */
#define AGAIN_MS  1000
#define LATE_MS   120000 /* before a request that nobody waits for any more was sent */

struct find *cvm_iot_find_of(struct step *step)
{
    return (struct find *)(void *)step;
}

static void find_list(struct find *find);

/* There is no time for one more call. And a registration that waits is not held up by others that
 * search, which may be many after a server's end. */
static int32_t must_stop(const struct find *find, enum iot_operation next)
{
    const struct platform *platform = find->step.platform;
    int64_t wait_ms = cvm_aws_pace_wait_ms(&platform->quotas.paces[next]);
    int64_t end_ms = platform->aws.timeout_ms / 4; /* to note how far it came */
    return (find->is_awaited && wait_ms >= QUEUE_MS) ||
           wait_ms + end_ms > cvm_aws_job_left_ms(&find->step.aws);
}

/* --- Looking ---------------------------------------------------------------------------------- */

static void find_described(struct step *step)
{
    struct find *find = cvm_iot_find_of(step);
    const cJSON *description =
        cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "certificateDescription");
    char id[CVM_SHA256_HEX_SIZE], key[CVM_SHA256_HEX_SIZE];
    const char *pem = cvm_iot_text(description, "certificatePem");
    if (!*pem && !cvm_iot_refused(step, MISSING)) {
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT describes no certificate");
        return;
    }
    if (!cvm_iot_read_certificate(pem, id, key) && strcmp(key, find->key) == 0 &&
        strcmp(id, cvm_iot_text(description, "certificateId")) == 0 &&
        strcmp(cvm_iot_text(description, "status"), "INACTIVE") == 0) /* lists lag */
        find->found(find, description);
    else
        cvm_iot_find_on(find);
}

/* One that was made then, and is not active. -1: it is older, and so are all behind it. */
static int32_t is_candidate(const struct find *find, const cJSON *item)
{
    double created_ms =
        1000 * cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(item, "creationDate"));
    if (created_ms < (double)find->since_ms)
        return -1;
    return (!find->until_ms || created_ms <= (double)find->until_ms) &&
           strcmp(cvm_iot_text(item, "status"), "INACTIVE") == 0;
}

static void find_describe(struct find *find)
{
    find->step.answers = CVM_IOT_MISSING;
    cvm_iot_path(&find->step, "certificates", find->after, NULL);
    cvm_iot_call(&find->step, IOT_DESCRIBE_CERTIFICATE, "", find_described);
}

static void find_next_page(struct find *find)
{
    if (!*find->next) {
        find->ended(find);
        return;
    }
    memcpy(find->marker, find->next, sizeof find->marker);
    *find->after = 0;
    if (find->pages == PAGES || must_stop(find, IOT_LIST_CERTIFICATES))
        find->stopped(find);
    else
        find_list(find);
}

/* The next candidate of the page, or the next page. */
void cvm_iot_find_on(struct find *find)
{
    for (cJSON *item; find->page && (item = find->page->child);) {
        int32_t is = is_candidate(find, item);
        if (is > 0 && (find->looks == LOOKS || must_stop(find, IOT_DESCRIBE_CERTIFICATE))) {
            find->stopped(find);
            return;
        }
        item = cJSON_DetachItemViaPointer(find->page, item);
        if (is > 0)
            (void)snprintf(
                find->after, sizeof find->after, "%s", cvm_iot_text(item, "certificateId"));
        cJSON_Delete(item);
        if (is < 0) {
            find->ended(find);
            return;
        }
        if (is > 0) {
            find->looks++;
            find_describe(find);
            return;
        }
    }
    find_next_page(find);
}

/* --- Pages ------------------------------------------------------------------------------------ */

/* What was looked at before, and all in front of it; if it is not there any more, nothing. */
static void skip_seen(struct find *find)
{
    int32_t count = 0, i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, find->page)
    {
        i++;
        if (*find->after && strcmp(cvm_iot_text(item, "certificateId"), find->after) == 0)
            count = i;
    }
    while (count--)
        cJSON_DeleteItemFromArray(find->page, 0);
}

static void find_listed(struct step *step)
{
    struct find *find = cvm_iot_find_of(step);
    const char *next = cvm_iot_text(step->aws.call.answer, "nextMarker");
    if (cvm_iot_refused(step, INVALID)) { /* the marker is too old */
        *find->marker = *find->after = 0;
        find_list(find);
        return;
    }
    cJSON_Delete(find->page);
    find->page = cJSON_DetachItemFromObjectCaseSensitive(step->aws.call.answer, "certificates");
    if (!cJSON_IsArray(find->page)) {
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT answers no list of certificates");
        return;
    }
    if (*next && (strlen(next) >= sizeof find->next || strcmp(next, find->marker) == 0)) {
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT's list of certificates goes round");
        return;
    }
    (void)snprintf(find->next, sizeof find->next, "%s", next);
    skip_seen(find);
    cvm_iot_find_on(find);
}

static void find_list(struct find *find)
{
    static const char *const ANSWERS[] = {INVALID, NULL};
    struct step *step = &find->step;
    step->answers = *find->marker ? ANSWERS : NULL;
    cvm_buffer_clear(&step->query);
    cvm_buffer_text(&step->query, "isAscendingOrder=false");
    if (*find->marker) {
        cvm_buffer_text(&step->query, "&marker=");
        cvm_aws_encode(&step->query, find->marker, 0);
    }
    cvm_buffer_text(&step->query, "&pageSize=" PAGE_SIZE);
    find->pages++;
    cvm_iot_path(step, "certificates", NULL, NULL);
    cvm_iot_call(step, IOT_LIST_CERTIFICATES, step->query.text, find_listed);
}

void cvm_iot_find_begin(struct find *find)
{
    find->pages = find->looks = 0;
    find->begun_ms = cvm_monotonic_ms();
    if (must_stop(find, IOT_LIST_CERTIFICATES))
        find->stopped(find);
    else
        find_list(find);
}

static void find_clear(struct step *step)
{
    cJSON_Delete(cvm_iot_find_of(step)->page);
}

struct find *cvm_iot_find_step(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate, size_t size)
{
    struct step *step = cvm_iot_step_of_size(platform, op, verb, device, certificate, size);
    if (step)
        step->clear = find_clear;
    return step ? cvm_iot_find_of(step) : NULL;
}

/* --- By key ----------------------------------------------------------------------------------- */

static void key_found(struct find *find, const cJSON *description)
{
    if (!cvm_iot_answer_certificate(&find->step, description, "pending"))
        cvm_iot_end(&find->step, CVM_ANSWER_OK, NULL);
}

static void key_again(struct aws_job *job)
{
    struct find *find = cvm_iot_find_of((struct step *)(void *)job);
    *find->marker = *find->after = 0;
    cvm_iot_find_begin(find);
}

static void key_not_found(struct step *step)
{
    cvm_iot_end(step, CVM_ANSWER_NOT_FOUND, NULL);
}

/* A registration is not held up by it: nobody uses what is inactive. */
static void key_stopped(struct find *find)
{
    cvm_iot_note_lost(find, key_not_found);
}

/* It is not there; or not yet: a request may be carried out long after who sent it has given up. */
static void key_ended(struct find *find)
{
    struct step *step = &find->step;
    const cvm_host_t *host = step->platform->aws.host;
    int32_t is_complete = find->begun_ms >= step->platform->lists_lag_until_ms;
    if (is_complete && find->is_doubted) {
        find->since_ms = host->now_ms(step->platform->aws.context) - LATE_MS;
        *find->marker = *find->after = 0;
        key_stopped(find);
    } else if (is_complete)
        key_not_found(step);
    else if (must_stop(find, IOT_LIST_CERTIFICATES) ||
             cvm_aws_job_wait(&step->aws, AGAIN_MS, key_again))
        key_stopped(find);
}

void cvm_iot_find_by_key(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    const struct platform *self = platform;
    const cvm_host_t *host = self->aws.host;
    struct find *find =
        cvm_iot_find_step(platform, op, VERB_READS, device, certificate, sizeof *find);
    if (!find)
        return;
    if (self->ca) { /* what it has signed does not exist before it is recorded */
        key_not_found(&find->step);
        return;
    }
    find->found = key_found;
    find->ended = key_ended;
    find->stopped = key_stopped;
    find->is_awaited = host->op_left_ms(op) >= 0;
    find->is_doubted = cvm_monotonic_ms() < self->lists_lag_until_ms;
    find->since_ms = host->number(certificate, CVM_C_NOT_BEFORE);
    (void)snprintf(
        find->key, sizeof find->key, "%s", host->text(certificate, CVM_C_PUBLIC_KEY_SHA256));
    cvm_iot_find_begin(find);
}
