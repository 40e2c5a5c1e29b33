/* Reading a certificate. Which key it is for is not compared: simulators answer others. */
#include "certificate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/hex.h"
#include "record.h"

static X509 *parse(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *x509 = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return x509;
}

static int32_t set_id(cvm_record_t *certificate, X509 *x509)
{
    char id[CVM_SHA256_HEX_SIZE];
    unsigned char *der = NULL;
    int length = i2d_X509(x509, &der);
    int32_t failed = length <= 0 || cvm_sha256_hex(der, (size_t)length, id) ||
                     cvm_record_set_text(certificate, CVM_C_CERTIFICATE_ID, id);
    OPENSSL_free(der);
    return failed ? -1 : 0;
}

static int32_t set_serial(cvm_record_t *certificate, const X509 *x509)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x509);
    uint8_t bytes[20]; /* RFC 5280 §4.1.2.2 allows no more */
    char text[2 * sizeof bytes + 1];
    size_t length = (size_t)ASN1_STRING_length(serial);
    if (length > sizeof bytes)
        return -1;
    memcpy(bytes, ASN1_STRING_get0_data(serial), length);
    cvm_hex(bytes, length, text);
    return cvm_record_set_text(certificate, CVM_C_SERIAL, text);
}

static int32_t set_time(cvm_record_t *certificate, uint32_t field, const ASN1_TIME *time)
{
    struct tm parts;
    if (!ASN1_TIME_to_tm(time, &parts))
        return -1;
    return cvm_record_set_number(certificate, field, cvm_utc_ms(&parts));
}

static int32_t fill_in(cvm_record_t *certificate, X509 *x509)
{
    int32_t failed = 0;
    if (!*cvm_record_text(certificate, CVM_C_CERTIFICATE_ID))
        failed = set_id(certificate, x509);
    if (!failed && !*cvm_record_text(certificate, CVM_C_SERIAL))
        failed = set_serial(certificate, x509);
    if (!failed && !cvm_record_number(certificate, CVM_C_NOT_AFTER))
        failed = set_time(certificate, CVM_C_NOT_BEFORE, X509_get0_notBefore(x509)) ||
                 set_time(certificate, CVM_C_NOT_AFTER, X509_get0_notAfter(x509));
    return failed ? -1 : 0;
}

int32_t cvm_certificate_complete(cvm_record_t *certificate)
{
    const char *pem = cvm_record_text(certificate, CVM_C_PEM);
    if (*pem && *cvm_record_text(certificate, CVM_C_CERTIFICATE_ID) &&
        *cvm_record_text(certificate, CVM_C_SERIAL) &&
        cvm_record_number(certificate, CVM_C_NOT_AFTER))
        return 0;
    X509 *x509 = *pem ? parse(pem) : NULL;
    int32_t failed = !x509 || fill_in(certificate, x509);
    X509_free(x509);
    ERR_clear_error();
    return failed ? -1 : 0;
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
