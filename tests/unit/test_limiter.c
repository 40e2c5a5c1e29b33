/* The limiter of failed proofs. */
#include "support/test.h"

#include "limiter.h"

static uint32_t fail_times(
    struct cvm_limiter *limiter, const char *address, uint32_t times, uint64_t ms)
{
    uint32_t limited = 0;
    for (uint32_t i = 0; i < times; i++)
        limited += cvm_limiter_fail(limiter, address, ms) != 0;
    return limited;
}

static void so_many_a_minute_are_let_through(void **state)
{
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(60);
    assert_int_equal(fail_times(limiter, "192.0.2.1", 60, 1000), 0);
    assert_int_equal(fail_times(limiter, "192.0.2.1", 10, 1000), 10);
    assert_int_equal(
        cvm_limiter_fail(limiter, "192.0.2.1", 1000), 2); /* in whole seconds, rounded up */
    assert_int_equal(fail_times(limiter, "192.0.2.1", 5, 3000), 3); /* one a second comes back */
    assert_int_equal(
        fail_times(limiter, "192.0.2.1", 70, 1000 + 600000), 10); /* never more than 60 */
    cvm_limiter_free(limiter);
}

static void addresses_count_apart(void **state)
{
    static const char *const ADDRESSES[] = {"192.0.2.1", "192.0.2.2", "2001:db8::1",
        "2001:db8:0:1::1", "::ffff:192.0.2.7", "::ffff:192.0.2.8"};
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(3);
    for (size_t i = 0; i < LENGTH(ADDRESSES); i++) {
        assert_int_equal(fail_times(limiter, ADDRESSES[i], 3, 1), 0);
        assert_int_equal(fail_times(limiter, ADDRESSES[i], 1, 1), 1);
    }
    cvm_limiter_free(limiter);
}

static void one_64_is_one_peer(void **state)
{
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(2);
    assert_int_equal(fail_times(limiter, "2001:db8::1", 1, 1), 0);
    assert_int_equal(fail_times(limiter, "2001:db8::ffff:ffff:ffff:ffff", 1, 1), 0);
    assert_int_equal(fail_times(limiter, "2001:db8::2", 1, 1), 1);
    cvm_limiter_free(limiter);
}

static void an_ipv4_address_is_the_same_in_ipv6_clothes(void **state)
{
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(2);
    assert_int_equal(fail_times(limiter, "192.0.2.1", 1, 1), 0);
    assert_int_equal(fail_times(limiter, "::ffff:192.0.2.1", 1, 1), 0);
    assert_int_equal(fail_times(limiter, "192.0.2.1", 1, 1), 1);
    cvm_limiter_free(limiter);
}

static void nought_limits_nothing(void **state)
{
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(0);
    assert_int_equal(fail_times(limiter, "192.0.2.1", 10000, 1), 0);
    cvm_limiter_free(limiter);
    cvm_limiter_free(NULL);
}

/* Without an address there is nobody to limit: a service that sets none must not share a bucket. */
static void no_address_is_not_limited(void **state)
{
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(2);
    assert_int_equal(fail_times(limiter, "", 100, 1), 0);
    cvm_limiter_free(limiter);
}

/* Memory is bounded, and whoever fails most is not forgotten for all the others. */
static void a_flood_of_addresses_does_not_wash_a_culprit_away(void **state)
{
    (void)state;
    struct cvm_limiter *limiter = cvm_limiter_new(10);
    assert_int_equal(fail_times(limiter, "198.51.100.1", 11, 1), 1);
    for (uint32_t i = 0; i < 100000; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16, (i >> 8) & 255, i & 255);
        (void)cvm_limiter_fail(limiter, address, 2);
    }
    assert_int_equal(fail_times(limiter, "198.51.100.1", 1, 3), 1);
    cvm_limiter_free(limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_a_minute_are_let_through),
        cmocka_unit_test(addresses_count_apart),
        cmocka_unit_test(one_64_is_one_peer),
        cmocka_unit_test(an_ipv4_address_is_the_same_in_ipv6_clothes),
        cmocka_unit_test(nought_limits_nothing),
        cmocka_unit_test(no_address_is_not_limited),
        cmocka_unit_test(a_flood_of_addresses_does_not_wash_a_culprit_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
