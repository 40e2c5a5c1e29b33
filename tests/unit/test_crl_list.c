/* What a CRL lists, in order and each once. */
#include "support/test.h"

#include "backends/local/crl_list.h"

static struct crl_entry entry(const char *serial, const char *reason)
{
    struct crl_entry entry;
    assert_int_equal(cvm_crl_entry_set(&entry, serial, 1000, reason), 0);
    return entry;
}

static void add(struct crl_list *list, const char *serial, const char *reason)
{
    const struct crl_entry more = entry(serial, reason);
    assert_int_equal(cvm_crl_list_add(list, &more), 0);
}

static void a_serial_is_a_number(void **state)
{
    static const char *const SAME[] = {
        "1f", "01f", "001f", "000000000000000000000000000000000000000000001f"};
    static const char *const NONE[] = {
        "", "0", "00", "1g", "1F", "-1", "0x1", "1234567890123456789012345678901234567890a"};
    struct crl_entry other;
    (void)state;
    for (size_t i = 0; i < LENGTH(SAME); i++) {
        const struct crl_entry one = entry(SAME[i], "");
        assert_int_equal(one.length, 1);
        assert_int_equal(one.serial[0], 0x1f);
    }
    for (size_t i = 0; i < LENGTH(NONE); i++)
        assert_int_equal(cvm_crl_entry_set(&other, NONE[i], 0, ""), -1);
    const struct crl_entry longest = entry("1234567890123456789012345678901234567890", "");
    assert_int_equal(longest.length, SERIAL_SIZE);
    assert_int_equal(longest.serial[19], 0x90);
    const struct crl_entry odd = entry("abc", "");
    assert_int_equal(odd.serial[0], 0xa);
    assert_int_equal(odd.serial[1], 0xbc);
}

static void a_reason_keeps_its_name(void **state)
{
    static const char *const REASONS[] = {"keyCompromise", "cACompromise", "affiliationChanged",
        "superseded", "cessationOfOperation", "certificateHold", "privilegeWithdrawn",
        "aACompromise"};
    (void)state;
    for (size_t i = 0; i < LENGTH(REASONS); i++) {
        const struct crl_entry one = entry("01", REASONS[i]);
        assert_string_equal(cvm_crl_entry_reason(&one), REASONS[i]);
        assert_int_equal(cvm_crl_entry_is_held(&one), strcmp(REASONS[i], "certificateHold") == 0);
    }
    const struct crl_entry other = entry("01", "because");
    assert_string_equal(cvm_crl_entry_reason(&other), "");
}

static void each_serial_stands_once_and_for_good_wins(void **state)
{
    struct crl_list list = {0};
    (void)state;
    add(&list, "0200", "");
    add(&list, "03", "certificateHold");
    add(&list, "02", "keyCompromise");
    add(&list, "03", "superseded");
    add(&list, "02", "certificateHold");
    cvm_crl_list_sort(&list);
    assert_int_equal(list.count, 3);
    const struct crl_entry two = entry("02", ""), three = entry("03", ""), four = entry("04", "");
    assert_string_equal(cvm_crl_entry_reason(cvm_crl_list_find(&list, &two)), "keyCompromise");
    assert_string_equal(cvm_crl_entry_reason(cvm_crl_list_find(&list, &three)), "superseded");
    assert_null(cvm_crl_list_find(&list, &four));
    cvm_crl_list_clear(&list);
    cvm_crl_list_sort(&list); /* an empty one */
    assert_null(cvm_crl_list_find(&list, &two));
}

static void lists_are_the_same_by_serial_and_reason(void **state)
{
    struct crl_list one = {0}, other = {0};
    (void)state;
    assert_true(cvm_crl_list_is_same(&one, &other));
    for (int i = 1; i < 300; i++) {
        char serial[8];
        (void)snprintf(serial, sizeof serial, "%x", i);
        add(&one, serial, "superseded");
        (void)snprintf(serial, sizeof serial, "%04x", 300 - i);
        add(&other, serial, "superseded");
    }
    cvm_crl_list_sort(&one);
    cvm_crl_list_sort(&other);
    assert_true(cvm_crl_list_is_same(&one, &other));
    other.entries[7].revoked_at_ms++;
    assert_true(cvm_crl_list_is_same(&one, &other));
    const struct crl_entry held = entry("08", "certificateHold");
    other.entries[7] = held;
    assert_false(cvm_crl_list_is_same(&one, &other));
    other.entries[7] = one.entries[7];
    one.count--;
    assert_false(cvm_crl_list_is_same(&one, &other));
    cvm_crl_list_clear(&one);
    cvm_crl_list_clear(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_serial_is_a_number),
        cmocka_unit_test(a_reason_keeps_its_name),
        cmocka_unit_test(each_serial_stands_once_and_for_good_wins),
        cmocka_unit_test(lists_are_the_same_by_serial_and_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
