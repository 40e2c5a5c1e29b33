/*
 * Leases that nobody asks for any more: a server is paused in the middle of a registration, or has
 * gone for good, and the device does not come again. A while after the lease has ended the
 * reconciler of another server clears it away, with what may be active by then.
 */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

#include "registration/again.h"

#define UID   "DEVICE001"
#define LEASE CVM_LEASE_MS /* and as much is waited after its end */

static const struct setting FAULTY[] = {
    {"store", "faulty"}, {"registration.reissue_after", "0"}, {NULL, NULL}};

static const struct {
    const char *call;
    uint32_t nth;
    enum fault hold;
} PAUSES[] = {
    {"swap", 1, FAULT_HOLD_AFTER}, /* the claim */
    {"create_certificate", 1, FAULT_HOLD_BEFORE}, {"create_certificate", 1, FAULT_HOLD_AFTER},
    {"swap", 2, FAULT_HOLD_BEFORE}, /* the record */
    {"swap", 2, FAULT_HOLD_AFTER}, {"attach_policy", 1, FAULT_HOLD_BEFORE},
    {"attach_policy", 1, FAULT_HOLD_AFTER}, {"create_thing", 1, FAULT_HOLD_BEFORE},
    {"attach_certificate", 1, FAULT_HOLD_BEFORE}, {"attach_certificate", 1, FAULT_HOLD_AFTER},
    {"activate", 1, FAULT_HOLD_BEFORE}, {"activate", 1, FAULT_HOLD_AFTER},
    {"swap", 3, FAULT_HOLD_BEFORE}, /* the update */
};

struct pair {
    cvm_t *first, *second;
    char current[65]; /* "" for a device that was never registered */
    struct outcome paused;
};

static void begin(struct pair *pair, int is_registered)
{
    struct outcome outcome;
    *pair = (struct pair){.first = instance_start(FAULTY), .second = instance_start(FAULTY)};
    assert_string_equal(device_add(pair->first, UID), "ok");
    if (!is_registered)
        return;
    assert_string_equal(register_now(pair->first, UID, NULL, &outcome), "ok");
    (void)snprintf(pair->current, sizeof pair->current, "%s", outcome.certificate_id);
    outcome_clear(&outcome);
}

static void end(struct pair *pair, void **state)
{
    outcome_clear(&pair->paused);
    instance_end(pair->first);
    instance_end(pair->second);
    (void)harness_tear_down(state);
    (void)harness_set_up(state);
}

static void pause_first(struct pair *pair, size_t at)
{
    faults_plan(PAUSES[at].call, PAUSES[at].nth, PAUSES[at].hold);
    register_start(pair->first, UID, token_of(UID), NULL, 0, &pair->paused);
    turn_until_held(1);
}

/* Of a lease that was taken just now. */
static void end_lease_ago(int64_t ms)
{
    time_passes(LEASE + ms);
}

/* No lease, and what is active is what was current before; rows of nobody are revoked. */
static void expect_cleared(const struct pair *pair)
{
    assert_int_equal(device_has_lease(UID), 0);
    assert_int_equal(fake_violations(), 0);
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), *pair->current != 0);
    assert_int_equal(count_certificates("current"), *pair->current != 0);
    assert_int_equal(count_certificates("pending") + count_certificates("retiring"), 0);
    if (*pair->current) {
        assert_int_equal(fake_find(pair->current)->state, FAKE_ACTIVE);
        assert_string_equal(device_text(UID, CVM_D_CERTIFICATE_ID), pair->current);
    }
}

/* --- The owner wakes up ----------------------------------------------------------------------- */

static void an_owner_that_wakes_up_leaves_nothing(void **state)
{
    struct pair pair;
    for (int is_registered = 0; is_registered < 2; is_registered++) {
        for (size_t i = 0; i < LENGTH(PAUSES); i++) {
            begin(&pair, is_registered);
            pause_first(&pair, i);
            end_lease_ago(2 * LEASE);
            assert_string_equal(reconcile(pair.second), "ok");
            expect_cleared(&pair);
            assert_int_equal(lines_with("audit", "lease_ended"), 1);
            faults_release();
            outcome_wait(&pair.paused);
            assert_string_not_equal(pair.paused.name, "ok");
            assert_true(pair.paused.retryable);
            turn_for(20);
            assert_string_equal(reconcile(pair.second), "ok");
            expect_cleared(&pair);
            end(&pair, state);
        }
    }
}

static void count(void *user_data, const cvm_error_t *error)
{
    (void)error;
    ++*(int *)user_data;
}

/* The owner wakes up while the lease is being cleared: one of the two wins. */
static void an_owner_may_wake_up_in_between(void **state)
{
    static const char *const MOMENTS[] = {"get_certificates", "swap", "revoke"};
    struct pair pair;
    for (size_t moment = 0; moment < LENGTH(MOMENTS); moment++) {
        for (size_t i = 0; i < LENGTH(PAUSES); i++) {
            begin(&pair, 0);
            pause_first(&pair, i);
            end_lease_ago(2 * LEASE);
            faults_plan(MOMENTS[moment], 1, FAULT_HOLD_AFTER);
            int is_done = 0;
            assert_null(cvm_reconcile(pair.second, count, &is_done));
            while (!is_done && faults_held() < 2)
                turn();
            faults_release(); /* the paused one first */
            outcome_wait(&pair.paused);
            turn_until(&is_done, 1);
            turn_for(20);
            int32_t is_registered = strcmp(pair.paused.name, "ok") == 0;
            assert_string_equal(reconcile(pair.second), "ok");
            assert_int_equal(fake_violations(), 0);
            assert_int_equal(fake_count(UID, FAKE_ACTIVE), is_registered);
            assert_int_equal(count_certificates("current"), is_registered);
            end(&pair, state);
        }
    }
}

/* --- The owner is gone ------------------------------------------------------------------------ */

static void expect_left_alone(const struct pair *pair)
{
    assert_string_equal(reconcile(pair->second), "ok");
    assert_true(device_has_lease(UID));
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
}

static void a_lease_is_left_alone_for_a_while(void **state)
{
    struct pair pair;
    begin(&pair, 0);
    pause_first(&pair, LENGTH(PAUSES) - 1);
    expect_left_alone(&pair); /* it holds */
    end_lease_ago(LEASE / 2);
    expect_left_alone(&pair);        /* it has just ended */
    time_passes(-LEASE - LEASE / 2); /* it holds again */
    faults_release();
    outcome_wait(&pair.paused);
    assert_string_equal(pair.paused.name, "ok");
    assert_int_equal(device_has_lease(UID), 0);
    end(&pair, state);
}

static void what_can_not_be_revoked_yet_stays_in_the_record(void **state)
{
    static const struct {
        const char *call;
        enum fault fault;
    } FAULTS[] = {{"get_certificates", FAULT_UNAVAILABLE}, {"swap", FAULT_UNAVAILABLE},
        {"swap", FAULT_CONFLICT}, {"swap", FAULT_UNKNOWN_NOT}, {"swap", FAULT_UNKNOWN_DONE},
        {"revoke", FAULT_UNAVAILABLE}, {"revoke", FAULT_UNKNOWN_DONE}};
    struct pair pair;
    for (size_t i = 0; i < LENGTH(FAULTS); i++) {
        begin(&pair, 1);
        pause_first(&pair, LENGTH(PAUSES) - 1);
        end_lease_ago(2 * LEASE);
        faults_plan(FAULTS[i].call, 1, FAULTS[i].fault);
        const char *name = reconcile(pair.second);
        if (FAULTS[i].fault != FAULT_CONFLICT)
            assert_string_not_equal(name, "ok");
        assert_int_equal(fake_violations(), 0);
        assert_string_equal(reconcile(pair.second), "ok");
        expect_cleared(&pair);
        faults_release();
        outcome_wait(&pair.paused);
        turn_for(20);
        expect_cleared(&pair);
        end(&pair, state);
    }
}

/* What a server that is gone for good has left. */
static void leave_lease(const char *key, const char *certificate_id)
{
    set_device_text(UID, CVM_D_LEASE_OWNER, "somebody");
    set_device_number(UID, CVM_D_LEASE_UNTIL, 1);
    set_device_text(UID, CVM_D_LEASE_PUBLIC_KEY_SHA256, key);
    set_device_text(UID, CVM_D_LEASE_CERTIFICATE_ID, certificate_id);
}

static void a_lease_without_a_certificate_is_cleared(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(FAULTY);
    struct outcome outcome;
    assert_string_equal(device_add(cvm, UID), "ok");
    leave_lease("x", NULL);
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(device_has_lease(UID), 0);
    assert_int_equal(count_certificates(NULL), 0);
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* The lease alone leads to what is active: it must not be forgotten before that is revoked. */
static void a_lease_whose_row_is_missing_is_cleared_too(void **state)
{
    struct pair pair;
    for (int is_registered = 0; is_registered < 2; is_registered++) {
        begin(&pair, is_registered);
        leave_lease(NULL, "c1");
        fake_add("c1", UID, "", FAKE_ACTIVE);
        assert_string_equal(reconcile(pair.second), "ok");
        assert_int_equal(fake_find("c1")->state, FAKE_REVOKED);
        expect_cleared(&pair);
        end(&pair, state);
    }
}

/* What the row says counts: a lease may be left that names what is revoked already. */
static void a_lease_with_a_revoked_certificate_is_cleared(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(FAULTY);
    assert_string_equal(device_add(cvm, UID), "ok");
    insert_certificates(&(struct certificates){.first = 1,
        .count = 1,
        .uid = UID,
        .has_short_ids = 1,
        .state = "revoked",
        .reason = "keyCompromise"});
    leave_lease(NULL, "C1");
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(device_has_lease(UID), 0);
    assert_string_equal(certificate_text(UID, "C1", CVM_C_STATE), "revoked");
    assert_string_equal(certificate_text(UID, "C1", CVM_C_REASON), "keyCompromise");
    assert_int_equal(faults_count("revoke"), 0);
    instance_end(cvm);
}

/* Nobody has to ask for it. */
static void a_server_clears_leases_by_itself(void **state)
{
    static const struct setting SERVER[] = {{"reconcile.interval", "10ms"}, {NULL, NULL}};
    (void)state;
    cvm_t *server = instance_start(SERVER);
    assert_string_equal(device_add(server, UID), "ok");
    leave_lease(NULL, NULL);
    for (int i = 0; i < 1000 && device_has_lease(UID); i++)
        turn();
    assert_int_equal(device_has_lease(UID), 0);
    instance_end(server);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_owner_that_wakes_up_leaves_nothing),
        TEST(an_owner_may_wake_up_in_between),
        TEST(a_lease_is_left_alone_for_a_while),
        TEST(what_can_not_be_revoked_yet_stays_in_the_record),
        TEST(a_lease_without_a_certificate_is_cleared),
        TEST(a_lease_whose_row_is_missing_is_cleared_too),
        TEST(a_lease_with_a_revoked_certificate_is_cleared),
        TEST(a_server_clears_leases_by_itself),
    };
    int failed = 0; /* in the long run often: threads meet in other ways each time */
    for (int times = 0; times < (test_scale() > 1 ? 20 : 1); times++)
        failed += cmocka_run_group_tests(tests, harness_begin, harness_end);
    return failed;
}
