#include "pem.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/x509.h"

int32_t cvm_iot_read_certificate(
    const char *pem, char id[CVM_SHA256_HEX_SIZE], char key_sha256[CVM_SHA256_HEX_SIZE])
{
    struct cvm_x509 certificate;
    if (cvm_x509_read(&certificate, pem))
        return -1;
    const struct cvm_span *key = &certificate.subject_public_key_info;
    int32_t failed = cvm_sha256_hex(certificate.der.bytes, (size_t)certificate.der.length, id) ||
                     cvm_sha256_hex(key->bytes, (size_t)key->length, key_sha256);
    cvm_x509_free(&certificate);
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
