/* Tokens: what proves a record is what an independent reading of the contract says, and derived
 * tokens are the formulas' values. The input: flags, then texts ended by newlines. */
#include "fuzz.h"

#include <string.h>

#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "cvm/cvm.h"
#include "token.h"

enum {
    PLAIN_TOKENS = 1,
    STORE_ITS_HASH = 2,
    STORE_ITSELF = 4,
    SPOIL = 8,
    HMAC_FORM = 16,
    SECOND = 32
};

static void to_hex(const uint8_t digest[32], char text[65])
{
    for (size_t i = 0; i < 32; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

static int32_t has_form(const char *text, size_t longest, const char *allowed)
{
    size_t length = strlen(text);
    return length >= 1 && length <= longest && strspn(text, allowed) == length;
}

static int32_t is_token(const char *text)
{
    return has_form(text, 256,
        "!\"#$%&'()*+,-./0123456789;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`"
        "abcdefghijklmnopqrstuvwxyz{|}~");
}

static int32_t is_uid(const char *text)
{
    return has_form(text, 128, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-");
}

static int32_t should_prove(const char *token, const char *stored, int32_t plain_tokens)
{
    uint8_t digest[32];
    char hash[72] = "sha256:";
    (void)SHA256((const uint8_t *)token, strlen(token), digest);
    to_hex(digest, hash + 7);
    return strcmp(stored, hash) == 0 ||
           (plain_tokens && is_token(stored) && strcmp(stored, token) == 0);
}

/* A record for the token, or nearly: random texts alone would never match. */
static char *make_stored(const char *token, uint8_t flags, struct fuzz_bytes *bytes)
{
    char hash[CVM_TOKEN_HASH_SIZE];
    char *stored = fuzz_text(bytes, '\n');
    if (flags & (STORE_ITS_HASH | STORE_ITSELF)) {
        CHECK(cvm_token_hash(token, hash) == 0);
        free(stored);
        stored = strdup(flags & STORE_ITS_HASH ? hash : token);
        CHECK(stored);
    }
    size_t length = strlen(stored);
    if (flags & SPOIL && length)
        stored[fuzz_byte(bytes) % length] ^= '\1';
    return stored;
}

static void check_proof(uint8_t flags, struct fuzz_bytes *bytes)
{
    char *token = fuzz_text(bytes, '\n');
    char *stored = make_stored(token, flags, bytes);
    int32_t plain = (flags & PLAIN_TOKENS) != 0;
    CHECK(cvm_token_is_valid(token) == is_token(token));
    CHECK(cvm_uid_is_valid(token) == is_uid(token));
    CHECK(cvm_token_proves(token, stored, plain) == should_prove(token, stored, plain));
    if (!plain && strncmp(stored, "sha256:", 7) != 0)
        CHECK(!cvm_token_proves(stored, stored, plain));
    free(token);
    free(stored);
}

static void derive(
    const char *secret, const char *uid, const char *second, int32_t hmac, char hex[65])
{
    uint8_t digest[32];
    char *text = NULL;
    int length =
        asprintf(&text, "%s//%s%s%s", secret, uid, second ? "+" : "", second ? second : "");
    CHECK(length >= 0);
    if (hmac)
        CHECK(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)uid, strlen(uid),
            digest, NULL));
    else
        (void)SHA256((const uint8_t *)text, (size_t)length, digest);
    to_hex(digest, hex);
    free(text);
}

static void check_derived(uint8_t flags, struct fuzz_bytes *bytes)
{
    char *secret = fuzz_text(bytes, '\n'), *uid = fuzz_text(bytes, '\n');
    char *second = flags & SECOND ? fuzz_text(bytes, '\n') : NULL;
    char token[65], expected[65];
    int32_t hmac = (flags & HMAC_FORM) != 0;
    cvm_error_t *error = cvm_token(secret, strlen(secret), uid, second, hmac, token);
    int32_t is_fit = *secret && is_uid(uid) && (!second || (is_uid(second) && !hmac));
    CHECK((error == NULL) == is_fit);
    if (!error) {
        derive(secret, uid, second, hmac, expected);
        CHECK(strcmp(token, expected) == 0);
    }
    cvm_error_free(error);
    free(secret);
    free(uid);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes bytes = {data, size};
    uint8_t flags = fuzz_byte(&bytes);
    check_proof(flags, &bytes);
    check_derived(flags, &bytes);
    return 0;
}
