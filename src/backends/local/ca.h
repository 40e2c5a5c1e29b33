/* The CA in a folder: what it signs with, and the certificates and CRLs it makes. */
#ifndef CVM_LOCAL_CA_H
#define CVM_LOCAL_CA_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define CA_ID_SIZE 65 /* hex SHA-256, ended by NUL */

#define KEY_ID_SIZE  41 /* hex SHA-1, ended by NUL */
#define MOST_ISSUERS 32

/* An issuing CA. */
struct ca_issuer {
    X509 *certificate;
    EVP_PKEY *key; /* NULL: it is not here */
    char key_id[KEY_ID_SIZE];
};

struct ca_issuers {
    struct ca_issuer list[MOST_ISSUERS];
    uint32_t count;
};

/* A CA certificate's subject key identifier. 0, or -1 if it has none of 20 bytes. */
int32_t cvm_ca_key_id(X509 *certificate, char key_id[KEY_ID_SIZE]);
/* A certificate as PEM; freed by the caller. NULL without memory. */
char *cvm_ca_certificate_pem(X509 *certificate);
/* The file of an issuing CA that does not sign now: "issuing-KEYID.pem", or its key's. */
#define OTHER_PREFIX    "issuing-"
#define OTHER_NAME_SIZE (KEY_ID_SIZE + 16)
void cvm_ca_other_name(const char *key_id, const char *suffix, char name[OTHER_NAME_SIZE]);
/* Whether an issuer is of use: who signs now, or has not ended. */
int32_t cvm_issuers_counts(const struct ca_issuers *issuers, uint32_t i);
/* Appends one; takes the references on success. 0, or -1: it is no CA's certificate, or there are
 * too many. */
int32_t cvm_issuers_add(struct ca_issuers *issuers, X509 *certificate, EVP_PKEY *key);
/* Appends one with references of its own. 0, or -1. */
int32_t cvm_issuers_share(struct ca_issuers *issuers, const struct ca_issuer *issuer);
/* Who issued a certificate; NULL if it is none of them. */
const struct ca_issuer *cvm_issuers_of(const struct ca_issuers *issuers, X509 *certificate);
/* NULL if it is not among them. */
const struct ca_issuer *cvm_issuers_find(const struct ca_issuers *issuers, const char *key_id);
void cvm_issuers_clear(struct ca_issuers *issuers);

/* Read from the folder; not changed after. */
struct ca {
    X509 *root;
    struct ca_issuers issuers;  /* whose keys are here; the first signs new certificates */
    int32_t has_key_elsewhere;  /* the first's is not in issuing.key (yet) */
    char *root_pem, *chain_pem; /* of the first, without the root */
    char *root_crl_pem;         /* signed when the root key was at hand */
    char *crl_url;              /* with KEY_ID_MARK; "": certificates name none */
    /* What every device's certificate has alike: */
    X509_EXTENSION *basic_constraints, *key_usage, *extended_key_usage, *authority_key_id;
    X509_EXTENSION *crl_distribution_points; /* NULL: none */
};

/* Reads DIR/root.pem, issuing.pem, issuing.key, root.crl.pem, and issuing-KEYID.pem and .key, of
 * any number of others. NULL and why. */
struct ca *cvm_ca_load(const char *folder, char *error, size_t error_size);
void cvm_ca_free(struct ca *ca);
#define KEY_ID_MARK "%KEY_ID%"
/* Where the CRLs of its issuing CAs are, as certificates are to say; "" for nowhere. 0, or -1 and
 * why. */
int32_t cvm_ca_set_crl_url(struct ca *ca, const char *url, char *error, size_t error_size);
/* That of one issuer; NULL if there is none, or no memory. Freed by the caller. */
char *cvm_ca_crl_url(const struct ca *ca, const char *key_id);
/* NULL without memory. */
DIST_POINT_NAME *cvm_ca_point_name(const char *url);
/* Has a certificate name the URL of its issuer's CRL. 0, or -1. */
int32_t cvm_ca_add_crl_url(X509 *certificate, const char *url);
/* Who signs new certificates. */
const struct ca_issuer *cvm_ca_issuing(const struct ca *ca);
/* When an issuer's certificate ends, in milliseconds since 1970. */
int64_t cvm_issuer_end_ms(const struct ca_issuer *issuer);
/* When the last of a PEM text's certificates ends. 0, or -1 if there is none or one does not parse.
 */
int32_t cvm_ca_last_end(const char *pem, int64_t *ends_ms);
/* After PEM_read_... has answered NULL: 1 if that was the end, 0 if something did not parse.
 * Empties the thread's errors. */
int32_t cvm_ca_is_at_end(void);

/* A device's certificate as the store keeps it. */
struct ca_leaf {
    char *pem;
    char id[CA_ID_SIZE];
    char serial[41];
    int64_t not_before_ms, not_after_ms;
};

/* Signs a certificate for a SubjectPublicKeyInfo. 0, or -1. */
int32_t cvm_ca_sign_leaf(const struct ca *ca, const uint8_t *spki, size_t spki_length,
    const char *common_name, int64_t backdate_ms, int64_t validity_ms, struct ca_leaf *leaf);

/* Adds an extension that OpenSSL knows how to print, such as "critical,CA:FALSE". 0, or -1. */
int32_t cvm_ca_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value);
/* 128 random bits. 0, or -1. */
int32_t cvm_ca_random_serial(ASN1_INTEGER *serial);
/* What was written to a memory BIO, as a string; freed by the caller. */
char *cvm_ca_text_of(BIO *bio);

#endif
