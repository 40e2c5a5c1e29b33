/* Certificates in PEM (RFC 7468): what we made ourselves, or what an operator's file or a service
 * holds beside other things. A device's CSR is read more strictly, by core/csr_pem.c. Any thread.
 */
#ifndef CVM_BASE_PEM_H
#define CVM_BASE_PEM_H

#include <stddef.h>

#include "der.h"

#define CVM_LARGEST_ANCHORS 262144 /* bytes */

/* Returns the certificates of a text, PEM, without what else is in it: freed by the caller. NULL if
 * there is none, one that can't be read, more than CVM_LARGEST_ANCHORS of them, or no memory. */
char *cvm_pem_certificates(const char *text, size_t length);
/* Takes the next certificate off the front of *text, which is as cvm_pem_certificates() or OpenSSL
 * writes it: der is the caller's, to be freed. Returns 1; 0 if there is no more; -1 if it is none,
 * or without memory. */
int32_t cvm_pem_take(const char **text, unsigned char **der, long *length);
/* Decodes lines of base64 into der, which has room for three quarters of them. Returns 1; 0 if they
 * are none; -1 without memory. OpenSSL's decoder stops at the first '-'. */
int32_t cvm_pem_decode(struct cvm_span base64, unsigned char *der, long *length);

#endif
