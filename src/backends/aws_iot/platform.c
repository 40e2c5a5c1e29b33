/* The AWS IoT platform's table of steps, its life, and its properties. */
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "aws_iot.h"
#include "base/crypto.h"
#include "own_ca.h"

/* --- Create, open, close ---------------------------------------------------------------------- */

static void platform_destroy(void *self)
{
    cvm_iot_endpoint_clear(self);
    cvm_iot_ca_clear(self);
    free(self);
}

static cvm_answer_t platform_create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    (void)user_data;
    (void)location;
    struct platform *platform = calloc(1, sizeof *platform);
    if (!platform || cvm_crypto_init()) {
        free(platform);
        (void)snprintf(error, error_size, "out of memory");
        return CVM_ANSWER_INVALID;
    }
    platform->aws.host = host;
    platform->aws.context = context;
    platform->aws.timeout_ms = host->property_number(context, "aws.timeout");
    platform->policy = host->property(context, "policy.name");
    platform->is_exclusive = host->property_number(context, "aws.exclusive_thing") != 0;
    platform->adopts = host->property_number(context, "aws.adopt") != 0;
    if (cvm_iot_endpoint_init(platform, error, error_size) ||
        cvm_aws_client_init(
            &platform->aws.client, host, context, "iot", "iot", error, error_size) ||
        cvm_iot_ca_load(platform, error, error_size)) {
        free(platform);
        return CVM_ANSWER_INVALID;
    }
    cvm_iot_quotas_init(&platform->quotas, host, context);
    if (platform->ca)
        platform->quotas.left_out = IOT_CREATE_CERTIFICATE;
    *result = platform;
    return CVM_ANSWER_OK;
}

static void endpoint_known(struct step *step)
{
    cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

static void providers_told(struct step *step)
{
    const struct aws_backend *aws = &step->platform->aws;
    const cJSON *providers =
        cJSON_GetObjectItemCaseSensitive(step->aws.call.answer, "certificateProviders");
    char text[AWS_TEXT_SIZE];
    if (step->aws.call.outcome != AWS_OK)
        (void)snprintf(text, sizeof text,
            "whether the account has a certificate provider can't be told: %.200s",
            step->aws.call.text);
    else
        (void)snprintf(text, sizeof text,
            "certificates are signed by the account's certificate provider '%.128s', not by AWS "
            "IoT",
            cvm_iot_text(cJSON_GetArrayItem(providers, 0), "certificateProviderName"));
    if (step->aws.call.outcome != AWS_OK || cJSON_GetArraySize(providers))
        aws->host->log(aws->context, CVM_LEVEL_WARNING, text);
    cvm_iot_with_endpoint(step, endpoint_known);
}

static void policy_told(struct step *step)
{
    char text[AWS_TEXT_SIZE];
    if (cvm_iot_refused(step, MISSING)) {
        (void)snprintf(text, sizeof text, "AWS IoT has no policy '%.128s' (policy.name)",
            step->platform->policy);
        cvm_iot_end(step, CVM_ANSWER_INVALID, text);
        return;
    }
    step->takes_all = 1;
    cvm_buffer_clear(&step->path);
    cvm_buffer_text(&step->path, "/certificate-providers/");
    cvm_iot_call(step, IOT_LIST_CERTIFICATE_PROVIDERS, "", providers_told);
}

/* A server looks for what every registration would fail for; and whether certificates are what
 * AWS's documents say. */
static void platform_open(void *self, cvm_op_t *op, uint32_t how)
{
    struct platform *platform = self;
    if (cvm_aws_backend_open(&platform->aws)) {
        platform->aws.host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return;
    }
    cvm_iot_ca_tell(platform);
    if (!how) { /* a command, which comes by for a verb */
        platform->aws.host->complete(op, CVM_ANSWER_OK, NULL);
        return;
    }
    struct step *step = cvm_iot_asking_step(platform, op, VERB_ASKS, NULL, NULL);
    if (!step)
        return;
    step->answers = CVM_IOT_MISSING;
    cvm_iot_path(step, "policies", platform->policy, NULL);
    cvm_iot_call(step, IOT_GET_POLICY, "", policy_told);
}

/* What AWS told before counts until it has told anew. */
static void platform_reload(void *self, cvm_op_t *op)
{
    struct platform *platform = self;
    cvm_iot_forget_endpoint(platform);
    platform->aws.host->complete(op, CVM_ANSWER_OK, NULL);
}

static void platform_close(void *self, cvm_op_t *op)
{
    cvm_aws_backend_close(&((struct platform *)self)->aws, op);
}

/* --- What the device is told ------------------------------------------------------------------ */

static void prepare_answer(struct step *step)
{
    const cvm_host_t *host = step->platform->aws.host;
    cvm_op_t *op = step->aws.op;
    char *chain = cvm_iot_ca_chain(step->platform, step->certificate);
    int32_t failed = !chain ||
                     host->op_set_text(op, CVM_OUT_ENDPOINT, step->platform->endpoint.address) ||
                     host->op_set_text(op, CVM_OUT_ROOT_CA, cvm_iot_root_ca(step->platform)) ||
                     host->op_set_text(op, CVM_OUT_CHAIN, chain);
    free(chain);
    if (failed)
        cvm_aws_job_out_of_memory(&step->aws);
    else
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

static void prepare_admitted(struct aws_job *job)
{
    cvm_iot_with_endpoint((struct step *)(void *)job, prepare_answer);
}

static void platform_prepare(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    struct platform *platform = self;
    struct step *step = cvm_iot_asking_step(platform, op, VERB_READS, device, certificate);
    const cvm_host_t *host = platform->aws.host;
    int64_t wait_ms = 0, left_ms = host->op_left_ms(op);
    uint32_t retry_after_s;
    if (!step)
        return;
    if (left_ms < 0 || left_ms > cvm_aws_job_left_ms(&step->aws))
        left_ms = cvm_aws_job_left_ms(&step->aws);
    if (!certificate && cvm_iot_admit(&platform->quotas, left_ms, &wait_ms, &retry_after_s)) {
        (void)host->op_set_number(op, CVM_OUT_RETRY_AFTER_S, retry_after_s);
        cvm_iot_end(step, CVM_ANSWER_BUSY, "AWS IoT's quota is spent for now");
        return;
    }
    if (!wait_ms)
        prepare_admitted(&step->aws);
    else if (cvm_aws_job_wait(&step->aws, wait_ms, prepare_admitted))
        cvm_aws_job_out_of_memory(&step->aws);
}

/* --- Getting in ------------------------------------------------------------------------------- */

static const cvm_platform_ops_t AWS_IOT = {
    .size = sizeof(cvm_platform_ops_t),
    .flags = CVM_PLATFORM_OUTSIDE_EFFECTS,
    .create = platform_create,
    .open = platform_open,
    .prepare = platform_prepare,
    .create_certificate = cvm_iot_create_certificate,
    .delete_certificate = cvm_iot_delete_certificate,
    .attach_policy = cvm_iot_attach_policy,
    .detach_policy = cvm_iot_detach_policy,
    .create_thing = cvm_iot_create_thing,
    .attach_certificate = cvm_iot_attach_certificate,
    .detach_certificate = cvm_iot_detach_certificate,
    .activate = cvm_iot_activate,
    .deactivate = cvm_iot_deactivate,
    .revoke = cvm_iot_revoke,
    .suspend = cvm_iot_suspend,
    .find_certificates = cvm_iot_find_certificates,
    .find_by_key = cvm_iot_find_by_key,
    .reload = platform_reload,
    .close = platform_close,
    .destroy = platform_destroy,
    .find_lost = cvm_iot_find_lost,
};

static const cvm_property_row_t PROPERTIES[] = {
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.endpoint_iot", CVM_TYPE_TEXT, "",
        NULL, "AWS IoT's endpoint for control; empty: the region's."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.iot_root_ca_url", CVM_TYPE_TEXT,
        "https://www.amazontrust.com/repository/AmazonRootCA1.pem", NULL,
        "The root CA that devices are told to trust at their endpoint. Amazon's own ship with the "
        "library; another one is fetched, from where Amazon's roots (or aws.root_ca) vouch for."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.certificates", CVM_TYPE_PATH, "",
        NULL,
        "Who signs devices' certificates: empty for AWS IoT, or local:FOLDER for a CA as "
        "`cvm init` makes it; then AWS IoT is told of each."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.adopt", CVM_TYPE_BOOL, "off",
        NULL,
        "Whether a device takes over a thing of its name that somebody else has made; the "
        "certificates on it are taken off, and deactivated."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.exclusive_thing", CVM_TYPE_BOOL,
        "on", NULL, "Whether a certificate may hang on its device's thing alone."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.timeout", CVM_TYPE_DURATION,
        "10s", "1s to 1min",
        "How long a step of AWS IoT's may take, with all that is tried again."},
};

int32_t cvm_plugin_aws_iot(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    int32_t failed = host->add_platform(registry, "aws-iot", &AWS_IOT, user_data, NULL, 0);
    for (size_t i = 0; i < sizeof PROPERTIES / sizeof PROPERTIES[0] && !failed; i++)
        failed = host->add_property(registry, &PROPERTIES[i], NULL, 0);
    return failed ? failed : cvm_iot_add_quota_properties(host, registry);
}
