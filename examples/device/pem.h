/* PEM to OpenSSL's objects and back. */
#ifndef CVM_DEVICE_PEM_H
#define CVM_DEVICE_PEM_H

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

typedef STACK_OF(X509) cert_stack;

/* All certificates of a text, in order; NULL if there is none or one is broken. Caller owns. */
cert_stack *pem_certificates(const char *text);

/* An unencrypted private key, PKCS#8, PKCS#1 or SEC 1; NULL if there is none. Caller owns. */
EVP_PKEY *pem_private_key(const char *text);

/* The reverse; a BIO in memory, which OpenSSL cleanses when it is freed. NULL on failure. */
BIO *pem_from_certificates(const cert_stack *certificates);
BIO *pem_from_private_key(EVP_PKEY *key);

#endif
