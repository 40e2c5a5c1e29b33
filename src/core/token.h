/* Registration tokens: their form, how they are stored and compared, how they are derived. */
#ifndef CVM_CORE_TOKEN_H
#define CVM_CORE_TOKEN_H

#include <stdint.h>

#define CVM_TOKEN_HASH_PREFIX "sha256:"
#define CVM_TOKEN_HASH_SIZE   (7 + 64 + 1)

/* 1 to 128 of A-Z a-z 0-9 : _ -. */
int32_t cvm_uid_is_valid(const char *uid);
/* 1 to 256 printable ASCII without ":"; so what looks like a stored hash is refused. */
int32_t cvm_token_is_valid(const char *token);
/* "sha256:" and the hash, as a record holds it. 0, or -1 without memory. */
int32_t cvm_token_hash(const char *token, char hash[CVM_TOKEN_HASH_SIZE]);
/* 1 if token proves what the record holds. The same work for any stored text, also for "" (an
 * unknown device). plain_tokens: a stored text without the prefix is compared as it is. */
int32_t cvm_token_proves(const char *token, const char *stored, int32_t plain_tokens);

#endif
