/* The device's key: read from its CSR, or made here. */
#ifndef CVM_CORE_KEY_H
#define CVM_CORE_KEY_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/evp.h>

#include "base/hex.h"

enum cvm_key_type { KEY_P256, KEY_RSA2048 }; /* as server_key.type's choices */

struct cvm_key {
    uint8_t *spki; /* SubjectPublicKeyInfo, DER */
    size_t spki_length;
    char sha256[CVM_SHA256_HEX_SIZE]; /* of it */
    char *csr;                        /* PEM, if there is one */
    /* Only of a key that was made here: */
    EVP_PKEY *pkey;
    uint8_t *private_der; /* PKCS#8; PKCS#1 of RSA */
    size_t private_length;
    char *private_pem, *public_pem;
};

#define CVM_LONGEST_CSR     4096 /* of PEM, which platforms take no more of (AWS IoT's own bound) */
#define CVM_LONGEST_CSR_DER 2973 /* whose PEM is no longer */

/* Reads a PKCS#10 request (RFC 2986) of size bytes, behind which there is a NUL: DER, or one PEM
 * object, EC P-256 or P-384 by name or RSA 2048 to 4096 with e = 65537, signed by its key with
 * SHA-256 or better. Its subject and extensions are ignored. 0, or -1 and *why; *why NULL: no
 * memory. */
int32_t cvm_key_from_csr(struct cvm_key *key, const char *csr, size_t size, const char **why);
/* Makes a key; RSA takes 200 ms of CPU. 0, or -1. */
int32_t cvm_key_make(struct cvm_key *key, enum cvm_key_type type);
/* Fills key->csr for a key that was made here, for platforms that want one. 0, or -1. */
int32_t cvm_key_make_csr(struct cvm_key *key);
/* Fills spki and sha256. 0, or -1. */
int32_t cvm_key_set_public(struct cvm_key *key, const EVP_PKEY *pkey);
/* Wipes it. */
void cvm_key_clear(struct cvm_key *key);

#endif
