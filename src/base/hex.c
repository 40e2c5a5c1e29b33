/* Hex, and hashes and random ids in it. */
#include "hex.h"

#include <stdatomic.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "at_exit.h"

void cvm_hex(const uint8_t *bytes, size_t length, char *text)
{
    static const char DIGITS[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        text[2 * i] = DIGITS[bytes[i] >> 4];
        text[2 * i + 1] = DIGITS[bytes[i] & 15];
    }
    text[2 * length] = 0;
}

int32_t cvm_is_hex(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

/* Kept for good: to look it up takes longer than to hash a short text. */
static const EVP_MD *hex_sha256_type(void)
{
    static _Atomic(EVP_MD *) kept;
    EVP_MD *expected = NULL, *found = atomic_load(&kept);
    if (found || !(found = EVP_MD_fetch(NULL, "SHA256", NULL)))
        return found;
    if (atomic_compare_exchange_strong(&kept, &expected, found))
        return found;
    EVP_MD_free(found); /* another thread was faster */
    return expected;
}

int32_t cvm_sha256(const void *bytes, size_t length, uint8_t digest[CVM_SHA256_SIZE])
{
    cvm_at_exit_enter();
    const EVP_MD *type = hex_sha256_type();
    int made = type && EVP_Digest(bytes, length, digest, NULL, type, NULL) == 1;
    cvm_at_exit_leave();
    return made ? 0 : -1;
}

int32_t cvm_sha256_hex(const void *bytes, size_t length, char text[CVM_SHA256_HEX_SIZE])
{
    uint8_t digest[CVM_SHA256_SIZE];
    if (cvm_sha256(bytes, length, digest))
        return -1;
    cvm_hex(digest, sizeof digest, text);
    return 0;
}

int32_t cvm_random_hex(size_t length, char *text)
{
    uint8_t bytes[32];
    cvm_at_exit_enter();
    int made = length <= sizeof bytes && RAND_bytes(bytes, (int)length) == 1;
    cvm_at_exit_leave();
    if (!made)
        return -1;
    cvm_hex(bytes, length, text);
    return 0;
}
