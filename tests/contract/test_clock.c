/* May the instance act on its clock? One question, whoever asks it; and the mark that answers it.
 */
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

#include "base/clock.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS  (24 * HOUR_MS)
#define YEAR_MS (365 * DAY_MS)
#define UID     "DEVICE"

static int tear_down(void **state)
{
    cvm_clock_turn(0, 0);
    return harness_tear_down(state);
}

static cvm_t *start(const char *role)
{
    const struct setting settings[] = {
        {"platform", harness_make_ca()}, {"role", role}, {NULL, NULL}};
    cvm_t *cvm = instance_start(settings);
    assert_string_equal(device_add(cvm, UID), "ok");
    return cvm;
}

static const char *register_it(cvm_t *cvm)
{
    static char name[32];
    struct outcome outcome;
    (void)snprintf(name, sizeof name, "%s", register_now(cvm, UID, NULL, &outcome));
    outcome_clear(&outcome);
    return name;
}

static const char *check_name;

static void checked(void *user_data, const cvm_error_t *error)
{
    check_name = cvm_error_name(error);
    *(int *)user_data = 1;
}

/* What /readyz asks. */
static const char *check(cvm_t *cvm)
{
    int is_done = 0;
    assert_null(cvm_check(cvm, checked, &is_done));
    turn_until(&is_done, 1);
    return check_name;
}

static int64_t mark(void)
{
    return sql_number("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'clock_mark'");
}

static void set_mark(int64_t ms)
{
    sql("INSERT OR REPLACE INTO meta (name, value) VALUES ('clock_mark', '%lld')", (long long)ms);
}

/* --- Outside the issuing CA's life ------------------------------------------------------------ */

static void expect_doubt(cvm_t *cvm, int64_t ahead_ms)
{
    int64_t certificates = sql_number("SELECT count(*) FROM certificates");
    int64_t changes = sql_number("SELECT sum(revision) FROM devices");
    cvm_clock_turn(ahead_ms, 0);
    assert_string_equal(register_it(cvm), "platform_unavailable");
    assert_string_equal(check(cvm), "platform_unavailable");
    assert_string_equal(reconcile(cvm), "platform_unavailable");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates"), certificates);
    assert_int_equal(sql_number("SELECT sum(revision) FROM devices"), changes);
}

static void nothing_is_issued_by_a_clock_that_is_wrong(void **state)
{
    static const int64_t AHEAD_MS[] = {-50 * YEAR_MS, -3 * YEAR_MS, 21 * YEAR_MS};
    (void)state;
    cvm_t *cvm = start("server");
    for (size_t i = 0; i < LENGTH(AHEAD_MS); i++) {
        expect_doubt(cvm, AHEAD_MS[i]);
        assert_int_equal(lines_with("log", "nothing is issued"), i + 1); /* once each time */
        cvm_clock_turn(0, 0);
        assert_string_equal(check(cvm), "ok");
        assert_int_equal(lines_with("log", "the clock is right again"), i + 1);
    }
    assert_string_equal(register_it(cvm), "ok");
    instance_end(cvm);
}

/* The text says what is wrong, to the caller too. */
static void who_asks_is_told_why(void **state)
{
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start("server");
    cvm_clock_turn(-50 * YEAR_MS, 0);
    (void)register_now(cvm, UID, NULL, &outcome);
    assert_string_equal(outcome.step, "prepare");
    assert_non_null(strstr(outcome.text, "before the issuing CA begins"));
    assert_true(outcome.retryable && outcome.retry_after_s);
    outcome_clear(&outcome);
    assert_string_equal(register_now(cvm, "NOBODY", NULL, &outcome), "not_authorized");
    outcome_clear(&outcome);
    instance_end(cvm);
}

static int64_t crl_sequence(void)
{
    return sql_number("SELECT CAST(substr(value, 10) AS INTEGER) FROM meta"
                      " WHERE name = 'crl_heads'");
}

static void nothing_is_published_by_a_clock_that_is_wrong(void **state)
{
    (void)state;
    cvm_t *cvm = start("server");
    assert_string_equal(register_it(cvm), "ok");
    while (!crl_sequence())
        turn_for(10);
    cvm_clock_turn(-50 * YEAR_MS, 0);
    int64_t before = crl_sequence();
    assert_string_equal(device_revoke(cvm, UID, NULL), "not_carried_out");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'retiring'"), 1);
    assert_int_equal(crl_sequence(), before);
    cvm_clock_turn(0, 0);
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'revoked'"), 1);
    assert_true(crl_sequence() > before);
    instance_end(cvm);
}

/* What is due tomorrow is not retired today by a clock that is ahead of the mark alone; but one
 * that has left the CA's life retires nothing. */
static void nothing_is_retired_by_a_clock_that_is_wrong(void **state)
{
    (void)state;
    cvm_t *cvm = start("server");
    assert_string_equal(register_it(cvm), "ok");
    sql("UPDATE certificates SET state = 'retiring', revoke_after = %lld",
        (long long)(cvm_now_ms() + DAY_MS));
    cvm_clock_turn(21 * YEAR_MS, 0);
    assert_string_equal(reconcile(cvm), "platform_unavailable");
    assert_int_equal(sql_number("SELECT count(*) FROM certificates WHERE state = 'retiring'"), 1);
    instance_end(cvm);
}

static void a_server_starts_by_a_wrong_clock_and_heals(void **state)
{
    (void)state;
    const struct setting settings[] = {
        {"platform", harness_make_ca()}, {"role", "server"}, {NULL, NULL}};
    cvm_clock_turn(-50 * YEAR_MS, 0);
    cvm_t *cvm = instance_start(settings);
    assert_int_equal(lines_with("log", "nothing is issued"), 1);
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_it(cvm), "platform_unavailable");
    cvm_clock_turn(0, 0);
    assert_string_equal(register_it(cvm), "ok");
    instance_end(cvm);
}

/* --- The mark --------------------------------------------------------------------------------- */

/* An hour passes on both clocks, or not quite the same. */
static void pass_an_hour(cvm_t *cvm, int64_t *wall_ms, int64_t *monotonic_ms, int64_t apart_ms)
{
    *wall_ms += HOUR_MS + apart_ms;
    *monotonic_ms += HOUR_MS;
    cvm_clock_turn(*wall_ms, *monotonic_ms);
    assert_string_equal(reconcile(cvm), "ok");
    turn_for(20);
}

static void the_mark_advances_by_the_hour(void **state)
{
    int64_t wall_ms = 0, monotonic_ms = 0;
    (void)state;
    cvm_t *cvm = start("server");
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(mark(), 0);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 0);
    assert_in_range(mark(), cvm_now_ms() - 5000, cvm_now_ms());
    int64_t first = mark();
    for (int i = 0; i < 5; i++)
        assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(mark(), first); /* not before another hour is over */
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 0);
    assert_true(mark() >= first + HOUR_MS - 5000);
    instance_end(cvm);
}

/* A clock that is set forward, by a day or by years, sets no mark in that hour. */
static void a_clock_that_is_put_right_sets_no_mark(void **state)
{
    int64_t wall_ms = 0, monotonic_ms = 0;
    (void)state;
    cvm_t *cvm = start("server");
    assert_string_equal(reconcile(cvm), "ok");
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 5 * YEAR_MS);
    assert_int_equal(mark(), 0);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, -5 * YEAR_MS);
    assert_int_equal(mark(), 0);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 90000);
    assert_int_equal(mark(), 0);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 0);
    assert_true(mark() > 0);
    instance_end(cvm);
}

static void a_clock_a_day_before_the_mark_is_wrong(void **state)
{
    (void)state;
    cvm_t *cvm = start("server");
    assert_string_equal(register_it(cvm), "ok");
    instance_end(cvm);
    set_mark(cvm_now_ms() + DAY_MS - 60000); /* a clock that was put back a little */
    const struct setting settings[] = {{"platform", harness_ca()}, {NULL, NULL}};
    cvm = instance_start(settings);
    assert_string_equal(check(cvm), "ok");
    instance_end(cvm);
    set_mark(cvm_now_ms() + DAY_MS + 60000);
    cvm = instance_start(settings); /* a command asks too */
    assert_string_equal(check(cvm), "platform_unavailable");
    assert_int_equal(lines_with("log", "cvm store clock --accept"), 1);
    instance_end(cvm);
}

/* A server goes on when an operator has accepted another mark. */
static void a_mark_that_is_accepted_is_followed(void **state)
{
    (void)state;
    cvm_t *cvm = start("server");
    instance_end(cvm);
    set_mark(cvm_now_ms() + 10 * YEAR_MS);
    const struct setting settings[] = {
        {"platform", harness_ca()}, {"role", "server"}, {NULL, NULL}};
    cvm = instance_start(settings);
    assert_string_equal(register_it(cvm), "platform_unavailable");
    set_mark(cvm_now_ms());
    cvm_clock_turn(0, 6000); /* it looks again after 5 s */
    (void)check(cvm);
    turn_for(50);
    assert_string_equal(register_it(cvm), "ok");
    instance_end(cvm);
}

/* Two servers' marks: who was slower takes the other one's. */
static void the_later_mark_holds(void **state)
{
    int64_t wall_ms = 0, monotonic_ms = 0;
    (void)state;
    cvm_t *cvm = start("server");
    assert_string_equal(reconcile(cvm), "ok");
    int64_t theirs = cvm_now_ms() + 2 * HOUR_MS;
    set_mark(theirs);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 0);
    assert_int_equal(mark(), theirs);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 0);
    pass_an_hour(cvm, &wall_ms, &monotonic_ms, 0);
    assert_true(mark() > theirs);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_issued_by_a_clock_that_is_wrong),
        TEST(who_asks_is_told_why),
        TEST(nothing_is_published_by_a_clock_that_is_wrong),
        TEST(nothing_is_retired_by_a_clock_that_is_wrong),
        TEST(a_server_starts_by_a_wrong_clock_and_heals),
        TEST(the_mark_advances_by_the_hour),
        TEST(a_clock_that_is_put_right_sets_no_mark),
        TEST(a_clock_a_day_before_the_mark_is_wrong),
        TEST(a_mark_that_is_accepted_is_followed),
        TEST(the_later_mark_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
