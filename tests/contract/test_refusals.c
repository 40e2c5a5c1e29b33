/* What the log says of many failures: some of them in full, the others summed up, and every
 * success.
 */
#include "support/faults.h"
#include "support/harness.h"

#define MANY  40
#define FULLY 10 /* as the property says */

static const struct setting SETTINGS[] = {
    {"store", "faulty"}, {"log.refusals", "10/min"}, {NULL, NULL}};

static void register_many(cvm_t *cvm, const char *token, const char *expected)
{
    for (uint32_t i = 0; i < MANY; i++) {
        struct outcome outcome = {0};
        register_start(cvm, "D1", token, NULL, 0, &outcome);
        outcome_wait(&outcome);
        assert_string_equal(outcome.name, expected);
        outcome_clear(&outcome);
    }
}

static void expect_success_in_the_log(cvm_t *cvm)
{
    struct outcome outcome = {0};
    assert_string_equal(register_now(cvm, "D2", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    assert_int_equal(lines_with("log", "code=ok"), 1);
}

static void refusals_are_summed_up(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, "D1"), "ok");
    assert_string_equal(device_add(cvm, "D2"), "ok");
    register_many(cvm, "not-the-token-of-it", "not_authorized");
    expect_success_in_the_log(cvm);
    assert_int_equal(lines_with("log", "wrong_token"), FULLY);
    instance_end(cvm);
    assert_int_equal(lines_with("log", ": wrong_token\" uids=\"D1 D1 D1\""), 1);
}

/* Grave ones too: whoever asks while the store is away causes one. */
static void failures_of_the_store_are_summed_up(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, "D1"), "ok");
    assert_string_equal(device_add(cvm, "D2"), "ok");
    faults_plan("get", 0, FAULT_UNAVAILABLE);
    register_many(cvm, "not-the-token-of-it", "store_unavailable");
    faults_clear();
    expect_success_in_the_log(cvm);
    assert_int_equal(lines_with("log", "code=store_unavailable"), FULLY);
    instance_end(cvm);
    assert_int_equal(lines_with("log", "warning summed up text=\"30 more in"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refusals_are_summed_up, harness_set_up, harness_tear_down),
        cmocka_unit_test_setup_teardown(
            failures_of_the_store_are_summed_up, harness_set_up, harness_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
