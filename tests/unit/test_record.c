/* Records: every field of both tables, their limits and kinds. */
#include "support/test.h"

#include "record.h"

struct row {
    cvm_field_kind_t kind;
    uint32_t longest;
};

#define ROW(id, name, kind, longest) {CVM_FIELD_##kind, longest},
static const struct row DEVICE[] = {CVM_DEVICE_FIELDS(ROW)};
static const struct row CERTIFICATE[] = {CVM_CERTIFICATE_FIELDS(ROW)};

static const struct {
    cvm_record_kind_t kind;
    const struct row *rows;
    uint32_t count;
} KINDS[] = {
    {CVM_RECORD_DEVICE, DEVICE, CVM_DEVICE_FIELD_COUNT},
    {CVM_RECORD_CERTIFICATE, CERTIFICATE, CVM_CERTIFICATE_FIELD_COUNT},
};

static char *text_of(uint32_t length, uint32_t field)
{
    char *text = malloc(length + 1);
    assert_non_null(text);
    memset(text, 'a' + (int)(field % 26), length);
    text[length] = 0;
    return text;
}

static void fill(cvm_record_t *record, const struct row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].kind == CVM_FIELD_NUMBER) {
            assert_int_equal(cvm_record_set_number(record, i, INT64_MIN + i), 0);
        } else {
            char *text = text_of(rows[i].longest, i);
            assert_int_equal(cvm_record_set_text(record, i, text), 0);
            free(text);
        }
    }
}

static void check(const cvm_record_t *record, const struct row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].kind == CVM_FIELD_NUMBER) {
            assert_true(cvm_record_number(record, i) == INT64_MIN + i);
        } else {
            char *text = text_of(rows[i].longest, i);
            assert_string_equal(cvm_record_text(record, i), text);
            free(text);
        }
    }
}

static void every_field_holds_its_longest_value(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(KINDS); k++) {
        cvm_record_t *record = cvm_record_new(KINDS[k].kind);
        fill(record, KINDS[k].rows, KINDS[k].count);
        check(record, KINDS[k].rows, KINDS[k].count);
        cvm_record_free(record);
    }
}

static void a_longer_text_is_refused_and_the_old_one_stays(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(KINDS); k++) {
        cvm_record_t *record = cvm_record_new(KINDS[k].kind);
        for (uint32_t i = 0; i < KINDS[k].count; i++) {
            if (KINDS[k].rows[i].kind != CVM_FIELD_TEXT)
                continue;
            char *text = text_of(KINDS[k].rows[i].longest + 1, i);
            assert_int_equal(cvm_record_set_text(record, i, "before"), 0);
            assert_int_equal(cvm_record_set_text(record, i, text), -1);
            assert_string_equal(cvm_record_text(record, i), "before");
            free(text);
        }
        cvm_record_free(record);
    }
}

static void a_field_of_the_other_kind_or_past_the_end_is_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(KINDS); k++) {
        cvm_record_t *record = cvm_record_new(KINDS[k].kind);
        for (uint32_t i = 0; i <= KINDS[k].count; i++) {
            int is_end = i == KINDS[k].count;
            if (is_end || KINDS[k].rows[i].kind == CVM_FIELD_TEXT)
                assert_int_equal(cvm_record_set_number(record, i, 1), -1);
            if (is_end || KINDS[k].rows[i].kind == CVM_FIELD_NUMBER)
                assert_int_equal(cvm_record_set_text(record, i, "1"), -1);
            assert_string_equal(cvm_record_text(record, i), "");
            assert_int_equal(cvm_record_number(record, i), 0);
        }
        cvm_record_free(record);
    }
}

static void null_reads_as_an_empty_record(void **state)
{
    (void)state;
    assert_string_equal(cvm_record_text(NULL, CVM_D_DEVICE_UID), "");
    assert_int_equal(cvm_record_number(NULL, CVM_D_IS_ENABLED), 0);
    assert_int_equal(cvm_record_set_text(NULL, CVM_D_DEVICE_UID, "x"), -1);
    assert_int_equal(cvm_record_set_number(NULL, CVM_D_IS_ENABLED, 1), -1);
    cvm_record_free(NULL);
}

static void null_and_empty_take_a_text_away(void **state)
{
    (void)state;
    cvm_record_t *record = cvm_record_new(CVM_RECORD_DEVICE);
    assert_int_equal(cvm_record_set_text(record, CVM_D_THING_NAME, "thing"), 0);
    assert_int_equal(cvm_record_set_text(record, CVM_D_THING_NAME, NULL), 0);
    assert_string_equal(cvm_record_text(record, CVM_D_THING_NAME), "");
    assert_int_equal(cvm_record_set_text(record, CVM_D_THING_NAME, "thing"), 0);
    assert_int_equal(cvm_record_set_text(record, CVM_D_THING_NAME, ""), 0);
    assert_string_equal(cvm_record_text(record, CVM_D_THING_NAME), "");
    cvm_record_free(record);
}

static void a_copy_has_texts_of_its_own(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(KINDS); k++) {
        cvm_record_t *record = cvm_record_new(KINDS[k].kind);
        fill(record, KINDS[k].rows, KINDS[k].count);
        cvm_record_t *copy = cvm_record_copy(record);
        cvm_record_free(record);
        check(copy, KINDS[k].rows, KINDS[k].count);
        cvm_record_free(copy);
    }
}

/* The order is what plugins were compiled with: fields are only added at the end. */
static void the_fields_keep_their_places(void **state)
{
    (void)state;
    assert_int_equal(CVM_D_DEVICE_UID, 0);
    assert_int_equal(CVM_D_DEVICE_TOKEN, 1);
    assert_int_equal(CVM_D_CERTIFICATE_ID, 8);
    assert_int_equal(CVM_D_LEASE_OWNER, 14);
    assert_int_equal(CVM_D_REVISION, 18);
    assert_int_equal(CVM_C_CERTIFICATE_ID, 0);
    assert_int_equal(CVM_C_STATE, 2);
    assert_int_equal(CVM_C_PEM, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_holds_its_longest_value),
        cmocka_unit_test(a_longer_text_is_refused_and_the_old_one_stays),
        cmocka_unit_test(a_field_of_the_other_kind_or_past_the_end_is_refused),
        cmocka_unit_test(null_reads_as_an_empty_record),
        cmocka_unit_test(null_and_empty_take_a_text_away),
        cmocka_unit_test(a_copy_has_texts_of_its_own),
        cmocka_unit_test(the_fields_keep_their_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
