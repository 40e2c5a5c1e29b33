/* Addresses as keys. */
#include "support/test.h"

#include "base/peer.h"

static void expect(const char *one, const char *other, int is_same)
{
    if ((cvm_peer_key(7, one) == cvm_peer_key(7, other)) != is_same)
        fail_msg("%s and %s", one, other);
}

static void one_peer_has_one_key(void **state)
{
    (void)state;
    expect("192.0.2.1", "192.0.2.1", 1);
    expect("192.0.2.1", "::ffff:192.0.2.1", 1);
    expect("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", 1);
    expect("", "rubbish", 1);
}

static void others_have_others(void **state)
{
    static const char *const ADDRESSES[] = {"192.0.2.1", "192.0.2.2", "2001:db8::1",
        "2001:db8:0:1::1", "::ffff:192.0.2.7", "::1", "rubbish"};
    (void)state;
    for (size_t i = 0; i < LENGTH(ADDRESSES); i++)
        for (size_t j = 0; j < i; j++)
            expect(ADDRESSES[i], ADDRESSES[j], 0);
}

static void nobody_knows_a_key_without_the_seed(void **state)
{
    (void)state;
    assert_int_not_equal(cvm_peer_key(7, "192.0.2.1"), cvm_peer_key(8, "192.0.2.1"));
    assert_int_not_equal(cvm_peer_key(7, "192.0.2.1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_peer_has_one_key),
        cmocka_unit_test(others_have_others),
        cmocka_unit_test(nobody_knows_a_key_without_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
