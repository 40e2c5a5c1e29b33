/* Reads certificates in PEM, and the base64 in any. */
#include "pem.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define FIRST_LINE "-----BEGIN CERTIFICATE-----"
#define LAST_LINE  "\n-----END CERTIFICATE-----"

/* Copies each; how many, or -1 if something is none. */
static int32_t pem_copy_certificates(BIO *from, BIO *to)
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

char *cvm_pem_certificates(const char *text, size_t length)
{
    BIO *from = BIO_new_mem_buf(text, (int)length), *to = BIO_new(BIO_s_mem());
    char *bytes, *anchors = NULL;
    ERR_clear_error();
    if (from && to && pem_copy_certificates(from, to) > 0) {
        long count = BIO_get_mem_data(to, &bytes);
        anchors = count <= CVM_LARGEST_ANCHORS ? strndup(bytes, (size_t)count) : NULL;
    }
    BIO_free(from);
    BIO_free(to);
    ERR_clear_error();
    return anchors;
}

int32_t cvm_pem_decode(struct cvm_span base64, unsigned char *der, long *length)
{
    EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
    int head = 0, tail = 0;
    if (!context)
        return -1;
    EVP_DecodeInit(context);
    int32_t is_decoded =
        EVP_DecodeUpdate(context, der, &head, base64.bytes, (int)base64.length) >= 0 &&
        EVP_DecodeFinal(context, der + head, &tail) >= 0;
    EVP_ENCODE_CTX_free(context);
    *length = head + tail;
    return is_decoded;
}

int32_t cvm_pem_take(const char **text, unsigned char **der, long *length)
{
    const char *first = strstr(*text, FIRST_LINE);
    const char *last = first ? strstr(first, LAST_LINE) : NULL;
    if (!first)
        return 0;
    if (!last || last - first > CVM_LARGEST_ANCHORS)
        return -1;
    first += sizeof FIRST_LINE - 1;
    const struct cvm_span base64 = {(const unsigned char *)first, last - first};
    *der = base64.length > 0 ? malloc((size_t)base64.length) : NULL;
    if (!*der || cvm_pem_decode(base64, *der, length) != 1 || !*length) {
        free(*der);
        *der = NULL;
        return -1;
    }
    *text = last + sizeof LAST_LINE - 1;
    return 1;
}
