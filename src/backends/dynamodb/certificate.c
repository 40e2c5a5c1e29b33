/* Certificates: one row each, under their own id, so that an id is one device's. */
#include "certificate.h"

#include <string.h>

static int32_t is_text(const cvm_host_t *host, uint32_t field)
{
    return host->field_kind(CVM_RECORD_CERTIFICATE, field) == CVM_FIELD_TEXT;
}

cvm_record_t *cvm_dynamo_certificate(const cvm_host_t *host, const cJSON *row, int32_t with_pem)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    int32_t failed = !record;
    for (uint32_t i = 0; i < host->field_count(CVM_RECORD_CERTIFICATE) && !failed; i++) {
        const char *name = host->field_name(CVM_RECORD_CERTIFICATE, i);
        if (i == CVM_C_PEM && !with_pem)
            continue;
        failed = is_text(host, i) ? host->set_text(record, i, cvm_dynamo_text(row, name))
                                  : host->set_number(record, i, cvm_dynamo_number(row, name));
    }
    if (!failed)
        return record;
    host->record_free(record);
    return NULL;
}

int32_t cvm_dynamo_certificate_is_open(const cJSON *row, const char *device_uid)
{
    return !row || (strcmp(cvm_dynamo_text(row, "state"), "revoked") != 0 &&
                       strcmp(cvm_dynamo_text(row, "device_uid"), device_uid) == 0);
}

/* What a certificate is, unlike what becomes of it, never changes. */
static int32_t field_is_fixed(uint32_t field)
{
    switch (field) {
    case CVM_C_CERTIFICATE_ID:
    case CVM_C_DEVICE_UID:
    case CVM_C_PEM:
    case CVM_C_SERIAL:
    case CVM_C_ISSUER:
    case CVM_C_NOT_BEFORE:
    case CVM_C_NOT_AFTER:
    case CVM_C_PUBLIC_KEY_SHA256:
        return 1;
    default:
        return 0;
    }
}

void cvm_dynamo_certificate_becomes(struct expression *expression, const cvm_host_t *host,
    const cvm_record_t *wanted, int32_t keeps_reason)
{
    for (uint32_t i = 0; i < host->field_count(CVM_RECORD_CERTIFICATE); i++) {
        const char *name = host->field_name(CVM_RECORD_CERTIFICATE, i);
        int32_t is_kept = field_is_fixed(i);
        if (i == CVM_C_REASON && keeps_reason)
            continue;
        if (is_text(host, i) && is_kept)
            cvm_dynamo_set_once(expression, name, host->text(wanted, i));
        else if (is_text(host, i))
            cvm_dynamo_set_text(expression, name, host->text(wanted, i));
        else if (is_kept)
            cvm_dynamo_set_number_once(expression, name, host->number(wanted, i));
        else
            cvm_dynamo_set_number(expression, name, host->number(wanted, i));
    }
}
