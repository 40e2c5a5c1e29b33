/* Policies, things, and what hangs on them. */
#include <stdio.h>
#include <string.h>

#include "own_ca.h"

static void step_done(struct step *step)
{
    if (cvm_iot_refused(step, MISSING))
        cvm_iot_end(step, CVM_ANSWER_NOT_FOUND, step->aws.call.text);
    else
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

static void begin_with_arn(struct platform *platform, cvm_op_t *op, const cvm_record_t *device,
    const cvm_record_t *certificate, void (*then)(struct step *step))
{
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (step)
        cvm_iot_with_arn(step, then);
}

/* --- Policies --------------------------------------------------------------------------------- */

static void policy_call(struct step *step, enum iot_operation operation)
{
    struct cvm_buffer *body = cvm_aws_job_body(&step->aws), arn = {.most = 512};
    cvm_iot_print_arn(step, &arn);
    cvm_buffer_text(body, "{\"target\":");
    cvm_buffer_json(body, arn.text ? arn.text : "");
    cvm_buffer_text(body, "}");
    body->failed |= arn.failed;
    cvm_buffer_free(&arn);
    cvm_iot_path(step, "target-policies", step->platform->policy, NULL);
    step->answers = CVM_IOT_MISSING;
    cvm_iot_call(step, operation, "", step_done);
}

static void policy_attach(struct step *step)
{
    policy_call(step, IOT_ATTACH_POLICY);
}

static void policy_detach(struct step *step)
{
    policy_call(step, IOT_DETACH_POLICY);
}

static void policy_registered(struct step *step)
{
    cvm_iot_with_arn(step, policy_attach);
}

/* What AWS has not made, it is told of first: by now it is recorded. */
void cvm_iot_attach_policy(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (step && step->platform->ca)
        cvm_iot_ca_register(step, policy_registered);
    else if (step)
        cvm_iot_with_arn(step, policy_attach);
}

void cvm_iot_detach_policy(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    begin_with_arn(platform, op, device, certificate, policy_detach);
}

/* --- Principals ------------------------------------------------------------------------------- */

static void principal_call(struct step *step, enum iot_operation operation, const char *query)
{
    cvm_iot_principal(step, NULL);
    cvm_iot_path(step, "things", step->thing, "principals");
    step->answers = CVM_IOT_MISSING;
    cvm_iot_call(step, operation, query, step_done);
}

static void principal_attach(struct step *step)
{
    principal_call(step, IOT_ATTACH_THING_PRINCIPAL,
        step->platform->is_exclusive ? "thingPrincipalType=EXCLUSIVE_THING" : "");
}

static void principal_detach(struct step *step)
{
    principal_call(step, IOT_DETACH_THING_PRINCIPAL, "");
}

void cvm_iot_attach_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    begin_with_arn(platform, op, device, certificate, principal_attach);
}

void cvm_iot_detach_certificate(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    begin_with_arn(platform, op, device, certificate, principal_detach);
}

/* --- Things ----------------------------------------------------------------------------------- */

#define OURS      "libcvm"
#define REFERENCE "iot-core-cvm" /* the reference system's things, also those of its failures */

/* A stranger's thing is taken over: what hangs on it goes off it, and is deactivated if it hangs on
 * nothing else. */
static void adopt_next(struct step *step);

static void adopt_detach(struct step *step)
{
    cvm_iot_path(step, "things", step->thing, "principals");
    step->answers = CVM_IOT_MISSING;
    cvm_iot_call(step, IOT_DETACH_THING_PRINCIPAL, "", adopt_next);
}

/* Of a certificate: on how many things it hangs. */
static void adopt_things_told(struct step *step)
{
    const cJSON *things = cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "things");
    const char *id = strstr(step->header.text, ":cert/");
    int32_t has_more = *cvm_iot_text(step->aws.call.answer, "nextToken") != 0;
    if (!cvm_iot_refused(step, MISSING) && !cJSON_IsArray(things)) {
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT answers no list");
        return;
    }
    if (!id || has_more || cJSON_GetArraySize(things) > 1) {
        adopt_detach(step);
        return;
    }
    cvm_iot_path(step, "certificates", id + strlen(":cert/"), NULL);
    step->answers = CVM_IOT_MISSING_OR_FINAL;
    cvm_iot_call(step, IOT_RETIRE_CERTIFICATE, "newStatus=INACTIVE", adopt_detach);
}

/* The next principal that is not the device's new certificate, from an attempt before this one. */
static cJSON *adopt_principal(struct step *step)
{
    cJSON *principal;
    while ((principal = cvm_iot_next(step)) && *step->certificate_id &&
           strstr(principal->valuestring, step->certificate_id))
        cJSON_Delete(principal);
    return principal;
}

/* It becomes a header's value: no line ends in it. */
static int32_t is_header_text(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || (unsigned char)*text > '~')
            return 0;
    return 1;
}

static void adopt_next(struct step *step)
{
    cJSON *principal = adopt_principal(step);
    if (!principal) {
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
        return;
    }
    int32_t is_one = is_header_text(principal->valuestring);
    cvm_iot_principal(step, is_one ? principal->valuestring : "");
    cJSON_Delete(principal);
    if (!is_one) {
        cvm_iot_end(step, CVM_ANSWER_BROKEN, "AWS IoT answers a principal that can be none");
        return;
    }
    cvm_iot_path(step, "principals", "things", NULL);
    step->answers = CVM_IOT_MISSING;
    cvm_iot_call(step, IOT_LIST_PRINCIPAL_THINGS, "", adopt_things_told);
}

static void adopt(struct step *step)
{
    char text[AWS_TEXT_SIZE];
    (void)snprintf(text, sizeof text, "thing '%.128s' is taken over (aws.adopt)", step->thing);
    step->platform->aws.host->log(step->platform->aws.context, CVM_LEVEL_WARNING, text);
    cvm_iot_path(step, "things", step->thing, "principals");
    step->answers = CVM_IOT_MISSING;
    cvm_iot_list(step, IOT_LIST_THING_PRINCIPALS, "principals", adopt_next);
}

/* What makes a thing a device's: attributes that name it, or that it was registered before, by
 * whatever attributes its users have given it since. */
static void thing_described(struct step *step)
{
    const cvm_host_t *host = step->platform->aws.host;
    const cJSON *attributes = cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "attributes");
    const char *made_by = cvm_iot_text(attributes, "registered_via");
    int32_t is_named = strcmp(cvm_iot_text(attributes, "device_uid"), step->uid) == 0;
    char text[AWS_TEXT_SIZE];
    if (*host->text(step->device, CVM_D_REGISTERED_ON) || (is_named && strcmp(made_by, OURS) == 0))
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
    else if (is_named && strcmp(made_by, REFERENCE) == 0)
        cvm_iot_end(step,
            host->op_set_number(step->aws.op, CVM_OUT_ADOPTED, 1) ? CVM_ANSWER_UNAVAILABLE
                                                                  : CVM_ANSWER_OK,
            NULL);
    else if (step->platform->adopts)
        adopt(step);
    else {
        (void)snprintf(text, sizeof text,
            "AWS IoT has a thing '%.128s' already, and it is not this device's", step->thing);
        cvm_iot_end(step, CVM_ANSWER_INVALID, text);
    }
}

static void thing_created(struct step *step)
{
    if (!cvm_iot_refused(step, EXISTS)) {
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
        return;
    }
    step->answers = NULL;
    cvm_iot_call(step, IOT_DESCRIBE_THING, "", thing_described);
}

void cvm_iot_create_thing(
    void *platform, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    static const char *const ANSWERS[] = {EXISTS, NULL};
    struct step *step = cvm_iot_step(platform, op, VERB_STEPS, device, certificate);
    if (!step)
        return;
    struct cvm_buffer *body = cvm_aws_job_body(&step->aws);
    cvm_buffer_text(body, "{\"attributePayload\":{\"attributes\":{\"device_uid\":");
    cvm_buffer_json(body, step->uid);
    cvm_buffer_text(body, ",\"registered_via\":\"" OURS "\"}}}");
    cvm_iot_path(step, "things", step->thing, NULL);
    step->answers = ANSWERS;
    cvm_iot_call(step, IOT_CREATE_THING, "", thing_created);
}
