/* What a TLS client may say before its handshake is done. */
#include "support/test.h"

#include "transports/common/hello.h"

#define RECORD(type, length)  type, 3, 3, (length) >> 8, (length)&255
#define MESSAGE(type, length) type, 0, (length) >> 8, (length)&255

/* In one piece, and byte by byte. */
static int32_t take(const uint8_t *bytes, size_t length)
{
    struct cvm_hello whole = {0}, pieces = {0};
    int32_t failed = cvm_hello_take(&whole, bytes, length), fails = 0;
    for (size_t i = 0; i < length && !fails; i++)
        fails = cvm_hello_take(&pieces, bytes + i, 1);
    assert_int_equal(failed, fails);
    return failed;
}

static void a_hello_is_taken(void **state)
{
    (void)state;
    const uint8_t hello[] = {RECORD(22, 8), MESSAGE(1, 4), 0, 0, 0, 0};
    assert_int_equal(take(hello, sizeof hello), 0);
    const uint8_t in_pieces[] = {
        RECORD(22, 2), 1, 0, RECORD(22, 3), 0, 4, 9, RECORD(22, 3), 9, 9, 9};
    assert_int_equal(take(in_pieces, sizeof in_pieces), 0);
}

/* As soon as its size is known. */
static void a_large_hello_is_not(void **state)
{
    (void)state;
    const uint8_t large[] = {RECORD(22, 4), 1, 0, 0x40, 1},
                  largest[] = {RECORD(22, 4), 1, 0, 0x40, 0};
    assert_int_equal(take(large, sizeof large), -1);
    assert_int_equal(take(largest, sizeof largest), 0);
    const uint8_t in_pieces[] = {RECORD(22, 1), 1, RECORD(22, 1), 1, RECORD(22, 2), 0, 0};
    assert_int_equal(take(in_pieces, sizeof in_pieces), -1);
}

/* After the server asked for another one (RFC 8446 §4.1.4). */
static void a_second_hello_may_not_be_large_either(void **state)
{
    (void)state;
    const uint8_t plain[] = {RECORD(22, 5), MESSAGE(1, 1), 0, RECORD(22, 4), 1, 1, 0, 0};
    assert_int_equal(take(plain, sizeof plain), -1);
    const uint8_t behind_a_change[] = {
        RECORD(22, 5), MESSAGE(1, 1), 0, RECORD(20, 1), 1, RECORD(22, 4), 1, 1, 0, 0};
    assert_int_equal(take(behind_a_change, sizeof behind_a_change), -1);
}

/* Bytes that mean nothing here would look like a size. */
static void what_is_encrypted_is_not_looked_into(void **state)
{
    (void)state;
    const uint8_t older[] = {RECORD(22, 5), MESSAGE(1, 1), 0, RECORD(22, 5), MESSAGE(16, 1), 0,
        RECORD(20, 1), 1, RECORD(22, 8), 1, 255, 255, 255, 1, 255, 255, 255};
    assert_int_equal(take(older, sizeof older), 0);
    const uint8_t newer[] = {RECORD(22, 5), MESSAGE(1, 1), 0, RECORD(20, 1), 1, RECORD(23, 4), 1,
        255, 255, 255, RECORD(22, 4), 1, 255, 255, 255};
    assert_int_equal(take(newer, sizeof newer), 0);
}

static void no_more_is_taken_than_a_handshake_needs(void **state)
{
    (void)state;
    struct cvm_hello hello = {0};
    static uint8_t bytes[CVM_LARGEST_HANDSHAKE];
    assert_int_equal(cvm_hello_take(&hello, bytes, sizeof bytes), 0);
    assert_int_equal(cvm_hello_take(&hello, bytes, 1), -1);
    assert_int_equal(cvm_hello_take(&hello, bytes, SIZE_MAX), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_is_taken),
        cmocka_unit_test(a_large_hello_is_not),
        cmocka_unit_test(a_second_hello_may_not_be_large_either),
        cmocka_unit_test(what_is_encrypted_is_not_looked_into),
        cmocka_unit_test(no_more_is_taken_than_a_handshake_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
