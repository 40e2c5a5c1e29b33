/* Reading a certificate. Which key it is for is not compared: simulators answer others. */
#include "certificate.h"

#include <string.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/err.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/x509.h"
#include "record.h"

static int32_t set_id(cvm_record_t *certificate, const struct cvm_x509 *x509)
{
    char id[CVM_SHA256_HEX_SIZE];
    return cvm_sha256_hex(x509->der.bytes, (size_t)x509->der.length, id) ||
                   cvm_record_set_text(certificate, CVM_C_CERTIFICATE_ID, id)
               ? -1
               : 0;
}

static int32_t set_serial(cvm_record_t *certificate, const struct cvm_x509 *x509)
{
    const unsigned char *at = x509->serial_number.bytes;
    uint8_t bytes[20]; /* RFC 5280 §4.1.2.2 allows no more */
    char text[2 * sizeof bytes + 1];
    ASN1_INTEGER *serial = d2i_ASN1_INTEGER(NULL, &at, x509->serial_number.length);
    size_t length = serial ? (size_t)ASN1_STRING_length(serial) : 0;
    int32_t failed = !serial || length > sizeof bytes;
    if (!failed) {
        memcpy(bytes, ASN1_STRING_get0_data(serial), length);
        cvm_hex(bytes, length, text);
    }
    ASN1_INTEGER_free(serial);
    return failed || cvm_record_set_text(certificate, CVM_C_SERIAL, text) ? -1 : 0;
}

static int32_t set_time(cvm_record_t *certificate, uint32_t field, const struct cvm_span *der)
{
    const unsigned char *at = der->bytes;
    struct tm parts;
    ASN1_TIME *time = d2i_ASN1_TIME(NULL, &at, der->length);
    int32_t failed = !time || !ASN1_TIME_to_tm(time, &parts);
    ASN1_TIME_free(time);
    return failed || cvm_record_set_number(certificate, field, cvm_utc_ms(&parts)) ? -1 : 0;
}

static int32_t fill_in(cvm_record_t *certificate, const struct cvm_x509 *x509)
{
    int32_t failed = 0;
    if (!*cvm_record_text(certificate, CVM_C_CERTIFICATE_ID))
        failed = set_id(certificate, x509);
    if (!failed && !*cvm_record_text(certificate, CVM_C_SERIAL))
        failed = set_serial(certificate, x509);
    if (!failed && !cvm_record_number(certificate, CVM_C_NOT_AFTER))
        failed = set_time(certificate, CVM_C_NOT_BEFORE, &x509->not_before) ||
                 set_time(certificate, CVM_C_NOT_AFTER, &x509->not_after);
    return failed ? -1 : 0;
}

int32_t cvm_certificate_complete(cvm_record_t *certificate)
{
    const char *pem = cvm_record_text(certificate, CVM_C_PEM);
    struct cvm_x509 x509;
    if (*pem && *cvm_record_text(certificate, CVM_C_CERTIFICATE_ID) &&
        *cvm_record_text(certificate, CVM_C_SERIAL) &&
        cvm_record_number(certificate, CVM_C_NOT_AFTER))
        return 0;
    if (cvm_x509_read(&x509, pem))
        return -1;
    int32_t failed = fill_in(certificate, &x509);
    cvm_x509_free(&x509);
    ERR_clear_error();
    return failed;
}

int32_t cvm_certificate_is_listed(
    cvm_record_t *const *list, uint32_t count, const cvm_record_t *certificate)
{
    const char *id = cvm_record_text(certificate, CVM_C_CERTIFICATE_ID);
    for (uint32_t i = 0; i < count; i++)
        if (cvm_record_says(list[i], CVM_C_CERTIFICATE_ID, id))
            return 1;
    return 0;
}

int32_t cvm_certificate_is_of(const cvm_record_t *certificate, const cvm_record_t *device)
{
    const char *id = cvm_record_text(certificate, CVM_C_CERTIFICATE_ID);
    return *id && cvm_record_says(device, CVM_D_CERTIFICATE_ID, id);
}

int32_t cvm_certificate_found(
    cvm_record_t *certificate, const char *device_uid, const char *key_sha256)
{
    return cvm_certificate_complete(certificate) ||
                   cvm_record_set_text(certificate, CVM_C_DEVICE_UID, device_uid) ||
                   cvm_record_set_text(certificate, CVM_C_PUBLIC_KEY_SHA256, key_sha256) ||
                   cvm_record_set_text(certificate, CVM_C_STATE, "pending")
               ? -1
               : 0;
}
