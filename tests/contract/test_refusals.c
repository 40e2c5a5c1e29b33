/* What refusals cost, and what the log says of many failures: some of them in full, the others
 * summed up, and every success.
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

/* --- What a refusal costs --------------------------------------------------------------------- */

static uint32_t store_calls(void)
{
    static const char *const CALLS[] = {"get", "get_certificates", "scan", "swap", "remove", "load",
        "meta_get", "meta_put", "ready"};
    uint32_t count = 0;
    for (size_t i = 0; i < LENGTH(CALLS); i++)
        count += faults_count(CALLS[i]);
    return count;
}

/* Else who has no token could tell by the time which devices there are. */
static void all_refusals_read_the_record_and_nothing_else(void **state)
{
    static const struct {
        const char *uid, *token;
    } REFUSED[] = {{"NOBODY", "not-the-token-of-it"}, {"D1", "not-the-token-of-it"},
        {"DISABLED", NULL}, {"DISABLED", "not-the-token-of-it"}, {"REVOKED", NULL},
        {"REGISTERED", "not-the-token-of-it"}};
    static const char *const UIDS[] = {"D1", "DISABLED", "REVOKED", "REGISTERED"};
    char *csr = make_csr();
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    for (size_t i = 0; i < LENGTH(UIDS); i++)
        assert_string_equal(device_add(cvm, UIDS[i]), "ok");
    assert_string_equal(device_disable(cvm, "DISABLED"), "ok");
    assert_string_equal(device_revoke(cvm, "REVOKED", NULL), "ok");
    assert_string_equal(register_now(cvm, "REGISTERED", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    for (size_t i = 0; i < 2 * LENGTH(REFUSED); i++) {
        const char *uid = REFUSED[i / 2].uid, *token = REFUSED[i / 2].token;
        faults_clear();
        register_start(cvm, uid, token ? token : token_of(uid), i % 2 ? csr : NULL, 0, &outcome);
        outcome_wait(&outcome);
        assert_string_equal(outcome.name, "not_authorized");
        assert_int_equal(faults_count("get"), 1);
        assert_int_equal(store_calls(), 1);
        outcome_clear(&outcome);
    }
    instance_end(cvm);
    free(csr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refusals_are_summed_up, harness_set_up, harness_tear_down),
        cmocka_unit_test_setup_teardown(
            failures_of_the_store_are_summed_up, harness_set_up, harness_tear_down),
        cmocka_unit_test_setup_teardown(
            all_refusals_read_the_record_and_nothing_else, harness_set_up, harness_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
