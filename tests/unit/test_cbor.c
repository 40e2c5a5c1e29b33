/* CBOR: what RFC 8949 gives as examples, read and written; what is not taken. */
#include "support/test.h"

#include "base/cbor.h"

/* Appendix A. */
static const struct {
    int64_t number;
    const char *hex;
} INTEGERS[] = {{0, "00"}, {10, "0a"}, {23, "17"}, {24, "1818"}, {100, "1864"}, {255, "18ff"},
    {256, "190100"}, {1000, "1903e8"}, {1000000, "1a000f4240"},
    {1000000000000, "1b000000e8d4a51000"}, {-1, "20"}, {-10, "29"}, {-100, "3863"},
    {-1000, "3903e7"}, {(int64_t)1 << 53, "1b0020000000000000"},
    {-1 - ((int64_t)1 << 53), "3b0020000000000000"}};

static void integers(void **state)
{
    uint8_t bytes[16];
    (void)state;
    for (size_t i = 0; i < LENGTH(INTEGERS); i++) {
        struct cvm_buffer buffer = {.most = 64};
        struct cvm_cbor_item item;
        size_t length = test_from_hex(INTEGERS[i].hex, bytes);
        cvm_cbor_add_integer(&buffer, INTEGERS[i].number);
        assert_int_equal(buffer.length, length);
        assert_memory_equal(buffer.text, bytes, length);
        struct cvm_cbor_reader reader = {.at = bytes, .end = bytes + length};
        assert_int_equal(cvm_cbor_take(&reader, &item), 0);
        assert_ptr_equal(reader.at, reader.end);
        int is_negative = INTEGERS[i].number < 0;
        assert_int_equal(item.kind, is_negative ? CVM_CBOR_NEGATIVE : CVM_CBOR_UNSIGNED);
        assert_true(
            (is_negative ? -1 - (int64_t)item.number : (int64_t)item.number) == INTEGERS[i].number);
        cvm_buffer_free(&buffer);
    }
}

static void strings_and_what_holds_them(void **state)
{
    struct cvm_buffer buffer = {.most = 512};
    struct cvm_cbor_item item;
    uint8_t long_bytes[300] = {7};
    (void)state;
    cvm_cbor_add_map(&buffer, 2);
    cvm_cbor_add_text(&buffer, "a");
    cvm_cbor_add_array(&buffer, 2);
    cvm_cbor_add_bytes(&buffer, long_bytes, sizeof long_bytes);
    cvm_cbor_add_text(&buffer, "\xc3\xbc");
    cvm_cbor_add_text(&buffer, "b");
    cvm_cbor_add_bytes(&buffer, "", 0);
    assert_int_equal(buffer.failed, 0);
    const uint8_t *bytes = (const uint8_t *)buffer.text;
    assert_memory_equal(bytes, "\xa2\x61\x61\x82\x59\x01\x2c\x07", 8);
    static const enum cvm_cbor_kind KINDS[] = {CVM_CBOR_MAP, CVM_CBOR_TEXT, CVM_CBOR_ARRAY,
        CVM_CBOR_BYTES, CVM_CBOR_TEXT, CVM_CBOR_TEXT, CVM_CBOR_BYTES};
    static const size_t SIZES[] = {2, 1, 2, 300, 2, 1, 0};
    struct cvm_cbor_reader reader = {.at = bytes, .end = bytes + buffer.length};
    for (size_t i = 0; i < LENGTH(KINDS); i++) {
        assert_int_equal(cvm_cbor_take(&reader, &item), 0);
        assert_int_equal(item.kind, KINDS[i]);
        int is_string = item.kind == CVM_CBOR_BYTES || item.kind == CVM_CBOR_TEXT;
        assert_int_equal(is_string ? item.length : (size_t)item.number, SIZES[i]);
    }
    assert_int_equal(cvm_cbor_take(&reader, &item), -1);
    reader.at = bytes;
    assert_int_equal(cvm_cbor_skip(&reader, 2), -1);
    assert_string_equal(reader.why, "it is nested too deep");
    reader.at = bytes;
    assert_int_equal(cvm_cbor_skip(&reader, 3), 0);
    assert_ptr_equal(reader.at, reader.end);
    cvm_buffer_free(&buffer);
}

/* Wherever it is cut, it is said to be cut, and never read past. */
static void what_is_cut_short(void **state)
{
    uint8_t bytes[64];
    size_t length = test_from_hex("a30161440243544546191000820119ffff", bytes);
    (void)state;
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *copy = malloc(cut + !cut); /* the sanitizer watches its end */
        assert_non_null(copy);
        memcpy(copy, bytes, cut);
        struct cvm_cbor_reader reader = {.at = copy, .end = copy + cut};
        assert_int_equal(cvm_cbor_skip(&reader, 4), -1);
        assert_string_equal(reader.why, "it is cut short");
        free(copy);
    }
    struct cvm_cbor_reader reader = {.at = bytes, .end = bytes + length};
    assert_int_equal(cvm_cbor_skip(&reader, 4), 0);
}

static void what_is_not_taken(void **state)
{
    static const char *const HEADS[] = {"1c", "3d", "5e", "7c", "9d", "be", "5f4100ff", "7f6100ff",
        "9fff", "bfff", "ff", "c000", "d74100", "d9d9f7a0", "dbffffffffffffffff00", "e0", "f3",
        "f800", "f8ff", "f90000", "fa00000000", "fb0000000000000000", "1b0020000000000001",
        "3b0020000000000001", "1bffffffffffffffff", "5b0000000000000000", "7b0000000000000000",
        "9b0000000000000000", "bb0000000000000000", "61ff", "62c0af", "63eda080"};
    uint8_t bytes[16];
    (void)state;
    for (size_t i = 0; i < LENGTH(HEADS); i++) {
        size_t length = test_from_hex(HEADS[i], bytes);
        struct cvm_cbor_reader reader = {.at = bytes, .end = bytes + length};
        struct cvm_cbor_item item;
        if (!cvm_cbor_take(&reader, &item) || !reader.why ||
            strcmp(reader.why, "it is cut short") == 0)
            fail_msg("%s: %s", HEADS[i], reader.why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),
        cmocka_unit_test(strings_and_what_holds_them),
        cmocka_unit_test(what_is_cut_short),
        cmocka_unit_test(what_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
