/* What the core does about what a store is: one with a clock of its own, one whose scans lag, one
 * that can't look for a device. */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/faulty_store.h"
#include "support/harness.h"
#include "support/store_file.h"

#include "base/clock.h"
#include "instance.h"

#define UID     "DEVICE001"
#define HOUR_MS INT64_C(3600000)

static int set_up(void **state)
{
    faulty_set_clock(0);
    return harness_set_up(state);
}

static int tear_down(void **state)
{
    cvm_clock_turn(0, 0);
    return harness_tear_down(state);
}

static cvm_t *start(const char *store)
{
    const struct setting settings[] = {
        {"store", store}, {"platform", "fake:"}, {"role", "server"}, {NULL, NULL}};
    return instance_start(settings);
}

/* --- The store's clock ------------------------------------------------------------------------ */

/* The server's own is an hour behind that of the others. */
static void leases_go_by_the_stores_clock(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    faulty_set_clock(HOUR_MS);
    cvm_t *cvm = start("clocked");
    assert_int_equal(lines_with("log", "the store's clock is 3600.0 s ahead of this machine's"), 1);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("create_certificate", 1, FAULT_HOLD_BEFORE);
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
    turn_until_held(1);
    int64_t left_ms = sql_number("SELECT lease_until FROM devices") - (cvm_now_ms() + HOUR_MS);
    assert_in_range(left_ms, 1, 10 * 60000);
    faults_release();
    outcome_wait(&outcome);
    assert_string_equal(outcome.name, "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* A lease that is over by this machine's clock is held still by the store's, and the other way
 * round. */
static void a_lease_ends_by_the_stores_clock(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    faulty_set_clock(-HOUR_MS);
    cvm_t *cvm = start("clocked");
    assert_string_equal(device_add(cvm, UID), "ok");
    sql("UPDATE devices SET lease_owner = 'other', lease_until = %lld",
        (long long)(cvm_now_ms() - HOUR_MS + 30000));
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "in_progress");
    outcome_clear(&outcome);
    faulty_set_clock(HOUR_MS);
    faulty_reconnect();
    turn_for(50);
    sql("UPDATE devices SET lease_until = %lld", (long long)(cvm_now_ms() + 30000));
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* Is the metric that, give or take half a second? */
static int has_offset(cvm_t *cvm, double seconds)
{
    static const char NAME[] = "\ncvm_store_clock_offset_seconds ";
    static char text[1 << 16];
    (void)cvm_metrics(cvm, text, sizeof text);
    const char *at = strstr(text, NAME);
    double told = at ? strtod(at + sizeof NAME - 1, NULL) : 1e9;
    return told > seconds - 0.5 && told < seconds + 0.5;
}

static void the_offset_is_measured_anew_with_each_connection(void **state)
{
    (void)state;
    faulty_set_clock(500);
    cvm_t *cvm = start("clocked");
    assert_int_equal(lines_with("log", "the store's clock is"), 0); /* too little */
    assert_true(has_offset(cvm, 0.5));
    faulty_set_clock(-90000);
    turn_for(20);
    assert_false(has_offset(cvm, -90));
    faulty_reconnect();
    faulty_reconnect();
    turn_for(50);
    assert_true(has_offset(cvm, -90));
    assert_int_equal(lines_with("log", "s behind this machine's"), 1);
    instance_end(cvm);
}

/* Nothing is issued by a clock that lies outside the issuing CA's life, whose ever it is. */
static void a_store_whose_clock_is_wrong_issues_nothing(void **state)
{
    struct outcome outcome;
    (void)state;
    const struct setting settings[] = {
        {"store", "clocked"}, {"platform", harness_make_ca()}, {"role", "server"}, {NULL, NULL}};
    faulty_set_clock(0);
    cvm_t *cvm = instance_start(settings);
    assert_string_equal(device_add(cvm, UID), "ok");
    faulty_set_clock(50 * 365 * 24 * HOUR_MS);
    faulty_reconnect();
    turn_for(50);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "platform_unavailable");
    assert_non_null(strstr(outcome.text, "the store's clock says"));
    outcome_clear(&outcome);
    faulty_set_clock(0);
    faulty_reconnect();
    turn_for(50);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* Without an answer the last one holds, and nothing else fails. */
static void a_clock_that_does_not_answer_holds_nothing_up(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    faulty_set_clock(HOUR_MS);
    faults_plan("now", 1, FAULT_UNAVAILABLE);
    cvm_t *cvm = start("clocked");
    assert_false(has_offset(cvm, 3600));
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    faulty_reconnect();
    turn_for(50);
    assert_true(has_offset(cvm, 3600));
    faults_plan("now", 1, FAULT_BROKEN);
    faulty_set_clock(0);
    faulty_reconnect();
    turn_for(50);
    assert_true(has_offset(cvm, 3600));
    instance_end(cvm);
}

/* Somebody sets this machine's clock: the store's goes on as it went. */
static void a_machines_clock_that_is_set_moves_no_lease(void **state)
{
    (void)state;
    cvm_t *cvm = start("clocked");
    int64_t before_ms = cvm_wall_ms(cvm);
    cvm_clock_turn(HOUR_MS, 0);
    int64_t after_ms = cvm_wall_ms(cvm);
    assert_in_range(after_ms, before_ms, before_ms + HOUR_MS / 2);
    cvm_clock_turn(0, 0);
    instance_end(cvm);
    cvm = start("faulty"); /* without a clock of the store's it is this one */
    cvm_clock_turn(HOUR_MS, 0);
    assert_true(cvm_wall_ms(cvm) > before_ms + HOUR_MS / 2);
    instance_end(cvm);
}

/* One that is being asked when the instance stops. */
static void a_stop_waits_for_the_clock_that_is_asked(void **state)
{
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = start("clocked");
    faults_plan("now", 1, FAULT_HOLD_BEFORE);
    faulty_reconnect();
    turn_until_held(1);
    instance_stop(cvm, &is_stopped);
    turn_for(30);
    assert_false(is_stopped);
    faults_release();
    turn_until(&is_stopped, 1);
    instance_free(cvm);
}

/* --- Scans that lag --------------------------------------------------------------------------- */

static void no_crl_is_made_of_scans_that_lag(void **state)
{
    char why[256];
    const struct setting settings[] = {
        {"store", "blind"}, {"platform", harness_make_ca()}, {NULL, NULL}};
    (void)state;
    assert_null(instance_try(settings, why, sizeof why));
    assert_non_null(strstr(why, "platform: 'local' publishes what the store's scans answer"));
    assert_non_null(strstr(why, "'blind'"));
}

/* Every verb of one device does what it says though no scan answers anything. */
static void verbs_of_one_device_need_no_scan(void **state)
{
    struct outcome outcome = {0};
    struct view view;
    char first[65];
    (void)state;
    cvm_t *cvm = start("blind");
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    (void)snprintf(first, sizeof first, "%s", outcome.certificate_id);
    outcome_clear(&outcome);
    assert_string_equal(device_disable(cvm, UID), "ok");
    assert_true(fake_find(first)->is_suspended);
    assert_string_equal(device_enable(cvm, UID), "ok");
    assert_false(fake_find(first)->is_suspended);
    assert_string_equal(device_reset(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    turn_until_idle(cvm);
    device_view(cvm, UID, &view);
    assert_int_equal(view_count(&view, "revoked"), 1); /* the first: superseded */
    assert_true(fake_find(first)->state == FAKE_REVOKED);
    assert_string_equal(device_revoke(cvm, UID, NULL), "ok");
    assert_true(fake_find(outcome.certificate_id)->state == FAKE_REVOKED);
    assert_string_equal(device_remove(cvm, UID, 1), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(leases_go_by_the_stores_clock),
        TEST(a_lease_ends_by_the_stores_clock),
        TEST(the_offset_is_measured_anew_with_each_connection),
        TEST(a_store_whose_clock_is_wrong_issues_nothing),
        TEST(a_clock_that_does_not_answer_holds_nothing_up),
        TEST(a_machines_clock_that_is_set_moves_no_lease),
        TEST(a_stop_waits_for_the_clock_that_is_asked),
        TEST(no_crl_is_made_of_scans_that_lag),
        TEST(verbs_of_one_device_need_no_scan),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
