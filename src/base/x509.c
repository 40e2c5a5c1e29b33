/* A walk over a certificate's DER. */
#include "x509.h"

#include <string.h>

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pem.h>

static int32_t take_sequence(struct cvm_span *rest, struct cvm_span *content)
{
    return cvm_der_take(rest, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, NULL, content);
}

static int32_t take_time(struct cvm_span *rest, struct cvm_span *whole)
{
    return cvm_der_take(rest, V_ASN1_UTCTIME, V_ASN1_UNIVERSAL, whole, NULL) &&
                   cvm_der_take(rest, V_ASN1_GENERALIZEDTIME, V_ASN1_UNIVERSAL, whole, NULL)
               ? -1
               : 0;
}

/* version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, … */
static int32_t x509_walk_tbs(struct cvm_x509 *certificate, struct cvm_span tbs)
{
    struct cvm_span validity;
    (void)cvm_der_take(&tbs, 0, V_ASN1_CONTEXT_SPECIFIC, NULL, NULL);
    return cvm_der_take(
               &tbs, V_ASN1_INTEGER, V_ASN1_UNIVERSAL, &certificate->serial_number, NULL) ||
                   take_sequence(&tbs, NULL) || take_sequence(&tbs, NULL) ||
                   take_sequence(&tbs, &validity) ||
                   take_time(&validity, &certificate->not_before) ||
                   take_time(&validity, &certificate->not_after) || validity.length ||
                   take_sequence(&tbs, NULL) ||
                   cvm_der_take(&tbs, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL,
                       &certificate->subject_public_key_info, NULL)
               ? -1
               : 0;
}

/* tbsCertificate, signatureAlgorithm, signature, and nothing behind it */
static int32_t x509_walk(struct cvm_x509 *certificate)
{
    struct cvm_span rest = certificate->der, parts, tbs;
    return take_sequence(&rest, &parts) || rest.length || take_sequence(&parts, &tbs) ||
                   take_sequence(&parts, NULL) ||
                   cvm_der_take(&parts, V_ASN1_BIT_STRING, V_ASN1_UNIVERSAL, NULL, NULL) ||
                   parts.length || x509_walk_tbs(certificate, tbs)
               ? -1
               : 0;
}

/* The first certificate of a text; other objects may come before it. */
static struct cvm_span find_certificate(BIO *bio)
{
    struct cvm_span found = {NULL, 0};
    char *name, *header;
    unsigned char *der;
    long length;
    while (!found.bytes && PEM_read_bio(bio, &name, &header, &der, &length)) {
        if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0)
            found = (struct cvm_span){der, length};
        else
            OPENSSL_free(der);
        OPENSSL_free(name);
        OPENSSL_free(header);
    }
    return found;
}

int32_t cvm_x509_read(struct cvm_x509 *certificate, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    *certificate = (struct cvm_x509){.der = bio ? find_certificate(bio) : (struct cvm_span){0}};
    int32_t failed = !certificate->der.bytes || x509_walk(certificate);
    BIO_free(bio);
    ERR_clear_error();
    if (failed)
        cvm_x509_free(certificate);
    return failed ? -1 : 0;
}

void cvm_x509_free(struct cvm_x509 *certificate)
{
    OPENSSL_free((void *)(uintptr_t)certificate->der.bytes);
    *certificate = (struct cvm_x509){.der = {NULL, 0}};
}
