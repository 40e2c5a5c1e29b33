/* Certificates: made inactive, activated, revoked, deleted. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "own_ca.h"
#include "pem.h"
#include "platform.h"

#define CONFLICT     "DeleteConflictException"
#define LISTS_LAG_MS 5000 /* AWS says no more than that its lists are eventually consistent */
#define DETACH_MS    500  /* until a detached certificate is asked for again: AWS takes seconds */

static const cvm_host_t *host_of(const struct step *step)
{
    return step->platform->aws.host;
}

/* --- The ARN ---------------------------------------------------------------------------------- */

static void arn_described(struct step *step)
{
    const cJSON *description =
        cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "certificateDescription");
    if (cvm_iot_refused(step, MISSING)) {
        cvm_iot_end(step, CVM_ANSWER_NOT_FOUND, step->aws.call.text);
        return;
    }
    cvm_iot_learn_arn(step->platform, cvm_iot_text(description, "certificateArn"));
    if (!*step->platform->arn_before)
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT answers no ARN");
    else
        step->after_arn(step);
}

void cvm_iot_with_arn(struct step *step, void (*then)(struct step *step))
{
    if (*step->platform->arn_before) {
        then(step);
        return;
    }
    step->after_arn = then;
    cvm_iot_path(step, "certificates", step->certificate_id, NULL);
    step->answers = CVM_IOT_MISSING;
    cvm_iot_call(step, IOT_DESCRIBE_CERTIFICATE, "", arn_described);
}

/* --- Made ------------------------------------------------------------------------------------- */

/* The certificate that AWS answers: of the id that it says, and for the key that was asked for. */
static int32_t is_as_asked(const struct step *step, const char *pem, char id[CVM_SHA256_HEX_SIZE])
{
    char key[CVM_SHA256_HEX_SIZE], wanted[CVM_SHA256_HEX_SIZE];
    size_t length;
    const uint8_t *spki = host_of(step)->op_public_key(step->aws.op, &length);
    return spki && !cvm_sha256_hex(spki, length, wanted) &&
           !cvm_iot_read_certificate(pem, id, key) && strcmp(key, wanted) == 0 &&
           strcmp(id, cvm_iot_text(step->aws.call.answer, "certificateId")) == 0;
}

static void certificate_made(struct step *step)
{
    const cvm_host_t *host = host_of(step);
    const cJSON *answer = step->aws.call.answer;
    const char *pem = cvm_iot_text(answer, "certificatePem");
    char id[CVM_SHA256_HEX_SIZE];
    cvm_record_t *record;
    step->aws.in_doubt = 1; /* it was made: whatever fails from here on leaves it to be found */
    if (!is_as_asked(step, pem, id)) {
        cvm_iot_end(
            step, CVM_ANSWER_BROKEN, "AWS IoT answers a certificate that was not asked for");
        return;
    }
    cvm_iot_learn_arn(step->platform, cvm_iot_text(answer, "certificateArn"));
    record = host->record_new(CVM_RECORD_CERTIFICATE);
    if (!record || host->set_text(record, CVM_C_PEM, pem) ||
        host->set_text(record, CVM_C_CERTIFICATE_ID, id)) {
        host->record_free(record);
        cvm_aws_job_out_of_memory(&step->aws);
        return;
    }
    if (host->op_add_record(step->aws.op, record))
        cvm_aws_job_out_of_memory(&step->aws);
    else
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

/* Nobody knows whether it was made: lists tell, a while later. */
static void certificate_cleared(struct step *step)
{
    if (step->aws.in_doubt)
        step->platform->lists_lag_until_ms = cvm_monotonic_ms() + LISTS_LAG_MS;
}

/* On a connection of its own: on one that was kept libcurl would send it again by itself, and there
 * would be two. */
void cvm_iot_create_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (!step)
        return;
    if (step->platform->ca) {
        cvm_iot_ca_sign(step);
        return;
    }
    const char *csr = host_of(step)->op_csr(op);
    struct cvm_buffer *body = cvm_aws_job_body(&step->aws);
    if (!csr) {
        cvm_aws_job_out_of_memory(&step->aws);
        return;
    }
    cvm_buffer_text(body, "{\"certificateSigningRequest\":");
    cvm_buffer_json(body, csr);
    cvm_buffer_text(body, "}");
    cvm_iot_path(step, "certificates", NULL, NULL);
    step->aws.call.is_unsafe = 1;
    step->clear = certificate_cleared;
    cvm_iot_call(step, IOT_CREATE_CERTIFICATE, "setAsActive=false", certificate_made);
}

/* --- Its status ------------------------------------------------------------------------------- */

static void status_set(struct step *step)
{
    if (cvm_iot_refused(step, MISSING) || cvm_iot_refused(step, STATE))
        cvm_iot_end(step, CVM_ANSWER_NOT_FOUND, step->aws.call.text);
    else
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

static void set_status(void *platform, cvm_op_t *op, const cvm_record_t *device,
    const cvm_record_t *certificate, enum iot_operation operation, const char *query)
{
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (!step)
        return;
    cvm_iot_path(step, "certificates", step->certificate_id, NULL);
    step->answers = CVM_IOT_MISSING_OR_FINAL;
    cvm_iot_call(step, operation, query, status_set);
}

void cvm_iot_activate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    set_status(platform, op, device, certificate, IOT_UPDATE_CERTIFICATE, "newStatus=ACTIVE");
}

void cvm_iot_deactivate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    set_status(platform, op, device, certificate, IOT_RETIRE_CERTIFICATE, "newStatus=INACTIVE");
}

/* Final at AWS. */
void cvm_iot_revoke(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    set_status(platform, op, device, certificate, IOT_RETIRE_CERTIFICATE, "newStatus=REVOKED");
}

/* --- Deleted ---------------------------------------------------------------------------------- */

/* What stands in the way is said by the refusal, and taken away: its status, things; then again.
 * Most have neither, and deactivating takes from the narrowest quota. */
static void delete_again(struct aws_job *job);

/* Takes it off the next thing; AWS takes seconds for that. */
static void delete_detach(struct step *step)
{
    cJSON *thing = cvm_iot_next(step);
    if (!thing) {
        if (cvm_aws_job_wait(&step->aws, DETACH_MS, delete_again))
            cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "the certificate still hangs on things");
        return;
    }
    cvm_iot_path(step, "things", thing->valuestring, "principals");
    cJSON_Delete(thing);
    step->answers = CVM_IOT_MISSING;
    cvm_iot_call(step, IOT_DETACH_THING_PRINCIPAL, "", delete_detach);
}

static void delete_listed(struct step *step)
{
    if (cvm_iot_refused(step, MISSING))
        step->deleted(step);
    else
        delete_detach(step);
}

static void delete_list(struct step *step)
{
    cvm_iot_principal(step, NULL);
    cvm_iot_path(step, "principals", "things", NULL);
    step->answers = CVM_IOT_MISSING;
    cvm_iot_list(step, IOT_LIST_PRINCIPAL_THINGS, "things", delete_listed);
}

static void delete_deactivated(struct step *step)
{
    delete_again(&step->aws);
}

static void delete_deactivate(struct step *step)
{
    cvm_iot_path(step, "certificates", step->certificate_id, NULL);
    step->answers = CVM_IOT_MISSING_OR_FINAL;
    cvm_iot_call(step, IOT_RETIRE_CERTIFICATE, "newStatus=INACTIVE", delete_deactivated);
}

static void delete_deleted(struct step *step)
{
    if (step->aws.call.outcome == AWS_OK || cvm_iot_refused(step, MISSING))
        step->deleted(step);
    else if (cvm_iot_refused(step, STATE)) /* also when an owner that woke up has activated it */
        delete_deactivate(step);
    else
        cvm_iot_with_arn(step, delete_list);
}

static void delete_again(struct aws_job *job)
{
    static const char *const ANSWERS[] = {MISSING, STATE, CONFLICT, NULL};
    struct step *step = (struct step *)(void *)job;
    cvm_buffer_clear(&step->header);
    cvm_iot_path(step, "certificates", step->certificate_id, NULL);
    step->answers = ANSWERS;
    cvm_iot_call(step, IOT_DELETE_CERTIFICATE, "forceDelete=true", delete_deleted);
}

void cvm_iot_delete(struct step *step, void (*deleted)(struct step *step))
{
    step->deleted = deleted;
    delete_again(&step->aws);
}

static void certificate_deleted(struct step *step)
{
    cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

void cvm_iot_delete_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (step)
        cvm_iot_delete(step, certificate_deleted);
}
