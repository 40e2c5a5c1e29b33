/* Makes the key pair and the certificate signing request (PKCS#10). The key is stored before anyone
 * hears of it: an answer may get lost after the server has registered this very key, and only who
 * asks again with the same key is given the certificate again. */
#include "identity.h"

#include "report.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <string.h>

enum { COMMON_NAME_MAX = 64 }; /* X.509's ub-common-name */

int identity_key(const struct store *store, EVP_PKEY **key)
{
    int status = store_load_key(store, key);
    if (status != EX_OK || *key != NULL) {
        return status;
    }
    *key = EVP_EC_gen("P-256");
    if (*key == NULL) {
        return report(EX_UNAVAILABLE, "no P-256 key is to be had from this machine's OpenSSL");
    }
    return store_save_key(store, *key);
}

/* The server gives the certificate a name of its own; this one helps who reads the request. */
static X509_REQ *request_new(EVP_PKEY *key, const char *uid)
{
    X509_REQ *request = X509_REQ_new();
    X509_NAME *name = X509_NAME_new();
    const int length = (int)strnlen(uid, COMMON_NAME_MAX);
    if (X509_NAME_add_entry_by_txt(
            name, "CN", MBSTRING_ASC, (const unsigned char *)uid, length, -1, 0) != 1 ||
        X509_REQ_set_subject_name(request, name) != 1 || X509_REQ_set_pubkey(request, key) != 1 ||
        X509_REQ_sign(request, key, EVP_sha256()) <= 0) {
        X509_REQ_free(request);
        request = NULL;
    }
    X509_NAME_free(name);
    return request;
}

int identity_csr(EVP_PKEY *key, const char *uid, char csr[CSR_SIZE])
{
    X509_REQ *request = request_new(key, uid);
    BIO *bio = BIO_new(BIO_s_mem());
    int length = 0;
    if (request != NULL && PEM_write_bio_X509_REQ(bio, request) == 1) {
        length = BIO_read(bio, csr, CSR_SIZE - 1);
    }
    csr[length > 0 ? length : 0] = '\0';
    BIO_free(bio);
    X509_REQ_free(request);
    if (length <= 0) {
        return report(EX_DATAERR, "the stored request key can't sign a certificate request");
    }
    return EX_OK;
}
