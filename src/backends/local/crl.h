/* CRLs: what is listed, and crl.pem as a file. */
#ifndef CVM_LOCAL_CRL_H
#define CVM_LOCAL_CRL_H

#include "ca.h"
#include "local.h"

struct crl;

/* When a CRL that is made now ends; validity_ms 0: when the CA ends, which no CRL outlives. */
int64_t cvm_crl_end_ms(const struct ca *ca, int64_t validity_ms);
/* An empty CRL of the issuing CA that ends then. NULL without memory. */
struct crl *cvm_crl_new(const struct ca *ca, int64_t number, int64_t validity_ms);
void cvm_crl_free(struct crl *crl);
/* Lists a certificate. reason is RFC 5280's name. 0, or -1. */
int32_t cvm_crl_add(
    struct crl *crl, const char *serial_hex, int64_t revoked_at_ms, const char *reason);
/* Signs it; PEM, followed by the root's CRL. NULL on failure. */
char *cvm_crl_sign(struct crl *crl, const struct ca *ca);
/* Writes crl.pem, once it is parsed and verified again, by a temporary file. 0, or -1 and why. */
int32_t cvm_crl_write(
    const struct ca *ca, const char *folder, const char *pem, char *error, size_t error_size);
/* The number of the issuing CA's CRL in crl.pem, when it begins and when it ends. 0 if the file is
 * missing, broken or not this CA's. */
int64_t cvm_crl_read(
    const struct ca *ca, const char *folder, int64_t *this_update_ms, int64_t *next_update_ms);
/* Calls listed for each entry of the issuing CA's CRL in crl.pem 0, or -1 if one
 * of the calls failed, or the CRL can't be read. */
int32_t cvm_crl_each(const struct ca *ca, const char *folder,
    int32_t (*listed)(void *argument, const struct cvm_listed *entry), void *argument);
/* The root's CRL: lists nothing, until the root ends. PEM. */
char *cvm_crl_of_root(X509 *root, EVP_PKEY *key);

#endif
