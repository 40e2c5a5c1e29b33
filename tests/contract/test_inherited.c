/* Devices that another system has registered: the platform knows their certificates, and no row.
 * And certificates of which nobody knows whether they were made. */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

#include "registration/again.h"

#define UID   "DEVICE001"
#define THING "its thing"
#define OLD   "00000000000000000000000000000000000000000000000000000000000001d1"
#define NEWER "00000000000000000000000000000000000000000000000000000000000002d2"
#define OTHER "00000000000000000000000000000000000000000000000000000000000003d3"

static const struct setting SETTINGS[] = {{"store", "faulty"}, {"platform", "fake:"}, {NULL, NULL}};

/* What another system left: the device's row with flag and thing, and certificates of the platform.
 */
static cvm_t *start_inherited(int32_t is_registered)
{
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    set_device_number(UID, CVM_D_IS_REGISTERED, is_registered);
    set_device_text(UID, CVM_D_THING_NAME, THING);
    fake_clear(NULL); /* nothing is recorded, and that is no fault */
    fake_add(OLD, UID, THING, FAKE_ACTIVE);
    fake_add(NEWER, UID, THING, FAKE_ACTIVE);
    fake_add(OTHER, UID, "another thing", FAKE_ACTIVE);
    return cvm;
}

static const char *state_of(cvm_t *cvm, const char *id)
{
    static struct view view;
    device_view(cvm, UID, &view);
    for (uint32_t i = 0; i < view.certificate_count; i++)
        if (strcmp(view.certificates[i].id, id) == 0)
            return view.certificates[i].state;
    return "none";
}

static uint32_t rows(void)
{
    return count_certificates(NULL);
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static void it_is_shown_and_nothing_is_written(void **state)
{
    (void)state;
    cvm_t *cvm = start_inherited(1);
    assert_string_equal(state_of(cvm, NEWER), "current");
    assert_string_equal(state_of(cvm, OLD), "retiring"); /* it lives on */
    assert_string_equal(state_of(cvm, OTHER), "none");
    assert_int_equal(rows(), 0);
    assert_string_equal(device_text(UID, CVM_D_CERTIFICATE_ID), "");
    instance_end(cvm);
}

static void all_of_it_is_revoked(void **state)
{
    (void)state;
    cvm_t *cvm = start_inherited(1);
    assert_string_equal(device_revoke(cvm, UID, "keyCompromise"), "ok");
    assert_int_equal(fake_find(OLD)->state, FAKE_REVOKED);
    assert_int_equal(fake_find(NEWER)->state, FAKE_REVOKED);
    assert_int_equal(fake_find(OTHER)->state, FAKE_ACTIVE);
    assert_string_equal(certificate_text(UID, OLD, CVM_C_STATE), "revoked");
    assert_string_equal(certificate_text(UID, NEWER, CVM_C_STATE), "revoked");
    assert_int_equal(count_certificates_with(CVM_C_REASON, "keyCompromise"), 2);
    instance_end(cvm);
}

static void it_is_suspended_and_resumed(void **state)
{
    (void)state;
    cvm_t *cvm = start_inherited(1);
    assert_string_equal(device_disable(cvm, UID), "ok");
    assert_true(fake_find(NEWER)->is_suspended);
    assert_string_equal(state_of(cvm, NEWER), "current");
    assert_string_equal(state_of(cvm, OLD), "retiring");
    assert_int_equal(rows(), 2);
    assert_string_equal(device_text(UID, CVM_D_CERTIFICATE_ID), NEWER);
    assert_string_equal(reconcile(cvm), "ok"); /* what lives on is not due */
    assert_int_equal(fake_find(OLD)->state, FAKE_INACTIVE);
    assert_string_equal(device_enable(cvm, UID), "ok");
    assert_int_equal(fake_find(NEWER)->state, FAKE_ACTIVE);
    assert_int_equal(fake_find(OLD)->state, FAKE_ACTIVE);
    assert_int_equal(faults_count("find_certificates"), 1); /* they are known by now */
    instance_end(cvm);
}

static void removing_it_revokes_it(void **state)
{
    (void)state;
    cvm_t *cvm = start_inherited(1);
    assert_string_equal(device_remove(cvm, UID, 0), "device_registered");
    assert_int_equal(rows(), 0);
    assert_string_equal(device_remove(cvm, UID, 1), "ok");
    assert_int_equal(fake_find(OLD)->state, FAKE_REVOKED);
    assert_int_equal(fake_find(NEWER)->state, FAKE_REVOKED);
    instance_end(cvm);
}

/* After a reset the next registration supersedes what was there. */
static void a_reset_leads_to_its_end(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start_inherited(1);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "already_registered");
    outcome_clear(&outcome);
    assert_string_equal(device_reset(cvm, UID), "ok");
    assert_int_equal(rows(), 2);
    assert_int_equal(fake_find(NEWER)->state, FAKE_ACTIVE);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    turn_until_idle(cvm);
    assert_string_equal(state_of(cvm, outcome.certificate_id), "current");
    assert_int_equal(fake_find(NEWER)->state, FAKE_REVOKED);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* The platform can't be asked: no verb says that it is done. */
static void who_can_not_ask_does_not_say_ok(void **state)
{
    static const enum fault FAULTS[] = {FAULT_UNAVAILABLE, FAULT_UNKNOWN_NOT, FAULT_BROKEN};
    static const char *const NAMES[] = {"platform_unavailable", "unknown", "platform_error"};
    (void)state;
    cvm_t *cvm = start_inherited(1);
    for (size_t i = 0; i < LENGTH(FAULTS); i++) {
        for (uint32_t nth = 1; nth <= 5; nth++)
            faults_plan("find_certificates", nth, FAULTS[i]);
        assert_string_equal(device_revoke(cvm, UID, NULL), NAMES[i]);
        assert_string_equal(device_disable(cvm, UID), NAMES[i]);
        assert_string_equal(device_enable(cvm, UID), NAMES[i]);
        assert_string_equal(device_reset(cvm, UID), NAMES[i]);
        assert_string_equal(device_remove(cvm, UID, 1), NAMES[i]);
    }
    assert_int_equal(rows(), 0);
    assert_int_equal(device_number(UID, CVM_D_IS_ENABLED), 1);
    assert_int_equal(device_number(UID, CVM_D_IS_REGISTERED), 1);
    assert_int_equal(device_number(UID, CVM_D_IS_REVOKED), 0);
    instance_end(cvm);
}

static char gap[256];

static void on_device(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    assert_null(error);
    (void)snprintf(gap, sizeof gap, "%s", cvm_device_gap(device) ? cvm_device_gap(device) : "none");
    *(int *)user_data = 1;
}

static void who_shows_it_says_what_is_missing(void **state)
{
    (void)state;
    cvm_t *cvm = start_inherited(1);
    for (int fails = 0; fails < 2; fails++) {
        int is_done = 0;
        if (fails)
            faults_plan("find_certificates", 1, FAULT_UNAVAILABLE);
        assert_null(cvm_device_get(cvm, UID, on_device, &is_done));
        turn_until(&is_done, 1);
        assert_string_equal(gap, fails ? "the fake platform failed" : "none");
    }
    instance_end(cvm);
}

/* --- The first registration here -------------------------------------------------------------- */

static void the_first_registration_supersedes_it(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start_inherited(0);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    turn_until_idle(cvm);
    turn_for(30);
    assert_int_equal(fake_find(OLD)->state, FAKE_REVOKED);
    assert_int_equal(fake_find(NEWER)->state, FAKE_REVOKED);
    assert_string_equal(state_of(cvm, OLD), "revoked");
    assert_string_equal(state_of(cvm, outcome.certificate_id), "current");
    assert_int_equal(count_certificates_with(CVM_C_SUCCESSOR, outcome.certificate_id), 2);
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void without_an_answer_it_is_not_registered(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start_inherited(0);
    faults_plan("find_certificates", 1, FAULT_UNAVAILABLE);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "platform_unavailable");
    outcome_clear(&outcome);
    assert_int_equal(faults_count("create_certificate"), 0);
    assert_int_equal(fake_find(NEWER)->state, FAKE_ACTIVE);
    faults_plan("find_certificates", 1, FAULT_NOT_FOUND); /* there is no such thing */
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* What there is no room for is not left out without a word. */
static void more_than_can_be_taken_is_refused(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    for (uint32_t more = 0; more < 2; more++) {
        cvm_t *cvm = start_inherited(0);
        for (uint32_t i = 0; i < 62 + more; i++) {
            char id[65];
            (void)snprintf(id, sizeof id, "%064x", 0x100 + i);
            fake_add(id, UID, THING, FAKE_ACTIVE);
        }
        assert_string_equal(register_now(cvm, UID, NULL, &outcome), more ? "platform_error" : "ok");
        turn_until_idle(cvm);
        for (int tries = 0; tries < 100 && fake_count(UID, FAKE_REVOKED) < 64 && !more; tries++)
            turn_for(50);
        assert_int_equal(fake_count(UID, FAKE_REVOKED), more ? 0 : 64);
        outcome_clear(&outcome);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* --- Made, or not? ---------------------------------------------------------------------------- */

/* Nobody recorded it, and its owner is gone: whoever comes next finds it by the key. */
static void a_creation_that_nobody_recorded_is_found(void **state)
{
    struct outcome outcome = {0}, again = {0};
    char *csr = make_csr(), *other = make_csr();
    for (int is_same = 0; is_same < 2; is_same++) {
        cvm_t *first = instance_start(SETTINGS), *second = instance_start(SETTINGS);
        assert_string_equal(device_add(first, UID), "ok");
        faults_plan("create_certificate", 1, FAULT_HOLD_AFTER);
        register_start(first, UID, token_of(UID), csr, 0, &outcome);
        turn_until_held(1);
        const char *lost = fake_certificate(0)->id;
        time_passes(CVM_LEASE_MS + 1);
        uint32_t made = faults_count("create_certificate");
        assert_string_equal(register_now(second, UID, is_same ? csr : other, &again), "ok");
        assert_int_equal(faults_count("create_certificate") - made, !is_same);
        assert_int_equal(fake_find(lost)->is_deleted, !is_same);
        assert_int_equal(strcmp(again.certificate_id, lost) == 0, is_same);
        faults_release();
        outcome_wait(&outcome);
        assert_string_equal(outcome.name, "in_progress");
        turn_until_idle(first);
        assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
        assert_int_equal(fake_count(UID, FAKE_INACTIVE), 0);
        outcome_clear(&outcome);
        outcome_clear(&again);
        instance_end(first);
        instance_end(second);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
    free(csr);
    free(other);
}

/* The same, but nobody comes: the reconciler finds it. */
static void the_reconciler_finds_it_too(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("create_certificate", 1, FAULT_UNKNOWN_DONE);
    faults_plan("find_by_key", 1, FAULT_UNAVAILABLE);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "unknown");
    turn_until_idle(cvm);
    outcome_clear(&outcome);
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), 1);
    /* The lease stays, and with it the key. */
    assert_string_not_equal(device_text(UID, CVM_D_LEASE_OWNER), "");
    assert_int_equal(strlen(device_text(UID, CVM_D_LEASE_PUBLIC_KEY_SHA256)), 64);
    time_passes(3 * CVM_LEASE_MS); /* it is left alone for a while */
    faults_plan("find_by_key", 1, FAULT_UNAVAILABLE);
    assert_string_equal(reconcile(cvm), "platform_unavailable");
    assert_true(device_has_lease(UID));
    assert_string_equal(reconcile(cvm), "ok");
    assert_false(device_has_lease(UID));
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), 0);
    assert_int_equal(fake_count(UID, FAKE_REVOKED), 1);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* ... and a take-over that can't ask lets nothing be forgotten. */
static void a_take_over_that_can_not_ask_keeps_the_key(void **state)
{
    struct outcome outcome = {0};
    char *csr = make_csr();
    char key[65] = "";
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("create_certificate", 1, FAULT_UNKNOWN_DONE);
    faults_plan("find_by_key", 1, FAULT_UNAVAILABLE);
    faults_plan("find_by_key", 2, FAULT_UNAVAILABLE);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "unknown");
    outcome_clear(&outcome);
    turn_until_idle(cvm);
    (void)snprintf(key, sizeof key, "%s", fake_certificate(0)->key);
    for (int i = 0; i < 2; i++) {
        time_passes(CVM_LEASE_MS + 1);
        assert_string_equal(
            register_now(cvm, UID, csr, &outcome), i ? "ok" : "platform_unavailable");
        turn_until_idle(cvm);
        if (!i)
            assert_string_equal(device_text(UID, CVM_D_LEASE_PUBLIC_KEY_SHA256), key);
        outcome_clear(&outcome);
    }
    assert_true(fake_certificate(0)->is_deleted);
    free(csr);
    instance_end(cvm);
}

/* Two owners in a row are gone: the first recorded a certificate, the second deleted that, had
 * another one made, and did not record it. */
static void what_the_second_owner_left_is_found_too(void **state)
{
    struct outcome outcome[3] = {{0}};
    char *csrs[3] = {make_csr(), make_csr(), make_csr()};
    (void)state;
    cvm_t *servers[3];
    for (int i = 0; i < 3; i++)
        servers[i] = instance_start(SETTINGS);
    assert_string_equal(device_add(servers[0], UID), "ok");
    faults_plan("attach_policy", 1, FAULT_HOLD_BEFORE);
    register_start(servers[0], UID, token_of(UID), csrs[0], 0, &outcome[0]);
    turn_until_held(1);
    time_passes(CVM_LEASE_MS + 1);
    faults_plan("create_certificate", 1, FAULT_HOLD_AFTER);
    register_start(servers[1], UID, token_of(UID), csrs[1], 0, &outcome[1]);
    turn_until_held(2);
    assert_true(fake_certificate(0)->is_deleted);
    assert_string_equal(device_text(UID, CVM_D_LEASE_CERTIFICATE_ID), "");
    assert_string_equal(device_text(UID, CVM_D_LEASE_PUBLIC_KEY_SHA256), fake_certificate(1)->key);
    time_passes(CVM_LEASE_MS + 1);
    assert_string_equal(register_now(servers[2], UID, csrs[2], &outcome[2]), "ok");
    assert_true(fake_certificate(1)->is_deleted);
    faults_release();
    outcome_wait(&outcome[0]);
    outcome_wait(&outcome[1]);
    turn_until_idle(servers[0]);
    turn_until_idle(servers[1]);
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), 0);
    for (int i = 0; i < 3; i++) {
        outcome_clear(&outcome[i]);
        instance_end(servers[i]);
        free(csrs[i]);
    }
}

/* The device is removed while one is made for it. */
static void what_is_made_for_a_device_that_is_gone_is_deleted(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("create_certificate", 1, FAULT_HOLD_AFTER);
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
    turn_until_held(1);
    delete_device(UID);
    faults_release();
    outcome_wait(&outcome);
    assert_string_not_equal(outcome.name, "ok");
    turn_until_idle(cvm);
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), 0);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* --- Overtaken -------------------------------------------------------------------------------- */

static void what_a_platform_does_not_know_is_no_race_by_itself(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    faults_plan("attach_policy", 1, FAULT_NOT_FOUND);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "platform_error");
    assert_string_equal(outcome.text, "the fake platform failed"); /* its own words */
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void an_owner_that_was_overtaken_says_in_progress(void **state)
{
    static const char *const CALLS[] = {"attach_policy", "attach_certificate", "activate"};
    char *csr = make_csr();
    for (size_t i = 0; i < LENGTH(CALLS); i++) {
        struct outcome outcome = {0}, winner = {0};
        cvm_t *first = instance_start(SETTINGS), *second = instance_start(SETTINGS);
        assert_string_equal(device_add(first, UID), "ok");
        faults_plan(CALLS[i], 1, FAULT_HOLD_BEFORE);
        register_start(first, UID, token_of(UID), csr, 0, &outcome);
        turn_until_held(1);
        time_passes(CVM_LEASE_MS + 1);
        assert_string_equal(register_now(second, UID, NULL, &winner), "ok");
        faults_release();
        outcome_wait(&outcome);
        assert_string_equal(outcome.name, "in_progress");
        assert_int_equal(outcome.retry_after_s, 1);
        turn_until_idle(first);
        assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
        outcome_clear(&outcome);
        outcome_clear(&winner);
        instance_end(first);
        instance_end(second);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
    free(csr);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(it_is_shown_and_nothing_is_written),
        TEST(all_of_it_is_revoked),
        TEST(it_is_suspended_and_resumed),
        TEST(removing_it_revokes_it),
        TEST(a_reset_leads_to_its_end),
        TEST(who_can_not_ask_does_not_say_ok),
        TEST(who_shows_it_says_what_is_missing),
        TEST(the_first_registration_supersedes_it),
        TEST(without_an_answer_it_is_not_registered),
        TEST(more_than_can_be_taken_is_refused),
        TEST(a_creation_that_nobody_recorded_is_found),
        TEST(the_reconciler_finds_it_too),
        TEST(a_take_over_that_can_not_ask_keeps_the_key),
        TEST(what_the_second_owner_left_is_found_too),
        TEST(what_is_made_for_a_device_that_is_gone_is_deleted),
        TEST(what_a_platform_does_not_know_is_no_race_by_itself),
        TEST(an_owner_that_was_overtaken_says_in_progress),
    };
#undef TEST
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
