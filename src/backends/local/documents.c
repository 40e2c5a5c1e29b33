/*
 * /ca/crl/KEYID.crl and .pem, /ca/root.crl, /ca/root.pem, /ca/crl.pem (all, as the file has it).
 * Where certificates name a URL, an issuer's CRL is a copy that names it too, with a signature of
 * its own: so it is served by those who have the key.
 */
#include "documents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#define PKIX_CRL "application/pkix-crl" /* RFC 5280 §8, of DER */
#define PEM_FILE "application/x-pem-file"

static void documents_put(const struct platform *platform, const char *path, const char *media_type,
    const void *bytes, size_t length)
{
    if (bytes && platform->host->document(platform->context, path, media_type, bytes, length))
        platform->host->log(platform->context, CVM_LEVEL_ERROR, "a CRL can't be served: no memory");
}

/* A CRL in both forms; stem is the path without its end. */
static void documents_put_crl(
    const struct platform *platform, const char *stem, const struct crl *crl)
{
    char path[128];
    char *pem;
    BIO *bio = BIO_new(BIO_s_mem());
    (void)snprintf(path, sizeof path, "%s.crl", stem);
    documents_put(platform, path, PKIX_CRL, crl->der, crl->der_length);
    (void)snprintf(path, sizeof path, "%s.pem", stem);
    if (bio && PEM_write_bio_X509_CRL(bio, crl->x509)) {
        long size = BIO_get_mem_data(bio, &pem);
        documents_put(platform, path, PEM_FILE, pem, (size_t)size);
    }
    BIO_free(bio);
}

static void documents_serve_issuer(
    const struct platform *platform, const struct ca_issuer *issuer, const struct crl *crl)
{
    char stem[64];
    char *url = cvm_ca_crl_url(platform->ca, issuer->key_id);
    struct crl *at_url = url && issuer->key ? cvm_crl_at_url(issuer, crl, url) : NULL;
    (void)snprintf(stem, sizeof stem, "/ca/crl/%s", issuer->key_id);
    if (at_url || !*platform->ca->crl_url)
        documents_put_crl(platform, stem, at_url ? at_url : crl);
    cvm_crl_free(at_url);
    free(url);
}

static void documents_serve_root(const struct platform *platform)
{
    const struct ca *ca = platform->ca;
    BIO *bio = BIO_new_mem_buf(ca->root_crl_pem, -1);
    X509_CRL *crl = bio ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : NULL;
    unsigned char *der = NULL;
    int length = crl ? i2d_X509_CRL(crl, &der) : 0;
    if (length > 0)
        documents_put(platform, "/ca/root.crl", PKIX_CRL, der, (size_t)length);
    documents_put(platform, "/ca/root.pem", PEM_FILE, ca->root_pem, strlen(ca->root_pem));
    OPENSSL_free(der);
    X509_CRL_free(crl);
    BIO_free(bio);
    ERR_clear_error();
}

static void documents_serve_file(const struct platform *platform)
{
    char sha256[CVM_SHA256_HEX_SIZE];
    size_t length;
    char *pem = cvm_crl_file_load(platform->folder, &length, sha256);
    documents_put(platform, "/ca/crl.pem", PEM_FILE, pem, pem ? length : 0);
    free(pem);
}

void cvm_documents_serve(struct publication *publication)
{
    struct platform *platform = publication->platform;
    if (!publication->is_server || strcmp(platform->served, publication->file.sha256) == 0)
        return;
    for (uint32_t i = 0; i < platform->issuers.count; i++)
        if (publication->file.crls[i])
            documents_serve_issuer(platform, &platform->issuers.list[i], publication->file.crls[i]);
    documents_serve_root(platform);
    documents_serve_file(platform);
    (void)snprintf(platform->served, sizeof platform->served, "%s", publication->file.sha256);
}
