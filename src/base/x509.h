/* What stands where in a certificate (RFC 5280 §4.1). OpenSSL's own parser decodes the key too,
 * which takes ten times longer than all the rest and longer than making one. Any thread. */
#ifndef CVM_BASE_X509_H
#define CVM_BASE_X509_H

#include "der.h"

struct cvm_x509 {
    struct cvm_span der; /* its own */
    /* Elements of it, whole. */
    struct cvm_span serial_number, not_before, not_after, subject_public_key_info;
};

/* Reads the first certificate of a PEM; no signature is verified, and no extension looked
 * at. 0, to be freed by cvm_x509_free(); or -1 if it is none, or without memory. */
int32_t cvm_x509_read(struct cvm_x509 *certificate, const char *pem);
void cvm_x509_free(struct cvm_x509 *certificate);

#endif
