/* ca/chain.pem: all issuing CAs, and the root, for brokers. */
#ifndef CVM_LOCAL_CHAIN_H
#define CVM_LOCAL_CHAIN_H

#include "ca.h"

/* Whether an issuer that was admitted since is not in it. A file that is missing or broken is told
 * of, and not touched. Blocks. */
int32_t cvm_chain_lacks(const struct ca_issuers *issuers, const char *folder);
/* 0, or -1 and why. Blocks. */
int32_t cvm_chain_write(const struct ca *ca, const struct ca_issuers *issuers, const char *folder,
    char *error, size_t error_size);

#endif
