/* What making a CA and its next issuing CA have in common. */
#ifndef CVM_LOCAL_INIT_H
#define CVM_LOCAL_INIT_H

#include <openssl/x509.h>

/* An issuing CA's certificate for key, signed by the root, whose CRL is at crl_url (NULL: nowhere).
 * NULL on failure. */
X509 *cvm_init_issuing(
    EVP_PKEY *key, X509 *root, EVP_PKEY *root_key, const char *common_name, const char *crl_url);
/* PKCS#8, PEM; wiped and freed by the caller. NULL on failure. */
char *cvm_init_key_pem(EVP_PKEY *key);

#endif
