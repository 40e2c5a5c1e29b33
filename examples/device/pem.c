/* Reading and writing PEM. What is stored is written anew from what was parsed and checked, so that
 * no byte of a server's text gets into a file unseen. */
#include "pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>

/* PEM readers end with "no start line" when the text is used up: everything else is an error. */
static int at_end_of_text(void)
{
    const unsigned long error = ERR_peek_last_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

cert_stack *pem_certificates(const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    cert_stack *certificates = sk_X509_new_null();
    X509 *certificate = NULL;
    ERR_clear_error();
    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(certificates, certificate) == 0) {
            X509_free(certificate);
            break;
        }
    }
    const int whole = at_end_of_text() && sk_X509_num(certificates) > 0;
    ERR_clear_error();
    BIO_free(bio);
    if (!whole) {
        sk_X509_pop_free(certificates, X509_free);
        return NULL;
    }
    return certificates;
}

EVP_PKEY *pem_private_key(const char *text)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    /* The empty pass phrase keeps OpenSSL from asking for one at the terminal. */
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"");
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

BIO *pem_from_certificates(const cert_stack *certificates)
{
    BIO *bio = BIO_new(BIO_s_mem());
    for (int i = 0; bio != NULL && i < sk_X509_num(certificates); i++) {
        if (PEM_write_bio_X509(bio, sk_X509_value(certificates, i)) != 1) {
            BIO_free(bio);
            bio = NULL;
        }
    }
    return bio;
}

BIO *pem_from_private_key(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        bio = NULL;
    }
    return bio;
}
