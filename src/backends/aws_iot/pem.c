#include "pem.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

/* Steps over one element, or into it. -1 if there is none of that tag. */
static int32_t step_over(const uint8_t **at, const uint8_t *end, int tag, int is_inside)
{
    long length;
    int found_tag, found_class;
    const uint8_t *content = *at;
    int rc = ASN1_get_object(&content, &length, &found_tag, &found_class, end - *at);
    if (rc & 0x81 || found_tag != tag)
        return -1;
    *at = is_inside ? content : content + length;
    return 0;
}

/* The SubjectPublicKeyInfo of a certificate (RFC 5280 §4.1). X509's own parser would decode the key
 * too, which takes longer than its making. 0, or -1. */
static int32_t find_key(const uint8_t *at, const uint8_t *end, const uint8_t **key, size_t *length)
{
    for (int i = 0; i < 2; i++) /* Certificate, tbsCertificate */
        if (step_over(&at, end, V_ASN1_SEQUENCE, 1))
            return -1;
    (void)step_over(&at, end, 0, 0);            /* version */
    if (step_over(&at, end, V_ASN1_INTEGER, 0)) /* serialNumber */
        return -1;
    for (int i = 0; i < 4; i++) /* signature, issuer, validity, subject */
        if (step_over(&at, end, V_ASN1_SEQUENCE, 0))
            return -1;
    *key = at;
    if (step_over(&at, end, V_ASN1_SEQUENCE, 0))
        return -1;
    *length = (size_t)(at - *key);
    return 0;
}

int32_t cvm_iot_read_certificate(
    const char *pem, char id[CVM_SHA256_HEX_SIZE], char key_sha256[CVM_SHA256_HEX_SIZE])
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long size = 0;
    const uint8_t *key;
    size_t length;
    int32_t failed =
        !bio || !PEM_read_bio(bio, &name, &header, &der, &size) ||
        strcmp(name, PEM_STRING_X509) != 0 || find_key(der, der + size, &key, &length) ||
        cvm_sha256_hex(der, (size_t)size, id) || cvm_sha256_hex(key, length, key_sha256);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    ERR_clear_error();
    return failed ? -1 : 0;
}

/* Copies each; how many, or -1 if something is none. */
static int32_t copy_certificates(BIO *from, BIO *to)
{
    int32_t count = 0;
    for (X509 *certificate; (certificate = PEM_read_bio_X509(from, NULL, NULL, NULL)); count++) {
        int is_written = PEM_write_bio_X509(to, certificate);
        X509_free(certificate);
        if (!is_written)
            return -1;
    }
    return ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE ? count : -1;
}

char *cvm_iot_read_anchors(const char *text, size_t length)
{
    BIO *from = BIO_new_mem_buf(text, (int)length), *to = BIO_new(BIO_s_mem());
    char *bytes, *anchors = NULL;
    ERR_clear_error();
    if (from && to && copy_certificates(from, to) > 0) {
        long count = BIO_get_mem_data(to, &bytes);
        anchors = strndup(bytes, (size_t)count);
    }
    BIO_free(from);
    BIO_free(to);
    ERR_clear_error();
    return anchors;
}
