/* What was made here, looked at as a device will: before anybody is told that it is done. */
#ifndef CVM_LOCAL_MADE_H
#define CVM_LOCAL_MADE_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>

/* 1 if the certificate's life is just what was wanted of it. */
int32_t cvm_made_lives(const X509 *certificate, int64_t begins_ms, int64_t ends_ms);
/* Whether the certificate is good now, strictly by RFC 5280, under a root and the issuing CAs that
 * are not trusted by themselves (NULL: none). purpose: X509_PURPOSE_..., or 0 for any. crls: a PEM
 * file with a CRL of each issuer, or NULL. 0, or -1 and why. */
int32_t cvm_made_verify(X509 *certificate, X509 *root, X509 *issuing, int purpose, const char *crls,
    char *error, size_t error_size);

#endif
