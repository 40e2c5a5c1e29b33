/* One table of operations. A registration is let in before it has touched anything, at the pace of
 * the narrowest of its calls: what has begun shall end. */
#include "operations.h"

#include <stdlib.h>

#include "base/clock.h"

#define NEEDED_MS                                                                                  \
    INT64_C(3000) /* of the caller's time, for the calls themselves; or half of it                 \
                   */
#define MOST_WAIT_MS    6000
#define MAY_QUEUE_MS    1000 /* in front of any call of a registration */
#define LONGEST_TOLD_MS 300000
#define USED            0.9 /* of the narrowest rate: the rest is for tries that were throttled */

struct operation {
    const char *method;
    int32_t is_write, has_answer; /* has_answer: more than that it was done */
    double quota;                 /* a second: AWS's own, where no property has it */
    const char *property;         /* NULL: none */
};

static const struct operation OPERATIONS[IOT_OPERATIONS] = {
    [IOT_CREATE_CERTIFICATE] = {"POST", 1, 1, 15, "aws.quota_create_certificate"},
    [IOT_REGISTER_CERTIFICATE] = {"POST", 1, 1, 10, "aws.quota_register_certificate"},
    [IOT_ATTACH_POLICY] = {"PUT", 1, 0, 15, "aws.quota_attach_policy"},
    [IOT_CREATE_THING] = {"POST", 1, 1, 100, "aws.quota_create_thing"},
    [IOT_ATTACH_THING_PRINCIPAL] = {"PUT", 1, 0, 100, "aws.quota_attach_principal"},
    [IOT_UPDATE_CERTIFICATE] = {"PUT", 1, 0, 10, "aws.quota_update_certificate"},
    [IOT_RETIRE_CERTIFICATE] = {"PUT", 1, 0, 10, "aws.quota_update_certificate"},
    [IOT_DESCRIBE_CERTIFICATE] = {"GET", 0, 1, 10, NULL},
    [IOT_DELETE_CERTIFICATE] = {"DELETE", 1, 0, 10, NULL},
    [IOT_LIST_CERTIFICATES] = {"GET", 0, 1, 10, NULL},
    [IOT_DETACH_POLICY] = {"POST", 1, 0, 15, NULL},
    [IOT_GET_POLICY] = {"GET", 0, 1, 10, NULL},
    [IOT_DESCRIBE_THING] = {"GET", 0, 1, 100, NULL},
    [IOT_DETACH_THING_PRINCIPAL] = {"DELETE", 1, 0, 100, NULL},
    [IOT_LIST_THING_PRINCIPALS] = {"GET", 0, 1, 10, NULL},
    [IOT_LIST_PRINCIPAL_THINGS] = {"GET", 0, 1, 10, NULL},
    [IOT_DESCRIBE_ENDPOINT] = {"GET", 0, 1, 10, NULL},
    [IOT_LIST_CERTIFICATE_PROVIDERS] = {"GET", 0, 1, 10, NULL},
};

const char *cvm_iot_method(enum iot_operation operation)
{
    return OPERATIONS[operation].method;
}

int32_t cvm_iot_is_write(enum iot_operation operation)
{
    return OPERATIONS[operation].is_write;
}

int32_t cvm_iot_has_answer(enum iot_operation operation)
{
    return OPERATIONS[operation].has_answer;
}

/* --- Properties ------------------------------------------------------------------------------- */

#define QUOTA(name, default, what)                                                                 \
    {                                                                                              \
        sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, name, CVM_TYPE_RATE, default,      \
            "1/min to 10000/s", "The account's quota of " what "."                                 \
    }

static const cvm_property_row_t PROPERTIES[] = {
    QUOTA("aws.quota_create_certificate", "15/s", "CreateCertificateFromCsr"),
    QUOTA("aws.quota_register_certificate", "10/s", "RegisterCertificateWithoutCA"),
    QUOTA("aws.quota_attach_policy", "15/s", "AttachPolicy"),
    QUOTA("aws.quota_create_thing", "100/s", "CreateThing"),
    QUOTA("aws.quota_attach_principal", "100/s", "AttachThingPrincipal"),
    QUOTA("aws.quota_update_certificate", "10/s", "UpdateCertificate"),
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "aws.quota_share", CVM_TYPE_COUNT,
        "100", "1 to 100", "Per cent of the account's quotas that this server may take."},
};

int32_t cvm_iot_add_quota_properties(const cvm_host_t *host, cvm_registry_t *registry)
{
    int32_t failed = 0;
    for (size_t i = 0; i < sizeof PROPERTIES / sizeof PROPERTIES[0] && !failed; i++)
        failed = host->add_property(registry, &PROPERTIES[i], NULL, 0);
    return failed;
}

void cvm_iot_quotas_init(struct iot_quotas *quotas, const cvm_host_t *host, cvm_context_t *context)
{
    double share = (double)host->property_number(context, "aws.quota_share") / 100;
    for (int i = 0; i < IOT_OPERATIONS; i++) {
        const struct operation *operation = &OPERATIONS[i];
        double quota = operation->property
                           ? (double)host->property_number(context, operation->property) / 60
                           : operation->quota;
        cvm_aws_pace_init(&quotas->paces[i], quota * share, NULL);
    }
    struct aws_pace *update = &quotas->paces[IOT_UPDATE_CERTIFICATE];
    cvm_aws_pace_init(&quotas->paces[IOT_RETIRE_CERTIFICATE], update->quota / 3, update);
    cvm_aws_pace_init(&quotas->beginning, update->quota, NULL);
    quotas->told_ms = 0;
    quotas->left_out = IOT_REGISTER_CERTIFICATE;
}

/* --- Admission -------------------------------------------------------------------------------- */

/* The rate of the narrowest call, and how long one would wait in front of any. */
static int64_t narrowest(struct iot_quotas *quotas)
{
    int64_t wait_ms = 0;
    quotas->beginning.rate = quotas->paces[IOT_UPDATE_CERTIFICATE].rate;
    for (int i = 0; i < IOT_REGISTRATION_OPERATIONS; i++) {
        if (i == (int)quotas->left_out)
            continue;
        const struct aws_pace *pace = &quotas->paces[i];
        int64_t its_ms = cvm_aws_pace_wait_ms(pace);
        if (pace->rate < quotas->beginning.rate)
            quotas->beginning.rate = pace->rate;
        if (its_ms > wait_ms)
            wait_ms = its_ms;
    }
    quotas->beginning.rate *= USED;
    return wait_ms;
}

/* Each of those that are sent away is told its own time; wait_ms: that of the first. */
static uint32_t come_again_s(struct iot_quotas *quotas, int64_t wait_ms)
{
    int64_t now_ms = (int64_t)cvm_monotonic_ms(), first_ms = now_ms + wait_ms;
    if (quotas->told_ms < first_ms)
        quotas->told_ms = first_ms;
    if (quotas->told_ms < now_ms + LONGEST_TOLD_MS)
        quotas->told_ms += (int64_t)(1000 / quotas->beginning.rate);
    /* A little before its turn: who comes late leaves a gap. */
    int64_t left_ms = quotas->told_ms - now_ms - MOST_WAIT_MS / 2;
    return left_ms > 0 ? (uint32_t)(left_ms / 1000) + 1 : 1;
}

static int64_t longest_wait_ms(int64_t left_ms)
{
    if (left_ms < 0 || left_ms > MOST_WAIT_MS + NEEDED_MS)
        return MOST_WAIT_MS;
    return left_ms > 2 * NEEDED_MS ? left_ms - NEEDED_MS : left_ms / 2;
}

int32_t cvm_iot_admit(
    struct iot_quotas *quotas, int64_t left_ms, int64_t *wait_ms, uint32_t *retry_after_s)
{
    int64_t queued_ms = narrowest(quotas) - MAY_QUEUE_MS;
    *wait_ms = cvm_aws_pace_wait_ms(&quotas->beginning);
    if (*wait_ms < queued_ms)
        *wait_ms = queued_ms;
    if (*wait_ms > longest_wait_ms(left_ms)) {
        *retry_after_s = come_again_s(quotas, *wait_ms);
        return -1;
    }
    cvm_aws_pace_take(&quotas->beginning);
    return 0;
}
