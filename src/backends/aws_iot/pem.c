#include "pem.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

int32_t cvm_iot_read_certificate(
    const char *pem, char id[CVM_SHA256_HEX_SIZE], char key_sha256[CVM_SHA256_HEX_SIZE])
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    uint8_t *der = NULL, *key = NULL;
    int der_length = certificate ? i2d_X509(certificate, &der) : -1;
    int key_length = certificate ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key) : -1;
    int32_t failed = der_length <= 0 || key_length <= 0 ||
                     cvm_sha256_hex(der, (size_t)der_length, id) ||
                     cvm_sha256_hex(key, (size_t)key_length, key_sha256);
    OPENSSL_free(der);
    OPENSSL_free(key);
    X509_free(certificate);
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
