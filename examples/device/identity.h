/* The device's own key, which never leaves it, and the certificate request made with it. */
#ifndef CVM_DEVICE_IDENTITY_H
#define CVM_DEVICE_IDENTITY_H

#include "store.h"

#include <openssl/evp.h>

enum { CSR_SIZE = 4097 };

/* The key to ask a certificate for: that of an earlier request without an answer, or a new one. It
 * is on disk on return. 0 or an exit status, reported. Caller owns *key. */
int identity_key(const struct store *store, EVP_PKEY **key);

/* The request for `key` as PEM. 0 or an exit status, reported. */
int identity_csr(EVP_PKEY *key, const char *uid, char csr[CSR_SIZE]);

#endif
