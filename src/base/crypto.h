/* OpenSSL's own start. */
#ifndef CVM_BASE_CRYPTO_H
#define CVM_BASE_CRYPTO_H

#include <stdint.h>

/* To be asked before anything else of OpenSSL is called: without memory for its start, its
 * functions crash. Any thread, any number of times. 0, or -1: nothing works then, in this process.
 */
int32_t cvm_crypto_init(void);

#endif
