/* The parts of reading a CSR: its PEM, its DER and key (csr.c), its signature. Each says in *why
 * what is wrong with it. */
#ifndef CVM_CORE_CSR_H
#define CVM_CORE_CSR_H

#include <stdint.h>

#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/der.h"

struct csr {
    struct cvm_span info; /* what is signed */
    struct cvm_span spki;
    X509_ALGOR *signed_with;
    ASN1_BIT_STRING *signature;
};

/* Sets *why. Returns -1. */
int32_t cvm_csr_refuse(const char **why, const char *text);

/* The DER in a PEM of at most CVM_LONGEST_CSR bytes; der has room for as many. 0, or -1 and why. */
int32_t cvm_csr_from_pem(const char *pem, unsigned char *der, long *length, const char **why);
/* The PEM of a DER, in the one form that platforms are handed; freed by the caller. NULL without
 * memory. */
char *cvm_csr_to_pem(const unsigned char *der, long length);

/* Is the CSR signed by its key, which is of that kind (an OID's NID), and well enough? 0, or -1 and
 * why. */
int32_t cvm_csr_check_signature(
    const struct csr *csr, EVP_PKEY *key, int key_nid, const char **why);

#endif
