/* A certificate as its row has it. */
#ifndef CVM_DYNAMODB_CERTIFICATE_H
#define CVM_DYNAMODB_CERTIFICATE_H

#include "item.h"

/* Makes the record. NULL without memory, or if it is none. */
cvm_record_t *cvm_dynamo_certificate(const cvm_host_t *host, const cJSON *row, int32_t with_pem);
/* Its update, whether it is there or not: what the certificate is stays. keeps_reason: that stays
 * too. */
void cvm_dynamo_certificate_becomes(struct expression *expression, const cvm_host_t *host,
    const cvm_record_t *wanted, int32_t keeps_reason);
/* 1 if the row may be written for that device: it is not revoked, and not another one's. row: NULL
 * if there is none. */
int32_t cvm_dynamo_certificate_is_open(const cJSON *row, const char *device_uid);

#endif
