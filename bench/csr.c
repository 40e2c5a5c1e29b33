/* Makes P-256 CSRs as JSON string contents. The private keys are thrown away: nobody connects. */
#include "csr.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

static bool sign_csr(X509_REQ *csr, EVP_PKEY *key)
{
    X509_NAME *name = X509_REQ_get_subject_name(csr);

    return X509_NAME_add_entry_by_txt(
               name, "CN", MBSTRING_UTF8, (const unsigned char *)"device", -1, -1, 0) == 1 &&
           X509_REQ_set_pubkey(csr, key) == 1 && X509_REQ_sign(csr, key, EVP_sha256()) > 0;
}

static char *escape_newlines(const char *text, size_t length)
{
    char *escaped = malloc(2 * length + 1);
    char *out = escaped;

    if (!escaped)
        return NULL;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            *out++ = '\\';
            *out++ = 'n';
        } else {
            *out++ = text[i];
        }
    }
    *out = '\0';
    return escaped;
}

static char *write_csr(const X509_REQ *csr)
{
    BIO *memory = BIO_new(BIO_s_mem());
    char *pem = NULL;
    char *text = NULL;
    long length = 0;

    if (memory && PEM_write_bio_X509_REQ(memory, csr) == 1) {
        length = BIO_get_mem_data(memory, &pem);
        text = escape_newlines(pem, (size_t)length);
    }
    BIO_free(memory);
    return text;
}

static char *make_csr(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *csr = X509_REQ_new();
    char *text = NULL;

    if (key && csr && sign_csr(csr, key))
        text = write_csr(csr);
    X509_REQ_free(csr);
    EVP_PKEY_free(key);
    return text;
}

bool csr_pool_make(struct csr_pool *pool, uint64_t count)
{
    *pool = (struct csr_pool){.texts = calloc(count, sizeof *pool->texts)};
    if (!pool->texts)
        return false;
    while (pool->count < count) {
        pool->texts[pool->count] = make_csr();
        if (!pool->texts[pool->count]) {
            csr_pool_free(pool);
            return false;
        }
        pool->count++;
    }
    return true;
}

void csr_pool_free(struct csr_pool *pool)
{
    for (uint64_t i = 0; i < pool->count; i++)
        free(pool->texts[i]);
    free(pool->texts);
    *pool = (struct csr_pool){0};
}

const char *csr_pool_get(const struct csr_pool *pool, uint64_t number)
{
    return pool->count > 0 ? pool->texts[number % pool->count] : NULL;
}
