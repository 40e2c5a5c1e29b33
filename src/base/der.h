/* DER (X.690) by its elements, without what OpenSSL makes of them. Any thread. */
#ifndef CVM_BASE_DER_H
#define CVM_BASE_DER_H

#include <stdint.h>

/* Bytes that somebody else keeps; OpenSSL counts them so. */
struct cvm_span {
    const unsigned char *bytes;
    long length;
};

/* Takes one element of that tag and class off the front of rest: whole is all of it, content what
 * is in it; each may be NULL. 0, or -1 with rest as it was: another one, or no DER. */
int32_t cvm_der_take(
    struct cvm_span *rest, int tag, int class, struct cvm_span *whole, struct cvm_span *content);

#endif
