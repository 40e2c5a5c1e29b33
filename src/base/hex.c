/* Hex, and hashes and random ids in it. */
#include "hex.h"

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

int32_t cvm_sha256_hex(const void *bytes, size_t length, char text[CVM_SHA256_HEX_SIZE])
{
    uint8_t digest[32];
    cvm_at_exit_enter();
    int made = EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL);
    cvm_at_exit_leave();
    if (made != 1)
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
