/* What every test program includes first: cmocka, with the headers that it wants before it. */
#ifndef CVM_TESTS_TEST_H
#define CVM_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Zeroed memory that a test of failing memory never fails: it watches malloc() and calloc(). */
static inline void *test_new(size_t size)
{
    void *memory = aligned_alloc(16, (size + 15) / 16 * 16);
    assert_non_null(memory);
    memset(memory, 0, size);
    return memory;
}

/* Reads hex digits into bytes, which has room; how many they are. */
static inline size_t test_from_hex(const char *hex, uint8_t *bytes)
{
    size_t length = 0;
    for (unsigned int byte; sscanf(hex + 2 * length, "%2x", &byte) == 1; length++)
        bytes[length] = (uint8_t)byte;
    return length;
}

/* How large a test that can be scaled is: CVM_TEST_SCALE, 1 if not set. */
static inline uint32_t test_scale(void)
{
    const char *text = getenv("CVM_TEST_SCALE");
    long scale = text ? strtol(text, NULL, 10) : 1;
    return scale > 0 && scale < 10000 ? (uint32_t)scale : 1;
}

/* What random tests start from: CVM_TEST_SEED. They print it when they fail. */
static inline uint64_t test_seed(void)
{
    const char *text = getenv("CVM_TEST_SEED");
    return text ? strtoull(text, NULL, 10) : 20260131;
}

/* xorshift64*: the same numbers everywhere for the same seed. */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

#endif
