/* CoAP messages: the examples of RFC 7252, what is refused and how, and what is written. */
#include "support/test.h"

#include "transports/coap/message.h"

/* In memory of just that size, so that the sanitizer watches its end. The bytes are the caller's.
 */
static enum cvm_coap_verdict read_hex(
    struct cvm_coap_message *message, const char *hex, uint8_t **bytes)
{
    uint8_t scratch[512];
    size_t length = test_from_hex(hex, scratch);
    *bytes = malloc(length + !length);
    assert_non_null(*bytes);
    memcpy(*bytes, scratch, length);
    return cvm_coap_read(message, *bytes, length);
}

/* Appendix A, figures 16 and 17: GET coap://server/temperature, "22.3 C". */
static void the_rfcs_example(void **state)
{
    struct cvm_coap_message message;
    struct cvm_coap_option option;
    uint8_t *bytes;
    (void)state;
    assert_int_equal(read_hex(&message, "41017d3420bb74656d7065726174757265", &bytes), COAP_TAKEN);
    assert_int_equal(message.type, COAP_CON);
    assert_int_equal(message.code, COAP_GET);
    assert_int_equal(message.id, 0x7d34);
    assert_int_equal(message.token_length, 1);
    assert_int_equal(message.token[0], 0x20);
    assert_int_equal(message.payload_length, 0);
    struct cvm_coap_walk walk = {.message = &message};
    assert_int_equal(cvm_coap_next_option(&walk, &option), 1);
    assert_int_equal(option.number, 11);
    assert_int_equal(option.length, 11);
    assert_memory_equal(option.value, "temperature", 11);
    assert_int_equal(cvm_coap_next_option(&walk, &option), 0);
    free(bytes);
    assert_int_equal(read_hex(&message, "61457d3420ff32322e332043", &bytes), COAP_TAKEN);
    assert_int_equal(message.type, COAP_ACK);
    assert_int_equal(message.code, COAP_CODE(2, 5));
    assert_int_equal(message.payload_length, 6);
    assert_memory_equal(message.payload, "22.3 C", 6);
    free(bytes);
}

static void what_is_not_taken(void **state)
{
    static const struct {
        const char *hex;
        enum cvm_coap_verdict verdict;
    } CASES[] = {
        {"", COAP_IGNORED},
        {"40", COAP_IGNORED},
        {"400000", COAP_IGNORED},
        {"00010000", COAP_IGNORED},
        {"80010000", COAP_IGNORED},
        {"c0010000", COAP_IGNORED},
        {"49010000"
         "010203040506070809",
            COAP_REJECTED}, /* TKL 9 */
        {"4f010000"
         "0102030405060708090a0b0c0d0e0f",
            COAP_REJECTED},
        {"4801000001020304050607", COAP_REJECTED}, /* a token that is cut */
        {"40010000ff", COAP_REJECTED},             /* a marker without a payload */
        {"40010000b4ff", COAP_REJECTED},
        {"40010000b1", COAP_REJECTED}, /* a value that is cut */
        {"40010000d0", COAP_REJECTED},
        {"40010000e000", COAP_REJECTED}, /* a delta that is cut */
        {"400100000d", COAP_REJECTED},
        {"400100000e00", COAP_REJECTED}, /* a length */
        {"40010000f0", COAP_REJECTED},
        {"400100000f", COAP_REJECTED}, /* 15 is reserved */
        {"40010000e0fef2"
         "10",
            COAP_REJECTED}, /* past 65535 */
        {"40010000e0ffff", COAP_REJECTED},
        {"40200000", COAP_REJECTED},
        {"40c00000", COAP_REJECTED},
        {"40e00000", COAP_REJECTED},
        {"4060ffff", COAP_REJECTED}, /* reserved classes */
        {"400000000100", COAP_REJECTED},
        {"4100000001", COAP_REJECTED}, /* empty, and more */
        {"50000000", COAP_REJECTED},   /* no confirmation asked for nothing */
        {"70010000", COAP_REJECTED},
        {"60010000", COAP_REJECTED},
        {"40000000", COAP_TAKEN},
        {"60000000", COAP_TAKEN},
        {"70000000", COAP_TAKEN},
        {"5001ffff", COAP_TAKEN},
        {"60450001", COAP_TAKEN},
        {"401f0000", COAP_TAKEN},
        {"40010000e0fef2", COAP_TAKEN}, /* 65535 */
        {"40010000ff00", COAP_TAKEN},
        {"48020001"
         "0102030405060708"
         "ff01",
            COAP_TAKEN},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        struct cvm_coap_message message;
        uint8_t *bytes;
        enum cvm_coap_verdict verdict = read_hex(&message, CASES[i].hex, &bytes);
        if (verdict != CASES[i].verdict)
            fail_msg("%s: %d", CASES[i].hex, (int)verdict);
        assert_in_range(message.token_length, 0, CVM_COAP_LONGEST_TOKEN);
        free(bytes);
    }
}

/* Deltas and lengths around each of the limits of their forms. */
static void what_is_written_is_read(void **state)
{
    static const uint16_t NUMBERS[] = {0, 12, 13, 25, 268, 269, 538, 65535};
    static const size_t LENGTHS[] = {0, 1, 12, 13, 14, 268, 269, 300};
    uint8_t bytes[2048], value[300];
    struct cvm_coap_message message = {
        .type = COAP_NON, .code = COAP_POST, .id = 0xfedc, .token = {1, 2, 3}, .token_length = 3};
    struct cvm_coap_writer writer = {.bytes = bytes, .size = sizeof bytes};
    (void)state;
    memset(value, 0xff, sizeof value);
    cvm_coap_write_head(&writer, &message);
    for (size_t i = 0; i < LENGTH(NUMBERS); i++)
        cvm_coap_write_option(&writer, NUMBERS[i], value, LENGTHS[i]);
    cvm_coap_write_payload(&writer, "payload", 7);
    assert_int_equal(writer.failed, 0);
    struct cvm_coap_message found;
    assert_int_equal(cvm_coap_read(&found, bytes, writer.length), COAP_TAKEN);
    assert_int_equal(found.type, COAP_NON);
    assert_int_equal(found.code, COAP_POST);
    assert_int_equal(found.id, 0xfedc);
    assert_memory_equal(found.token, "\1\2\3", 3);
    assert_memory_equal(found.payload, "payload", 7);
    struct cvm_coap_walk walk = {.message = &found};
    struct cvm_coap_option option;
    for (size_t i = 0; i < LENGTH(NUMBERS); i++) {
        assert_int_equal(cvm_coap_next_option(&walk, &option), 1);
        assert_int_equal(option.number, NUMBERS[i]);
        assert_int_equal(option.length, LENGTHS[i]);
        assert_memory_equal(option.value, value, option.length);
    }
    assert_int_equal(cvm_coap_next_option(&walk, &option), 0);
}

static void numbers_take_as_few_bytes_as_they_need(void **state)
{
    static const struct {
        uint32_t value;
        size_t length;
    } CASES[] = {
        {0, 0}, {1, 1}, {255, 1}, {256, 2}, {65535, 2}, {65536, 3}, {16777216, 4}, {UINT32_MAX, 4}};
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        uint8_t bytes[16];
        struct cvm_coap_message message = {.type = COAP_CON, .code = COAP_GET};
        struct cvm_coap_writer writer = {.bytes = bytes, .size = sizeof bytes};
        struct cvm_coap_option option;
        cvm_coap_write_head(&writer, &message);
        cvm_coap_write_uint(&writer, 12, CASES[i].value);
        assert_int_equal(writer.length, 5 + CASES[i].length);
        assert_int_equal(cvm_coap_read(&message, bytes, writer.length), COAP_TAKEN);
        struct cvm_coap_walk walk = {.message = &message};
        assert_int_equal(cvm_coap_next_option(&walk, &option), 1);
        assert_int_equal(cvm_coap_uint(&option), CASES[i].value);
    }
    static const uint8_t PADDED[] = {0, 0, 7};
    const struct cvm_coap_option padded = {.value = PADDED, .length = sizeof PADDED};
    assert_int_equal(cvm_coap_uint(&padded), 7);
}

static void what_does_not_fit_is_not_written(void **state)
{
    uint8_t bytes[64];
    const struct cvm_coap_message message = {.token = {0}, .token_length = 8};
    (void)state;
    for (size_t size = 0; size < 32; size++) {
        struct cvm_coap_writer writer = {.bytes = bytes, .size = size};
        cvm_coap_write_head(&writer, &message);
        cvm_coap_write_option(&writer, 300, "abcdefgh", 8);
        cvm_coap_write_payload(&writer, "12345", 5);
        assert_int_equal(writer.failed, size < 12 + 3 + 8 + 6);
        assert_true(writer.length <= size);
    }
    struct cvm_coap_writer writer = {.bytes = bytes, .size = sizeof bytes};
    cvm_coap_write_option(&writer, 12, "", 0);
    cvm_coap_write_option(&writer, 11, "", 0); /* not in order */
    assert_int_equal(writer.failed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_example),
        cmocka_unit_test(what_is_not_taken),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(numbers_take_as_few_bytes_as_they_need),
        cmocka_unit_test(what_does_not_fit_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
