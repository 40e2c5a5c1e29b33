/* All of a device's certificates: suspended, and found by its thing. */
#include <stdlib.h>
#include <string.h>

#include "platform.h"

/* --- Suspended -------------------------------------------------------------------------------- */

/* One after the other, as the device's is_enabled says. What is revoked, or gone, stays so. */
static void suspend_next(struct step *step)
{
    cJSON *id = cvm_iot_next(step);
    const cvm_host_t *host = step->platform->aws.host;
    if (!id) {
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
        return;
    }
    cvm_iot_path(step, "certificates", id->valuestring, NULL);
    cJSON_Delete(id);
    step->answers = CVM_IOT_MISSING_OR_FINAL;
    cvm_iot_call(step, IOT_RETIRE_CERTIFICATE,
        host->number(step->device, CVM_D_IS_ENABLED) ? "newStatus=ACTIVE" : "newStatus=INACTIVE",
        suspend_next);
}

static void suspend_got(struct step *step, const cvm_op_t *found, cvm_answer_t answer)
{
    const cvm_host_t *host = step->platform->aws.host;
    const cvm_record_t *certificate;
    if (answer != CVM_ANSWER_OK) {
        cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "the store does not answer");
        return;
    }
    step->things = cJSON_CreateArray();
    int32_t failed = !step->things;
    for (uint32_t i = 0; !failed && (certificate = host->op_record(found, i)); i++) {
        const char *state = host->text(certificate, CVM_C_STATE);
        if (strcmp(state, "current") == 0 || strcmp(state, "retiring") == 0)
            failed = !cJSON_AddItemToArray(
                step->things, cJSON_CreateString(host->text(certificate, CVM_C_CERTIFICATE_ID)));
    }
    if (failed)
        cvm_aws_job_out_of_memory(&step->aws);
    else
        suspend_next(step);
}

void cvm_iot_suspend(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (step)
        cvm_iot_get_rows(step, step->uid, suspend_got);
}

/* --- Found ------------------------------------------------------------------------------------ */

static void hanging_next(struct step *step);

static const char *hanging_state(const char *status)
{
    if (strcmp(status, "ACTIVE") == 0)
        return "current";
    return strcmp(status, "REVOKED") == 0 ? "revoked" : "pending";
}

static void hanging_described(struct step *step)
{
    const cJSON *description =
        cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "certificateDescription");
    if (cvm_iot_refused(step, MISSING) || !cvm_iot_answer_certificate(step, description,
                                              hanging_state(cvm_iot_text(description, "status"))))
        hanging_next(step);
}

/* Principals are ARNs; those of certificates end with an id. */
static void hanging_next(struct step *step)
{
    for (cJSON *principal; (principal = cvm_iot_next(step));) {
        const char *id = strstr(principal->valuestring, ":cert/");
        if (id)
            cvm_iot_path(step, "certificates", id + strlen(":cert/"), NULL);
        cJSON_Delete(principal);
        if (id) {
            step->answers = CVM_IOT_MISSING;
            cvm_iot_call(step, IOT_DESCRIBE_CERTIFICATE, "", hanging_described);
            return;
        }
    }
    cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

static void hanging_listed(struct step *step)
{
    if (cvm_iot_refused(step, MISSING)) {
        cvm_iot_end(step, CVM_ANSWER_NOT_FOUND, NULL);
        return;
    }
    hanging_next(step);
}

void cvm_iot_find_certificates(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct step *step = cvm_iot_step(platform, op, VERB_READS, device, certificate);
    if (!step)
        return;
    cvm_iot_path(step, "things", step->thing, "principals");
    step->answers = CVM_IOT_MISSING;
    cvm_iot_list(step, IOT_LIST_THING_PRINCIPALS, "principals", hanging_listed);
}
