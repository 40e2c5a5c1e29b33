/* CRLs: what is listed, and crl.pem as a file. */
#ifndef CVM_LOCAL_CRL_H
#define CVM_LOCAL_CRL_H

#include "ca.h"

struct crl;

/* An empty CRL of the issuing CA; validity_ms 0: until the CA ends. NULL without memory. */
struct crl *cvm_crl_new(const struct ca *ca, int64_t number, int64_t validity_ms);
void cvm_crl_free(struct crl *crl);
/* Lists a certificate. reason is RFC 5280's name. 0, or -1. */
int32_t cvm_crl_add(struct crl *crl, const char *serial_hex, int64_t revoked_at_ms, const char *reason);
/* Signs it; PEM, followed by the root's CRL. NULL on failure. */
char *cvm_crl_sign(struct crl *crl, const struct ca *ca);
/* Writes crl.pem: a temporary file that is parsed again before it takes the old one's place. 0, or -1
 * and why. */
int32_t cvm_crl_write(const char *folder, const char *pem, char *error, size_t error_size);
/* When the first CRL in crl.pem ends, and its number; 0 if it can't be read. */
int64_t cvm_crl_read(const char *folder, int64_t *next_update_ms);
/* The root's CRL: lists nothing, until the root ends. PEM. */
char *cvm_crl_of_root(X509 *root, EVP_PKEY *key);

#endif
