/* Objects in PEM (RFC 7468): what we made ourselves, or what an operator's file holds between other
 * lines. A device's CSR is read more strictly, by core/csr_pem.c. Any thread. */
#ifndef CVM_BASE_PEM_H
#define CVM_BASE_PEM_H

#include "der.h"

/* Decodes lines of base64 into der, which has room for three quarters of them. 1; 0 if they are
 * none; -1 without memory. */
int32_t cvm_pem_decode(struct cvm_span base64, unsigned char *der, long *length);
/* Takes the next object off the front of *text: der is the caller's, to be freed by
 * cvm_secret_free(). 1; 0 if there is none; -1 if it is cut or no base64, or without memory. */
int32_t cvm_pem_take(const char **text, unsigned char **der, long *length);

#endif
