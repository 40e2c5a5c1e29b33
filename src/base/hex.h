/* Lower-case hex, and the SHA-256 of bytes in it: ids, token hashes, key hashes. */
#ifndef CVM_BASE_HEX_H
#define CVM_BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

#define CVM_SHA256_SIZE     32
#define CVM_SHA256_HEX_SIZE 65

/* Writes 2 * length digits and a NUL. */
void cvm_hex(const uint8_t *bytes, size_t length, char *text);
/* 1 if text is exactly digits lower-case hex digits. */
int32_t cvm_is_hex(const char *text, size_t digits);
/* Both: 0, or -1 without memory. */
int32_t cvm_sha256(const void *bytes, size_t length, uint8_t digest[CVM_SHA256_SIZE]);
int32_t cvm_sha256_hex(const void *bytes, size_t length, char text[CVM_SHA256_HEX_SIZE]);
/* Random bytes as hex: 2 * length digits. 0, or -1 when the system gives none. */
int32_t cvm_random_hex(size_t length, char *text);

#endif
