/* AWS IoT's operations that are used, the account's quotas for them, and who may begin now. */
#ifndef CVM_AWS_IOT_OPERATIONS_H
#define CVM_AWS_IOT_OPERATIONS_H

#include <cvm/plugin.h>

#include "aws/pace.h"

/* By their names in AWS's API reference. Those of a registration come first. */
enum iot_operation {
    IOT_CREATE_CERTIFICATE,
    IOT_REGISTER_CERTIFICATE, /* RegisterCertificateWithoutCA: one that AWS did not make */
    IOT_ATTACH_POLICY,
    IOT_CREATE_THING,
    IOT_ATTACH_THING_PRINCIPAL,
    IOT_UPDATE_CERTIFICATE, /* to ACTIVE, at a registration's end */
    IOT_RETIRE_CERTIFICATE, /* UpdateCertificate for everything else: at most a third of it */
    IOT_DESCRIBE_CERTIFICATE,
    IOT_DELETE_CERTIFICATE,
    IOT_LIST_CERTIFICATES,
    IOT_DETACH_POLICY,
    IOT_GET_POLICY,
    IOT_DESCRIBE_THING,
    IOT_DETACH_THING_PRINCIPAL,
    IOT_LIST_THING_PRINCIPALS,
    IOT_LIST_PRINCIPAL_THINGS,
    IOT_DESCRIBE_ENDPOINT,
    IOT_LIST_CERTIFICATE_PROVIDERS,
    IOT_OPERATIONS,
};
#define IOT_REGISTRATION_OPERATIONS IOT_RETIRE_CERTIFICATE

struct iot_quotas {
    struct aws_pace paces[IOT_OPERATIONS];
    struct aws_pace beginning;   /* registrations */
    enum iot_operation left_out; /* the one that registrations don't make: who signs is the other */
    int64_t told_ms;             /* until when those that were sent away were told to stay away */
};

const char *cvm_iot_method(enum iot_operation operation);
int32_t cvm_iot_is_write(enum iot_operation operation);
/* 1 if it answers an object, 0 if perhaps nothing. */
int32_t cvm_iot_has_answer(enum iot_operation operation);

/* 0, or -1. */
int32_t cvm_iot_add_quota_properties(const cvm_host_t *host, cvm_registry_t *registry);
void cvm_iot_quotas_init(struct iot_quotas *quotas, const cvm_host_t *host, cvm_context_t *context);

/* Takes a place among the registrations. left_ms: what the caller has; -1: as long as it takes. 0
 * and how long to wait first; or -1 and when to come again. */
int32_t cvm_iot_admit(
    struct iot_quotas *quotas, int64_t left_ms, int64_t *wait_ms, uint32_t *retry_after_s);

#endif
