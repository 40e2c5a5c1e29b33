/* Two who publish CRLs at once: what one of them found before the other one's heads is not what it
 * signs after them. */
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

static int is_listed(const char *uid)
{
    const char *id = device_text(uid, CVM_D_CERTIFICATE_ID);
    return crl_lists(certificate_text(uid, id, CVM_C_SERIAL));
}

static void add_registered(cvm_t *cvm, const char *uid)
{
    struct outcome outcome;
    assert_string_equal(device_add(cvm, uid), "ok");
    assert_string_equal(register_now(cvm, uid, NULL, &outcome), "ok");
    outcome_clear(&outcome);
}

/* The first has scanned, and is held before it puts a part, or the heads; meanwhile the second puts
 * a device on hold, or lets one go. */
static void what_was_found_before_another_crl_is_not_signed_after_it(void **state)
{
    for (uint32_t nth = 1; nth <= 2; nth++) {
        for (int is_held = 0; is_held < 2; is_held++) {
            struct finish revoked = {.calls = 0};
            const struct setting settings[] = {
                {"store", "faulty"}, {"platform", harness_make_ca()}, {NULL, NULL}};
            cvm_t *first = instance_start(settings), *second = instance_start(settings);
            add_registered(first, "LOST");
            add_registered(first, "LENT");
            if (is_held)
                assert_string_equal(device_disable(second, "LENT"), "ok");
            faults_plan("meta_put", nth, FAULT_HOLD_BEFORE);
            assert_null(cvm_device_revoke(first, "LOST", NULL, finished, &revoked));
            turn_until_held(1);
            assert_string_equal((is_held ? device_enable : device_disable)(second, "LENT"), "ok");
            assert_int_equal(is_listed("LENT"), !is_held);
            faults_release();
            turn_until(&revoked.calls, 1);
            assert_string_equal(revoked.name, "ok");
            assert_true(is_listed("LOST"));
            assert_int_equal(is_listed("LENT"), !is_held);
            instance_end(first);
            instance_end(second);
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_found_before_another_crl_is_not_signed_after_it,
            harness_set_up, harness_tear_down),
    };
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
