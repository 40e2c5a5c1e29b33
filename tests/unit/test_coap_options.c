/* What a request's options say, and which are refused or passed over. */
#include "support/test.h"

#include "transports/coap/options.h"

/* Of a request with options that write() writes. */
static uint8_t read_with(struct cvm_coap_options *options, const char **why,
    void (*write)(struct cvm_coap_writer *writer))
{
    static uint8_t bytes[4096];
    struct cvm_coap_message message = {.type = COAP_CON, .code = COAP_POST};
    struct cvm_coap_writer writer = {.bytes = bytes, .size = sizeof bytes};
    cvm_coap_write_head(&writer, &message);
    write(&writer);
    assert_int_equal(writer.failed, 0);
    assert_int_equal(cvm_coap_read(&message, bytes, writer.length), COAP_TAKEN);
    return cvm_coap_read_options(options, &message, why);
}

static void nothing(struct cvm_coap_writer *writer)
{
    (void)writer;
}

static void everything(struct cvm_coap_writer *writer)
{
    cvm_coap_write_option(writer, COAP_URI_HOST, "example.com", 11);
    cvm_coap_write_uint(writer, COAP_URI_PORT, 5684);
    cvm_coap_write_option(writer, COAP_URI_PATH, "ca", 2);
    cvm_coap_write_option(writer, COAP_URI_PATH, "crl", 3);
    cvm_coap_write_uint(writer, COAP_CONTENT_FORMAT, 60);
    cvm_coap_write_option(writer, COAP_URI_QUERY, "rt=core.rd", 10);
    cvm_coap_write_option(writer, COAP_URI_QUERY, "if=x", 4);
    cvm_coap_write_uint(writer, COAP_HOP_LIMIT, 16);
    cvm_coap_write_uint(writer, COAP_ACCEPT, 0);
    cvm_coap_write_uint(writer, COAP_BLOCK2, 0x16);
    cvm_coap_write_uint(writer, COAP_BLOCK1, 0x2a);
    cvm_coap_write_uint(writer, COAP_SIZE2, 0);
    cvm_coap_write_uint(writer, COAP_SIZE1, 3000);
    cvm_coap_write_option(writer, COAP_ECHO, "echo", 4);
    cvm_coap_write_uint(writer, COAP_NO_RESPONSE, 26);
    cvm_coap_write_option(writer, COAP_REQUEST_TAG, "tag", 3);
}

static void all_that_are_known(void **state)
{
    struct cvm_coap_options options;
    const char *why;
    (void)state;
    assert_int_equal(read_with(&options, &why, everything), 0);
    assert_string_equal(options.path, "/ca/crl");
    assert_string_equal(options.query, "rt=core.rd&if=x");
    assert_int_equal(options.content_format, 60);
    assert_int_equal(options.accept, 0);
    assert_int_equal(
        options.has_block2 && options.block2.number == 1 && options.block2.szx == 6, 1);
    assert_int_equal(
        options.has_block1 && options.block1.number == 2 && options.block1.has_more, 1);
    assert_int_equal(options.has_size1 && options.size1 == 3000, 1);
    assert_int_equal(options.echo_length, 4);
    assert_int_equal(options.request_tags_length, 4);
    assert_memory_equal(options.request_tags, "\3tag", 4);
    for (uint8_t class = 2; class <= 5; class ++)
        assert_int_equal(cvm_coap_is_unwanted(&options, COAP_CODE(class, 0)), class != 3);
    assert_int_equal(read_with(&options, &why, nothing), 0);
    assert_string_equal(options.path, "/");
    assert_true(
        options.content_format == CVM_COAP_NO_FORMAT && options.accept == CVM_COAP_NO_FORMAT);
    assert_int_equal(options.has_block1 || options.has_block2 || options.request_tags_length, 0);
    assert_int_equal(cvm_coap_is_unwanted(&options, COAP_CODE(2, 4)), 0);
}

static char long_text[1100];

/* One option each, or several of the same number. */
static const struct case_ {
    uint16_t number;
    const char *value;
    size_t length, times;
    uint8_t code;
} CASES[] = {
    {9, "", 0, 1, COAP_CODE(4, 2)}, /* OSCORE: critical, and not ours */
    {1, "a", 1, 1, COAP_CODE(4, 2)},
    {5, "", 0, 1, COAP_CODE(4, 2)},
    {31, "", 0, 1, COAP_CODE(4, 2)},
    {65535, "", 0, 1, COAP_CODE(4, 2)},
    {6, "", 0, 1, 0},
    {65534, "abc", 3, 1, 0},
    {2, "", 0, 9, 0}, /* elective */
    {COAP_URI_HOST, "", 0, 1, COAP_CODE(4, 2)},
    {COAP_URI_PORT, "abc", 3, 1, COAP_CODE(4, 2)},
    {COAP_ACCEPT, "abc", 3, 1, COAP_CODE(4, 2)},
    {COAP_BLOCK1, "abcd", 4, 1, COAP_CODE(4, 2)},
    {COAP_ACCEPT, "a", 1, 2, COAP_CODE(4, 2)},
    {COAP_URI_HOST, "a", 1, 2, COAP_CODE(4, 2)},
    {COAP_BLOCK2, "\x06", 1, 2, COAP_CODE(4, 2)},
    {COAP_BLOCK1, "\x07", 1, 1, COAP_CODE(4, 0)},
    {COAP_BLOCK2, "\x0f", 1, 1, COAP_CODE(4, 0)},
    {COAP_CONTENT_FORMAT, "abc", 3, 1, 0},
    {COAP_CONTENT_FORMAT, "\x32", 1, 2, 0},
    {COAP_ECHO, "", 0, 1, 0},
    {COAP_NO_RESPONSE, "ab", 2, 1, 0},
    {COAP_REQUEST_TAG, "123456789", 9, 1, 0},
    {COAP_REQUEST_TAG, "", 0, 1, 0},
    {COAP_HOP_LIMIT, "", 0, 1, 0},
    {COAP_HOP_LIMIT, "\0", 1, 1, COAP_CODE(4, 0)},
    {COAP_HOP_LIMIT, "\1", 1, 1, 0},
    {COAP_HOP_LIMIT, "ab", 2, 1, 0},
    {COAP_REQUEST_TAG, "12345678", 8, 4, 0},
    {COAP_REQUEST_TAG, "12345678", 8, 5, COAP_CODE(4, 2)},
    {COAP_PROXY_URI, long_text, 1034, 1, COAP_CODE(5, 5)},
    {COAP_PROXY_URI, long_text, 1035, 1, COAP_CODE(4, 2)},
    {COAP_URI_QUERY, long_text, 255, 1, 0},
    {COAP_URI_QUERY, long_text, 128, 2, COAP_CODE(4, 0)},
    {COAP_URI_PATH, long_text, 254, 1, 0},
    {COAP_URI_PATH, long_text, 255, 1, COAP_CODE(4, 4)},
    {COAP_PROXY_URI, "coap://x", 8, 1, COAP_CODE(5, 5)},
    {COAP_PROXY_SCHEME, "http", 4, 1, COAP_CODE(5, 5)},
    {COAP_URI_PATH, "a/b", 3, 1, COAP_CODE(4, 4)},
    {COAP_URI_PATH, "a\0b", 3, 1, COAP_CODE(4, 4)},
    {COAP_URI_PATH, "abcdefghijklmnopqrstuvwxyz", 26, 9, 0},
    {COAP_URI_PATH, "abcdefghijklmnopqrstuvwxyz", 26, 10, COAP_CODE(4, 4)},
    {COAP_URI_QUERY, "a&b", 3, 1, COAP_CODE(4, 0)},
    {COAP_URI_QUERY, "abcdefghijklmnopqrstuvwxyz", 26, 10, COAP_CODE(4, 0)},
};
static const struct case_ *now;

static void the_case(struct cvm_coap_writer *writer)
{
    for (size_t i = 0; i < now->times; i++)
        cvm_coap_write_option(writer, now->number, now->value, now->length);
}

static void what_is_refused_or_passed_over(void **state)
{
    struct cvm_coap_options options;
    const char *why;
    (void)state;
    memset(long_text, 'x', sizeof long_text);
    for (now = CASES; now < CASES + LENGTH(CASES); now++) {
        uint8_t code = read_with(&options, &why, the_case);
        if (code != now->code || !code != !why)
            fail_msg(
                "option %d of %zu bytes: %d.%02d", now->number, now->length, code >> 5, code & 31);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_are_known),
        cmocka_unit_test(what_is_refused_or_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
