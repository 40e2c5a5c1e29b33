/* Keys that carry only a curve: others are made of them. */
#ifndef CVM_CORE_CURVE_H
#define CVM_CORE_CURVE_H

#include <openssl/evp.h>

enum cvm_curve { CURVE_P256, CURVE_P384, CURVE_COUNT };

/* From any thread; it stays for good. NULL without memory: the next call tries again. */
EVP_PKEY *cvm_curve_key(enum cvm_curve curve);
/* A new key on it, which is the caller's; NULL without memory or random bytes. */
EVP_PKEY *cvm_curve_make_key(enum cvm_curve curve);

#endif
