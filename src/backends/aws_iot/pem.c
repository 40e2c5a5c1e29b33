#include "pem.h"

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
