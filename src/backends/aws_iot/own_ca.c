/* A certificate of one's own CA costs no call of AWS's to make, and exists once the record says so:
 * it is registered (RegisterCertificateWithoutCA) when that is written. */
#include "own_ca.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "local/ca.h"

#define WAY       "local:"
#define NOTICE_MS (INT64_C(90) * 24 * 3600 * 1000)

static const char *property(const struct platform *platform, const char *name)
{
    return platform->aws.host->property(platform->aws.context, name);
}

/* The folder of "local:FOLDER", a path as a whole: what comes before it is where a relative one
 * counts from. 0, or -1. */
static int32_t ca_folder(const char *value, char *folder, size_t size)
{
    const char *way = strstr(value, WAY), *rest = way ? way + strlen(WAY) : "";
    int length = *rest == '/'
                     ? snprintf(folder, size, "%s", rest)
                     : snprintf(folder, size, "%.*s%s", (int)(way ? way - value : 0), value, rest);
    return way && *rest && length > 0 && (size_t)length < size ? 0 : -1;
}

int32_t cvm_iot_ca_load(struct platform *platform, char *error, size_t error_size)
{
    const char *value = property(platform, "aws.certificates");
    char folder[4096];
    if (!*value)
        return 0;
    if (ca_folder(value, folder, sizeof folder)) {
        (void)snprintf(error, error_size, "aws.certificates is empty or local:FOLDER");
        return -1;
    }
    platform->ca = cvm_ca_load(folder, error, error_size);
    if (!platform->ca)
        return -1;
    if (!cvm_ca_set_crl_url(platform->ca, property(platform, "ca.crl_url"), error, error_size))
        return 0;
    cvm_iot_ca_clear(platform);
    return -1;
}

void cvm_iot_ca_clear(struct platform *platform)
{
    cvm_ca_free(platform->ca);
    platform->ca = NULL;
}

void cvm_iot_ca_tell(const struct platform *platform)
{
    const cvm_host_t *host = platform->aws.host;
    if (!platform->ca)
        return;
    X509 *issuing = cvm_ca_issuing(platform->ca)->certificate;
    int64_t begins_ms = cvm_asn1_time_ms(X509_get0_notBefore(issuing)),
            ends_ms = cvm_asn1_time_ms(X509_get0_notAfter(issuing));
    host->health(platform->aws.context, "issuing CA", NULL, begins_ms, ends_ms, NOTICE_MS);
    host->clock_bound(platform->aws.context, begins_ms, ends_ms);
    host->gauge(platform->aws.context, CVM_GAUGE_CA_EXPIRY, "issuing", ends_ms / 1000);
}

/* --- Made ------------------------------------------------------------------------------------- */

static cvm_record_t *leaf_record(const struct platform *platform, const struct ca_leaf *leaf)
{
    const cvm_host_t *host = platform->aws.host;
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    if (!record || !(host->set_text(record, CVM_C_CERTIFICATE_ID, leaf->id) ||
                       host->set_text(record, CVM_C_PEM, leaf->pem)))
        return record;
    host->record_free(record);
    return NULL;
}

void cvm_iot_ca_sign(struct step *step)
{
    const struct platform *platform = step->platform;
    const cvm_host_t *host = platform->aws.host;
    struct ca_leaf leaf = {.pem = NULL};
    size_t length;
    const uint8_t *spki = host->op_public_key(step->aws.op, &length);
    int32_t failed = cvm_ca_sign_leaf(platform->ca, spki, length, step->thing,
        host->property_number(platform->aws.context, "certificate.not_before_backdate"),
        host->property_number(platform->aws.context, "certificate.validity"), &leaf);
    cvm_record_t *record = failed ? NULL : leaf_record(platform, &leaf);
    failed = !record || host->op_add_record(step->aws.op, record);
    free(leaf.pem);
    cvm_iot_end(step, failed ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK,
        failed ? "the certificate could not be signed" : NULL);
}

char *cvm_iot_ca_chain(const struct platform *platform, const cvm_record_t *certificate)
{
    if (!platform->ca)
        return strdup("");
    if (!certificate)
        return strdup(platform->ca->chain_pem);
    const struct ca_issuer *issuer = cvm_issuers_find(
        &platform->ca->issuers, platform->aws.host->text(certificate, CVM_C_ISSUER));
    return issuer ? cvm_ca_certificate_pem(issuer->certificate) : strdup("");
}

/* --- Registered ------------------------------------------------------------------------------- */

/* "Already exists" is said of the same certificate alone: its id is the hash of it. */
static void registered(struct step *step)
{
    cvm_iot_learn_arn(step->platform, cvm_iot_text(step->aws.call.answer, "certificateArn"));
    step->registered(step);
}

void cvm_iot_ca_register(struct step *step, void (*then)(struct step *step))
{
    static const char *const ANSWERS[] = {EXISTS, NULL};
    struct cvm_buffer *body = cvm_aws_job_body(&step->aws);
    cvm_buffer_text(body, "{\"certificatePem\":");
    cvm_buffer_json(body, step->platform->aws.host->text(step->certificate, CVM_C_PEM));
    cvm_buffer_text(body, ",\"status\":\"INACTIVE\"}");
    cvm_iot_path(step, "certificate", "register-no-ca", NULL);
    step->answers = ANSWERS;
    step->registered = then;
    cvm_iot_call(step, IOT_REGISTER_CERTIFICATE, "", registered);
}
