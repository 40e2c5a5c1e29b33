/* Certificates in what AWS IoT and other servers answer, as any bytes: one that is read, and those
 * of a text. What stands where in one is where OpenSSL finds it, and what was taken out of a text
 * is all of it that is a certificate. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "backends/aws_iot/pem.h"
#include "base/pem.h"
#include "base/x509.h"

static int32_t is_span(const struct cvm_span *span, unsigned char *der, int length)
{
    int32_t is_same = length == span->length && memcmp(der, span->bytes, (size_t)length) == 0;
    OPENSSL_free(der);
    return is_same;
}

/* As OpenSSL writes it again, it is the same: it is DER throughout. */
static int32_t is_der(const struct cvm_span *span, X509 *certificate)
{
    unsigned char *der = NULL;
    (void)i2d_re_X509_tbs(certificate, NULL); /* else it would write what it has read */
    int length = i2d_X509(certificate, &der);
    return length > 0 && is_span(span, der, length);
}

static void compare(const char *pem)
{
    struct cvm_x509 own;
    if (cvm_x509_read(&own, pem))
        return;
    const unsigned char *at = own.der.bytes;
    X509 *theirs = d2i_X509(NULL, &at, own.der.length);
    if (theirs && is_der(&own.der, theirs)) {
        unsigned char *key = NULL, *serial = NULL;
        int key_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(theirs), &key),
            serial_length = i2d_ASN1_INTEGER(X509_get_serialNumber(theirs), &serial);
        CHECK(is_span(&own.subject_public_key_info, key, key_length));
        CHECK(is_span(&own.serial_number, serial, serial_length));
    }
    X509_free(theirs);
    cvm_x509_free(&own);
}

/* What was written so is taken so, each and no more. */
static void check_each(const char *anchors)
{
    BIO *bio = BIO_new_mem_buf(anchors, -1);
    unsigned char *der, *again = NULL;
    long length;
    for (const char *at = anchors; cvm_pem_take(&at, &der, &length) == 1; free(der)) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        CHECK(certificate);
        again = NULL;
        int size = i2d_X509(certificate, &again);
        CHECK(size == length && memcmp(again, der, (size_t)size) == 0);
        OPENSSL_free(again);
        X509_free(certificate);
    }
    CHECK(!PEM_read_bio_X509(bio, NULL, NULL, NULL));
    BIO_free(bio);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char id[CVM_SHA256_HEX_SIZE], key[CVM_SHA256_HEX_SIZE];
    char *text = malloc(length + 1);
    if (!text)
        return 0;
    memcpy(text, bytes, length);
    text[length] = 0;
    compare(text);
    if (!cvm_iot_read_certificate(text, id, key))
        CHECK(cvm_is_hex(id, 64) && cvm_is_hex(key, 64));
    char *anchors = cvm_pem_certificates(text, length), *again = NULL;
    if (anchors) {
        again = cvm_pem_certificates(anchors, strlen(anchors));
        CHECK(again && strcmp(again, anchors) == 0);
        CHECK(!cvm_iot_read_certificate(anchors, id, key));
        check_each(anchors);
    }
    free(again);
    free(anchors);
    free(text);
    return 0;
}
