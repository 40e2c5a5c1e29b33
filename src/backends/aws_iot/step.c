/* Steps as jobs: what they have in common. */
#include <stdio.h>
#include <string.h>

#include "pem.h"
#include "platform.h"

const char *const CVM_IOT_MISSING[] = {MISSING, NULL};
const char *const CVM_IOT_MISSING_OR_FINAL[] = {MISSING, STATE, NULL};

static struct step *step_of(const struct aws_job *job)
{
    return (struct step *)(uintptr_t)job;
}

static void step_clear(struct aws_job *job)
{
    struct step *step = step_of(job);
    if (step->clear)
        step->clear(step);
    cvm_buffer_free(&step->path);
    cvm_buffer_free(&step->query);
    cvm_buffer_free(&step->header);
    cJSON_Delete(step->things);
}

static void step_then(struct aws_job *job)
{
    step_of(job)->then(step_of(job));
}

static int32_t step_takes(const struct aws_job *job)
{
    const char *const *answer = step_of(job)->answers;
    if (step_of(job)->takes_all || job->call.outcome != AWS_ERROR)
        return step_of(job)->takes_all;
    for (; answer && *answer; answer++)
        if (strcmp(job->call.error, *answer) == 0)
            return 1;
    return 0;
}

struct step *cvm_iot_step_of_size(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate, size_t size)
{
    const cvm_host_t *host = platform->aws.host;
    struct step *step = cvm_aws_job(&platform->aws, op, size, verb, step_clear);
    if (!step)
        return NULL;
    step->platform = platform;
    step->device = device;
    step->certificate = certificate;
    step->aws.takes = step_takes;
    step->path.most = step->header.most = step->query.most = 4096;
    if (certificate)
        (void)snprintf(step->certificate_id, sizeof step->certificate_id, "%s",
            host->text(certificate, CVM_C_CERTIFICATE_ID));
    if (device) {
        (void)snprintf(step->thing, sizeof step->thing, "%s", host->text(device, CVM_D_THING_NAME));
        (void)snprintf(step->uid, sizeof step->uid, "%s", host->text(device, CVM_D_DEVICE_UID));
    }
    return step;
}

struct step *cvm_iot_step(struct platform *platform, cvm_op_t *op, enum aws_verb verb,
    const cvm_record_t *device, const cvm_record_t *certificate)
{
    return cvm_iot_step_of_size(platform, op, verb, device, certificate, sizeof(struct step));
}

void cvm_iot_path(struct step *step, const char *first, const char *second, const char *third)
{
    const char *const PARTS[] = {first, second, third};
    cvm_buffer_clear(&step->path);
    for (size_t i = 0; i < 3 && PARTS[i]; i++) {
        cvm_buffer_text(&step->path, "/");
        cvm_aws_encode(&step->path, PARTS[i], 0);
    }
}

void cvm_iot_call(struct step *step, enum iot_operation operation, const char *query,
    void (*then)(struct step *step))
{
    struct aws_call *call = &step->aws.call;
    call->method = cvm_iot_method(operation);
    if (*call->method != 'P') /* of POST and PUT: what it has is an earlier call's */
        cvm_buffer_free(&call->body);
    call->pace = &step->platform->quotas.paces[operation];
    call->path = step->path.text;
    call->query = query;
    call->header = step->header.length ? step->header.text : NULL;
    call->content_type = call->body.length ? "application/json" : NULL;
    call->takes_empty = !cvm_iot_has_answer(operation);
    call->body.failed |= step->path.failed || step->header.failed;
    step->then = then;
    cvm_aws_job_call(&step->aws, cvm_iot_is_write(operation), step_then);
}

int32_t cvm_iot_refused(const struct step *step, const char *error)
{
    return step->aws.call.outcome == AWS_ERROR && strcmp(step->aws.call.error, error) == 0;
}

void cvm_iot_end(struct step *step, cvm_answer_t answer, const char *text)
{
    cvm_aws_job_end(&step->aws, answer, text);
}

const char *cvm_iot_text(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

int64_t cvm_iot_time(const cJSON *object, const char *name)
{
    double ms = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return ms > 0 && ms < 1e15 ? (int64_t)ms : 0;
}

/* --- Lists ------------------------------------------------------------------------------------ */

#define MOST_PAGES 16
#define PAGE_SIZE  "100"

static void list_page(struct step *step, const char *token);

static int32_t is_list_of_texts(const cJSON *page)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, page)
    {
        if (!cJSON_IsString(item))
            return 0;
    }
    return cJSON_IsArray(page);
}

static void list_got(struct step *step)
{
    cJSON *answer = step->aws.call.answer;
    if (step->aws.call.outcome != AWS_OK) {
        step->after_list(step);
        return;
    }
    cJSON *page = cJSON_DetachItemFromObjectCaseSensitive(answer, step->listed_as);
    if (!is_list_of_texts(page)) {
        cJSON_Delete(page);
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT answers no list");
        return;
    }
    while (page->child)
        (void)cJSON_AddItemToArray(step->things, cJSON_DetachItemViaPointer(page, page->child));
    cJSON_Delete(page);
    const char *token = cvm_iot_text(answer, "nextToken");
    if (!*token)
        step->after_list(step);
    else if (++step->pages == MOST_PAGES)
        cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "AWS IoT's list has no end");
    else
        list_page(step, token);
}

static void list_page(struct step *step, const char *token)
{
    cvm_buffer_clear(&step->query);
    cvm_buffer_text(&step->query, "maxResults=" PAGE_SIZE);
    if (*token) {
        cvm_buffer_text(&step->query, "&nextToken=");
        cvm_aws_encode(&step->query, token, 0);
    }
    if (step->query.failed)
        cvm_aws_job_out_of_memory(&step->aws);
    else
        cvm_iot_call(step, step->lists, step->query.text, list_got);
}

void cvm_iot_list(
    struct step *step, enum iot_operation operation, const char *name, void (*then)(struct step *))
{
    cJSON_Delete(step->things);
    step->things = cJSON_CreateArray();
    step->lists = operation;
    step->listed_as = name;
    step->after_list = then;
    step->pages = 0;
    if (step->things)
        list_page(step, "");
    else
        cvm_aws_job_out_of_memory(&step->aws);
}

cJSON *cvm_iot_next(struct step *step)
{
    return step->things && step->things->child
               ? cJSON_DetachItemViaPointer(step->things, step->things->child)
               : NULL;
}

/* --- The store -------------------------------------------------------------------------------- */

#define MOST_ROWS 64 /* of a device */
#define PAGE      256

static void store_told(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct step *step = argument;
    if (!cvm_aws_job_told(&step->aws))
        step->told(step, op, answer);
}

/* Before each question; the host to ask. */
static const cvm_host_t *store_asks(struct step *step, iot_told told)
{
    step->told = told;
    cvm_aws_job_asks(&step->aws);
    return step->platform->aws.host;
}

/* Behind each: it could be asked, or not. */
static void store_asked(struct step *step, int32_t failed)
{
    if (failed && !cvm_aws_job_told(&step->aws))
        cvm_aws_job_out_of_memory(&step->aws);
}

void cvm_iot_get_rows(struct step *step, const char *device_uid, iot_told told)
{
    const cvm_host_t *host = store_asks(step, told);
    store_asked(step, host->store_get_certificates(
                          step->platform->aws.context, device_uid, MOST_ROWS, store_told, step));
}

void cvm_iot_find_owner(struct step *step, const char *certificate_id, iot_told told)
{
    const cvm_host_t *host = store_asks(step, told);
    store_asked(step, host->store_find(step->platform->aws.context, CVM_FIND_CERTIFICATE,
                          certificate_id, store_told, step));
}

void cvm_iot_scan_values(struct step *step, const char *cursor, iot_told told)
{
    const cvm_host_t *host = store_asks(step, told);
    store_asked(step, host->store_scan(step->platform->aws.context, CVM_SCAN_META, cursor, 0, PAGE,
                          store_told, step));
}

void cvm_iot_get_value(struct step *step, const char *name, iot_told told)
{
    const cvm_host_t *host = store_asks(step, told);
    store_asked(step, host->store_meta_get(step->platform->aws.context, name, store_told, step));
}

void cvm_iot_put_value(
    struct step *step, const char *name, int64_t version, const char *value, iot_told told)
{
    const cvm_host_t *host = store_asks(step, told);
    store_asked(step,
        host->store_meta_put(step->platform->aws.context, name, version, value, store_told, step));
}

/* --- Certificates ----------------------------------------------------------------------------- */

int32_t cvm_iot_answer_certificate(struct step *step, const cJSON *description, const char *state)
{
    const cvm_host_t *host = step->platform->aws.host;
    char id[CVM_SHA256_HEX_SIZE], key[CVM_SHA256_HEX_SIZE];
    if (cvm_iot_read_certificate(cvm_iot_text(description, "certificatePem"), id, key) ||
        strcmp(id, cvm_iot_text(description, "certificateId")) != 0) {
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT describes a certificate that is none");
        return -1;
    }
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    cvm_iot_learn_arn(step->platform, cvm_iot_text(description, "certificateArn"));
    if (!record || host->set_text(record, CVM_C_CERTIFICATE_ID, id) ||
        host->set_text(record, CVM_C_PEM, cvm_iot_text(description, "certificatePem")) ||
        host->set_text(record, CVM_C_STATE, state)) {
        host->record_free(record);
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT describes a certificate that is too long");
        return -1;
    }
    if (host->op_add_record(step->aws.op, record)) {
        cvm_aws_job_out_of_memory(&step->aws);
        return -1;
    }
    return 0;
}

/* --- ARNs ------------------------------------------------------------------------------------- */

void cvm_iot_learn_arn(struct platform *platform, const char *arn)
{
    const char *id = strrchr(arn, '/');
    if (id && (size_t)(id + 1 - arn) < sizeof platform->arn_before && strncmp(arn, "arn:", 4) == 0)
        (void)snprintf(
            platform->arn_before, sizeof platform->arn_before, "%.*s", (int)(id + 1 - arn), arn);
}

void cvm_iot_principal(struct step *step, const char *arn)
{
    cvm_buffer_clear(&step->header);
    cvm_buffer_text(&step->header, "x-amzn-principal: ");
    if (arn)
        cvm_buffer_text(&step->header, arn);
    else
        cvm_iot_print_arn(step, &step->header);
}

void cvm_iot_print_arn(const struct step *step, struct cvm_buffer *to)
{
    cvm_buffer_text(to, step->platform->arn_before);
    cvm_buffer_text(to, step->certificate_id);
}
