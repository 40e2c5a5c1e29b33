/* A CRL: making, signing and reading one (RFC 5280 §5). */
#ifndef CVM_LOCAL_CRL_H
#define CVM_LOCAL_CRL_H

#include "base/hex.h"
#include "ca.h"
#include "crl_list.h"

/* How much earlier a CRL begins than it was made. */
#define CRL_BACKDATE_MS (INT64_C(3600) * 1000)
#define FIRST_CRL       1 /* the number of the one that is made with the CA */

/* A CRL that its issuer has signed. */
struct crl {
    X509_CRL *x509;
    int64_t number, this_update_ms, next_update_ms;
    uint8_t *der;
    size_t der_length;
    char sha256[CVM_SHA256_HEX_SIZE]; /* of its DER */
};

/* Signs a CRL for that time; list is sorted. It begins a little earlier: a broker whose clock is
 * slow must not refuse every device. NULL on failure. */
struct crl *cvm_crl_make(const struct ca_issuer *issuer, int64_t number, int64_t now_ms,
    int64_t next_update_ms, const struct crl_list *list);
/* When a CRL of that issuer that is made now ends; validity_ms 0: with its issuer, which no CRL
 * outlives. */
int64_t cvm_crl_end_ms(const struct ca_issuer *issuer, int64_t now_ms, int64_t validity_ms);
/* Takes a parsed one, if it is the issuer's: else NULL, and it is freed. */
struct crl *cvm_crl_of(X509_CRL *x509, X509 *issuer);
/* The same of DER. */
struct crl *cvm_crl_parse(const uint8_t *der, size_t length, X509 *issuer);
/* The same CRL, as it is served at a URL that certificates name: it says so itself, critically (RFC
 * 5280 §5.2.5), so nobody who checks a certificate without that URL can use it. NULL on failure. */
struct crl *cvm_crl_at_url(const struct ca_issuer *issuer, const struct crl *crl, const char *url);
void cvm_crl_free(struct crl *crl);
/* Does it list nothing? */
int32_t cvm_crl_is_empty(const struct crl *crl);
/* What it lists, sorted. 0, or -1: without memory, or it lists what a CRL of ours can't. */
int32_t cvm_crl_entries(const struct crl *crl, struct crl_list *list);
/* The root's: lists nothing, until the root ends. PEM. */
char *cvm_crl_of_root(X509 *root, EVP_PKEY *key);

#endif
