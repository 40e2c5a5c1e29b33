/* Tokens. Everything is compared as a SHA-256, in constant time. */
#include "token.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/crypto.h"
#include "base/hex.h"
#include "entry.h"
#include "error.h"

#define LONGEST_UID   128
#define LONGEST_TOKEN 256

static int32_t is_made_of(const char *text, size_t longest, int32_t (*allowed)(char c))
{
    size_t length = text ? strnlen(text, longest + 1) : 0;
    if (length == 0 || length > longest)
        return 0;
    for (; *text; text++)
        if (!allowed(*text))
            return 0;
    return 1;
}

static int32_t is_uid_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == ':' ||
           c == '_' || c == '-';
}

static int32_t is_token_character(char c)
{
    return c > 0x20 && c < 0x7f && c != ':';
}

int32_t cvm_uid_is_valid(const char *uid)
{
    return is_made_of(uid, LONGEST_UID, is_uid_character);
}

int32_t cvm_token_is_valid(const char *token)
{
    return is_made_of(token, LONGEST_TOKEN, is_token_character);
}

int32_t cvm_token_hash(const char *token, char hash[CVM_TOKEN_HASH_SIZE])
{
    int prefix = snprintf(hash, CVM_TOKEN_HASH_SIZE, CVM_TOKEN_HASH_PREFIX);
    return cvm_sha256_hex(token, strlen(token), hash + prefix);
}

int32_t cvm_token_proves(const char *token, const char *stored, int32_t plain_tokens)
{
    char claimed[CVM_TOKEN_HASH_SIZE], expected[CVM_TOKEN_HASH_SIZE];
    size_t prefix = strlen(CVM_TOKEN_HASH_PREFIX);
    int32_t is_hash =
        strncmp(stored, CVM_TOKEN_HASH_PREFIX, prefix) == 0 && cvm_is_hex(stored + prefix, 64);
    /* A stored text that can't be used is replaced, so that the work stays the same. */
    int32_t is_usable = is_hash || (plain_tokens && cvm_token_is_valid(stored));
    if (cvm_token_hash(token, claimed) || cvm_token_hash(is_usable ? stored : "", expected))
        return 0;
    if (is_hash)
        memcpy(expected, stored, sizeof expected);
    return (CRYPTO_memcmp(claimed, expected, sizeof expected) == 0) & is_usable;
}

/* SHA-256(secret "//" uid ["+" second]) */
static int32_t digest_of(const void *secret, size_t secret_length, const char *uid,
    const char *second, uint8_t digest[32])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int ok = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) &&
             EVP_DigestUpdate(context, secret, secret_length) &&
             EVP_DigestUpdate(context, "//", 2) && EVP_DigestUpdate(context, uid, strlen(uid));
    if (ok && second)
        ok = EVP_DigestUpdate(context, "+", 1) && EVP_DigestUpdate(context, second, strlen(second));
    ok = ok && EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    return ok ? 0 : -1;
}

static int32_t hmac_of(
    const void *secret, size_t secret_length, const char *uid, uint8_t digest[32])
{
    return HMAC(EVP_sha256(), secret, (int)secret_length, (const unsigned char *)uid, strlen(uid),
               digest, NULL)
               ? 0
               : -1;
}

cvm_error_t *cvm_token(const void *secret, size_t secret_length, const char *uid,
    const char *second, int32_t hmac, char token[65])
{
    uint8_t digest[32];
    cvm_error_t *error = cvm_check_arguments(__func__, secret && uid && token);
    if (error)
        return error;
    if (cvm_crypto_init())
        return cvm_error_out_of_memory();
    if (!secret_length || secret_length > INT32_MAX)
        return cvm_error_new(REASON_invalid_request, "the secret is empty");
    if (!cvm_uid_is_valid(uid) || (second && !cvm_uid_is_valid(second)))
        return cvm_error_new(
            REASON_invalid_request, "the uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    if (hmac && second)
        return cvm_error_new(REASON_invalid_request, "the HMAC form takes no second id");
    if (hmac ? hmac_of(secret, secret_length, uid, digest)
             : digest_of(secret, secret_length, uid, second, digest))
        return cvm_error_out_of_memory();
    cvm_hex(digest, sizeof digest, token);
    OPENSSL_cleanse(digest, sizeof digest);
    return NULL;
}
