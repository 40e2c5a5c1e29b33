/* What `cvm reconcile` asks: how much is due, what no row knows; and once nothing runs any more. */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

#define UID   "DEVICE001"
#define OTHER "00000000000000000000000000000000000000000000000000000000000003d3"

static const struct setting SETTINGS[] = {{"store", "faulty"}, {"platform", "fake:"}, {NULL, NULL}};

struct due {
    int is_done;
    char name[32];
    uint64_t leases, retirements, suspensions;
};

static void on_due(void *user_data, const cvm_error_t *error, uint64_t leases, uint64_t retirements,
    uint64_t suspensions)
{
    struct due *due = user_data;
    *due = (struct due){1, "", leases, retirements, suspensions};
    (void)snprintf(due->name, sizeof due->name, "%s", cvm_error_name(error));
}

static struct due count_due(cvm_t *cvm)
{
    struct due due = {0};
    assert_null(cvm_due(cvm, on_due, &due));
    assert_false(due.is_done); /* never inside the call */
    turn_until(&due.is_done, 1);
    return due;
}

struct found {
    int is_done;
    char name[32], text[160];
    uint64_t count;
};

static void on_found(void *user_data, const cvm_error_t *error, uint64_t count)
{
    struct found *found = user_data;
    found->is_done = 1;
    found->count = count;
    (void)snprintf(found->name, sizeof found->name, "%s", cvm_error_name(error));
    (void)snprintf(found->text, sizeof found->text, "%s", cvm_error_text(error));
}

static const char *revoke(cvm_t *cvm, const char *uid)
{
    return device_revoke(cvm, uid, NULL);
}

static struct found find_unknown(cvm_t *cvm, int32_t dry_run)
{
    struct found found = {0};
    assert_null(cvm_find_unknown(cvm, dry_run, on_found, &found));
    assert_false(found.is_done);
    turn_until(&found.is_done, 1);
    return found;
}

/* --- How much is due -------------------------------------------------------------------------- */

static void what_is_due_is_counted_and_left_alone(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
        " INSERT INTO certificates (certificate_id, device_uid, state, not_after, revoke_after)"
        " SELECT 'C' || i, 'D' || i, 'retiring', 4000000000000, i %% 2 FROM n");
    sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)"
        " INSERT INTO devices (device_uid, is_enabled, is_registered, is_revoked, is_suspended,"
        " certificate_id, lease_owner, lease_until, revision)"
        " SELECT 'D' || i, i > 7, 1, 0, 0, 'X' || i, iif(i > 290, 'gone', NULL), 1, 1 FROM n");
    struct due due = count_due(cvm);
    assert_string_equal(due.name, "ok");
    assert_int_equal(due.retirements, 600);
    assert_int_equal(due.suspensions, 7);
    assert_int_equal(due.leases, 10);
    due = count_due(cvm);
    assert_int_equal(due.retirements, 600);
    assert_int_equal(faults_count("revoke"), 0);
    assert_string_equal(reconcile(cvm), "ok");
    due = count_due(cvm);
    assert_int_equal(due.retirements + due.suspensions + due.leases, 0);
    faults_plan("scan", 2, FAULT_UNAVAILABLE);
    assert_string_equal(count_due(cvm).name, "store_unavailable");
    instance_end(cvm);
}

/* --- What no row knows ------------------------------------------------------------------------ */

static void register_many(cvm_t *cvm, int count)
{
    for (int i = 0; i < count; i++) {
        struct outcome outcome = {0};
        char uid[32];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
        assert_string_equal(register_now(cvm, uid, NULL, &outcome), "ok");
        outcome_clear(&outcome);
    }
}

static void what_others_made_is_found_and_written_down(void **state)
{
    struct view view;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    register_many(cvm, 3);
    assert_string_equal(device_add(cvm, "NEW"), "ok");
    assert_string_equal(device_add(cvm, UID), "ok");
    sql("UPDATE devices SET is_registered = 1, thing_name = 'its thing' WHERE device_uid = '" UID
        "'");
    assert_int_equal(find_unknown(cvm, 0).count, 0); /* all that is ours is known */
    assert_int_equal(faults_count("find_certificates"), 4);
    char id[65], second[65];
    (void)snprintf(id, sizeof id, "%064x", 0x77);
    (void)snprintf(second, sizeof second, "%064x", 0x78);
    fake_clear(NULL);
    fake_add(OTHER, "D1", "thing_D1", FAKE_ACTIVE);
    fake_add(id, UID, "its thing", FAKE_ACTIVE);
    fake_add(second, UID, "its thing", FAKE_REVOKED); /* that one is none any more */
    assert_int_equal(find_unknown(cvm, 1).count, 2);
    device_view(cvm, "D1", &view);
    assert_int_equal(view.certificate_count, 1); /* only counted */
    struct found found = find_unknown(cvm, 0);
    assert_string_equal(found.name, "ok");
    assert_int_equal(found.count, 2);
    device_view(cvm, "D1", &view);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_int_equal(view_count(&view, "retiring"), 1);
    device_view(cvm, UID, &view);
    assert_string_equal(view.certificate_id, id);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_int_equal(lines_with("audit", "certificates_found"), 2);
    assert_int_equal(find_unknown(cvm, 0).count, 0);
    assert_string_equal(reconcile(cvm), "ok"); /* none of it is due */
    assert_int_equal(fake_find(OTHER)->state, FAKE_ACTIVE);
    assert_string_equal(device_revoke(cvm, "D1", NULL), "ok");
    assert_int_equal(fake_find(OTHER)->state, FAKE_REVOKED);
    instance_end(cvm);
}

/* "revoked" and "disabled" are not said of a certificate that is still accepted. */
static void what_is_found_goes_the_way_of_its_device(void **state)
{
    static const struct {
        const char *(*verb)(cvm_t *cvm, const char *uid);
        int is_suspended;
    } VERBS[] = {{device_disable, 1}, {revoke, 0}};
    for (size_t i = 0; i < LENGTH(VERBS); i++) {
        cvm_t *cvm = instance_start(SETTINGS);
        register_many(cvm, 1);
        assert_string_equal(VERBS[i].verb(cvm, "D0"), "ok");
        fake_clear(NULL);
        fake_add(OTHER, "D0", "thing_D0", FAKE_ACTIVE);
        assert_int_equal(find_unknown(cvm, 0).count, 1);
        assert_string_equal(reconcile(cvm), "ok");
        if (VERBS[i].is_suspended)
            assert_true(fake_find(OTHER)->is_suspended);
        else
            assert_int_equal(fake_find(OTHER)->state, FAKE_REVOKED);
        assert_int_equal(find_unknown(cvm, 0).count, 0);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

static void what_is_answered_twice_is_one(void **state)
{
    struct view view;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    sql("UPDATE devices SET is_registered = 1, thing_name = 'its thing'");
    fake_add(OTHER, UID, "its thing", FAKE_ACTIVE);
    fake_add(OTHER, UID, "its thing", FAKE_ACTIVE);
    assert_int_equal(find_unknown(cvm, 0).count, 1);
    device_view(cvm, UID, &view);
    assert_int_equal(view_count(&view, "current"), 1);
    instance_end(cvm);
}

/* A certificate that hangs on several devices' things is the one's that has its row. */
static void a_certificate_of_another_device_is_left_alone(void **state)
{
    struct view owner, view;
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    register_many(cvm, 2);
    assert_string_equal(device_add(cvm, UID), "ok");
    sql("UPDATE devices SET thing_name = 'its thing' WHERE device_uid = '" UID "'");
    device_view(cvm, "D0", &owner);
    fake_add(owner.certificate_id, "D1", "thing_D1", FAKE_ACTIVE);
    fake_add(owner.certificate_id, UID, "its thing", FAKE_ACTIVE);
    assert_int_equal(find_unknown(cvm, 0).count, 0);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    assert_string_equal(device_revoke(cvm, UID, NULL), "ok");
    assert_string_equal(reconcile(cvm), "ok");
    device_view(cvm, "D0", &view);
    assert_string_equal(view.certificate_id, owner.certificate_id);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_int_equal(fake_find(owner.certificate_id)->state, FAKE_ACTIVE);
    instance_end(cvm);
}

/* Whether or not somebody wrote it down before. */
static void what_was_found_is_superseded_by_a_registration(void **state)
{
    struct outcome outcome = {0};
    char id[65];
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    sql("UPDATE devices SET thing_name = 'its thing'");
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(id, sizeof id, "%064x", 0x90 + i);
        fake_add(id, UID, "its thing", FAKE_ACTIVE);
    }
    assert_int_equal(find_unknown(cvm, 0).count, 3);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
    instance_end(cvm);
}

/* Who fails holds nobody up, and is named. */
static void one_that_fails_is_told_and_the_others_are_looked_at(void **state)
{
    static const char *const CALLS[] = {"find_certificates", "get_certificates", "swap"};
    for (size_t i = 0; i < LENGTH(CALLS); i++) {
        cvm_t *cvm = instance_start(SETTINGS);
        register_many(cvm, 3);
        fake_clear(NULL);
        for (int device = 0; device < 3; device++) {
            char id[65], thing[32], uid[32];
            (void)snprintf(uid, sizeof uid, "D%d", device);
            (void)snprintf(thing, sizeof thing, "thing_D%d", device);
            (void)snprintf(id, sizeof id, "%064x", 0x90 + (unsigned)device);
            fake_add(id, uid, thing, FAKE_ACTIVE);
        }
        faults_plan(CALLS[i], 2, FAULT_UNAVAILABLE);
        struct found found = find_unknown(cvm, 0);
        assert_string_equal(found.name, i ? "store_unavailable" : "platform_unavailable");
        assert_non_null(strstr(found.text, "D1: "));
        assert_int_equal(found.count, 2);
        assert_int_equal(find_unknown(cvm, 0).count, 1);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

static void where_the_store_has_them_all_it_is_said(void **state)
{
    static const struct setting PLAIN[] = {{"platform", "plain:"}, {NULL, NULL}};
    struct found found = {0};
    (void)state;
    cvm_t *cvm = instance_start(PLAIN);
    cvm_error_t *error = cvm_find_unknown(cvm, 0, on_found, &found);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    instance_end(cvm);
}

static void a_stop_ends_the_look(void **state)
{
    struct found found = {0};
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    register_many(cvm, 3);
    faults_plan("find_certificates", 2, FAULT_HOLD_BEFORE);
    assert_null(cvm_find_unknown(cvm, 0, on_found, &found));
    turn_until_held(1);
    instance_stop(cvm, &is_stopped);
    faults_release();
    turn_until(&is_stopped, 1);
    assert_string_equal(found.name, "unknown");
    assert_int_equal(faults_count("find_certificates"), 2);
    instance_free(cvm);
}

/* --- Settled ---------------------------------------------------------------------------------- */

static void nobody_waits_and_it_is_settled(void **state)
{
    struct finish settled = {0}, again = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_null(cvm_settle(cvm, finished, &settled));
    assert_int_equal(settled.calls, 0);
    turn_until(&settled.calls, 1);
    assert_string_equal(settled.name, "ok");
    assert_null(cvm_settle(cvm, finished, &again));
    turn_until(&again.calls, 1);
    turn_for(20);
    assert_int_equal(settled.calls + again.calls, 2);
    instance_end(cvm);
}

/* A flow that its caller left runs on, and is waited for. */
static void what_nobody_waits_for_is_waited_for(void **state)
{
    struct outcome outcome = {0};
    struct finish settled = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("attach_policy", 1, FAULT_HOLD_BEFORE);
    register_start(cvm, UID, token_of(UID), NULL, 100, &outcome);
    outcome_wait(&outcome);
    assert_string_equal(outcome.name, "unknown");
    assert_null(cvm_settle(cvm, finished, &settled));
    turn_for(50);
    assert_int_equal(settled.calls, 0);
    faults_release();
    turn_until(&settled.calls, 1);
    assert_int_equal(sql_number("SELECT count(*) FROM devices WHERE is_registered = 1"), 1);
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* What begins before it is told counts as well. */
static void what_begins_meanwhile_is_waited_for(void **state)
{
    struct outcome outcome = {0};
    struct finish settled = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("prepare", 1, FAULT_HOLD_BEFORE);
    assert_null(cvm_settle(cvm, finished, &settled));
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
    turn_until_held(1);
    assert_int_equal(settled.calls, 0);
    faults_release();
    turn_until(&settled.calls, 1);
    assert_int_equal(outcome.calls, 1);
    outcome_clear(&outcome);
    instance_end(cvm);
}

struct settling {
    cvm_t *cvm;
    struct finish settled;
    struct outcome outcome;
};

static void begin_another(void *user_data, const cvm_error_t *error)
{
    struct settling *settling = user_data;
    (void)error;
    register_start(settling->cvm, UID, token_of(UID), NULL, 0, &settling->outcome);
    assert_null(cvm_settle(settling->cvm, finished, &settling->settled));
}

/* And what begins when it is told. */
static void what_one_that_is_told_begins_is_waited_for(void **state)
{
    struct finish other = {0};
    (void)state;
    struct settling settling = {.cvm = instance_start(SETTINGS)};
    assert_string_equal(device_add(settling.cvm, UID), "ok");
    faults_plan("prepare", 1, FAULT_HOLD_BEFORE);
    assert_null(cvm_settle(settling.cvm, begin_another, &settling));
    assert_null(cvm_settle(settling.cvm, finished, &other));
    turn_until_held(1);
    turn_for(20);
    assert_int_equal(settling.settled.calls + other.calls, 0);
    faults_release();
    turn_until(&settling.settled.calls, 1);
    turn_until(&other.calls, 1);
    assert_int_equal(settling.outcome.calls, 1);
    outcome_clear(&settling.outcome);
    instance_end(settling.cvm);
}

static void a_stop_settles(void **state)
{
    struct outcome outcome = {0};
    struct finish settled = {0}, late = {0};
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("prepare", 1, FAULT_HOLD_BEFORE);
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
    turn_until_held(1);
    assert_null(cvm_settle(cvm, finished, &settled));
    instance_stop(cvm, &is_stopped);
    cvm_error_t *error = cvm_settle(cvm, finished, &late);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    faults_release();
    turn_until(&is_stopped, 1);
    assert_int_equal(settled.calls, 1);
    assert_int_equal(late.calls, 0);
    outcome_clear(&outcome);
    instance_free(cvm);
}

/* --- Two at once ------------------------------------------------------------------------------ */

/* Two servers on one store: each thing is carried out, and told once. */
static void two_reconcilers_report_each_thing_once(void **state)
{
    enum { DEVICES = 40 };
    struct finish first = {0}, second = {0};
    (void)state;
    cvm_t *one = instance_start(SETTINGS), *other = instance_start(SETTINGS);
    register_many(one, DEVICES);
    sql("UPDATE devices SET is_enabled = 0"); /* as verbs that were cut short left it */
    sql("UPDATE devices SET lease_owner = 'gone', lease_until = 1 WHERE device_uid LIKE 'D1%%'");
    sql("INSERT INTO certificates (certificate_id, device_uid, state, serial, not_after,"
        " revoke_after, reason) SELECT 'X' || device_uid, device_uid, 'retiring', '1', "
        "4000000000000, 0,"
        " 'superseded' FROM devices");
    assert_null(cvm_reconcile(one, finished, &first));
    assert_null(cvm_reconcile(other, finished, &second));
    turn_until(&first.calls, 1);
    turn_until(&second.calls, 1);
    struct due due = count_due(one);
    for (int tries = 0; due.retirements + due.suspensions + due.leases && tries < 5; tries++) {
        (void)reconcile(one); /* who lost a race leaves it for the next pass */
        due = count_due(one);
    }
    assert_int_equal(due.retirements + due.suspensions + due.leases, 0);
    assert_int_equal(lines_with("audit", "certificate_revoked"), DEVICES);
    assert_int_equal(lines_with("audit", "certificates_suspended"), DEVICES);
    assert_int_equal(lines_with("audit", "lease_ended"), 11);
    instance_end(one);
    instance_end(other);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_due_is_counted_and_left_alone),
        TEST(what_others_made_is_found_and_written_down),
        TEST(what_is_found_goes_the_way_of_its_device),
        TEST(what_is_answered_twice_is_one),
        TEST(a_certificate_of_another_device_is_left_alone),
        TEST(what_was_found_is_superseded_by_a_registration),
        TEST(one_that_fails_is_told_and_the_others_are_looked_at),
        TEST(where_the_store_has_them_all_it_is_said),
        TEST(a_stop_ends_the_look),
        TEST(nobody_waits_and_it_is_settled),
        TEST(what_nobody_waits_for_is_waited_for),
        TEST(what_begins_meanwhile_is_waited_for),
        TEST(what_one_that_is_told_begins_is_waited_for),
        TEST(a_stop_settles),
        TEST(two_reconcilers_report_each_thing_once),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
