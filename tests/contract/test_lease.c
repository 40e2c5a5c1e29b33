/*
 * Leases: two servers on one store. One is paused in the middle of a registration until its lease
 * is over, the other takes over, then the first one wakes up. Whatever each does, one certificate
 * is current and active, and nothing is active without a record.
 */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

#include "base/clock.h"
#include "registration/again.h"

#define UID "DEVICE001"

static const struct setting FAULTY[] = {{"store", "faulty"}, {NULL, NULL}};

/* Where the first one is paused: after its claim. */
static const struct {
    const char *call;
    uint32_t nth;
    int32_t is_recorded; /* its certificate, when it is held before the call */
} PAUSES[] = {
    {"create_certificate", 1, 0},
    {"swap", 2, 0},
    {"attach_policy", 1, 1},
    {"create_thing", 1, 1},
    {"attach_certificate", 1, 1},
    {"activate", 1, 1},
    {"swap", 3, 1},
};

struct pair {
    cvm_t *first, *second;
    char *csr, *other_csr;
    struct outcome paused, outcome;
};

static void begin(struct pair *pair)
{
    *pair = (struct pair){.first = instance_start(FAULTY), .second = instance_start(FAULTY)};
    pair->csr = make_csr();
    pair->other_csr = make_csr();
    assert_string_equal(device_add(pair->first, UID), "ok");
}

static void end(struct pair *pair)
{
    outcome_clear(&pair->paused);
    outcome_clear(&pair->outcome);
    free(pair->csr);
    free(pair->other_csr);
    instance_end(pair->first);
    instance_end(pair->second);
}

static void again(void **state)
{
    (void)harness_tear_down(state);
    (void)harness_set_up(state);
}

static void pause_first(struct pair *pair, size_t at, enum fault hold)
{
    faults_plan(PAUSES[at].call, PAUSES[at].nth, hold);
    register_start(pair->first, UID, token_of(UID), pair->csr, 0, &pair->paused);
    turn_until_held(1);
}

/* The device is registered with that certificate, and it is the only one that is left. */
static void expect_only(const struct pair *pair, const char *certificate_id)
{
    struct view view;
    device_view(pair->second, UID, &view);
    assert_true(view.is_registered);
    assert_string_equal(view.certificate_id, certificate_id);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_int_equal(view_count(&view, "pending"), 0);
    assert_int_equal(view_count(&view, "retiring"), 0);
    assert_false(device_has_lease(UID));
    const struct fake_certificate *certificate = fake_find(certificate_id);
    assert_false(certificate->is_deleted);
    assert_int_equal(certificate->state, FAKE_ACTIVE);
    assert_true(certificate->has_policy && *certificate->thing);
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), 0);
    assert_int_equal(fake_violations(), 0);
}

static void expect_name(const struct outcome *outcome, const char *name, const char *what)
{
    if (strcmp(outcome->name, name) != 0)
        fail_msg("%s: %s at '%s', not %s", what, outcome->name, outcome->step, name);
}

/* --- While the lease holds -------------------------------------------------------------------- */

static void a_lease_keeps_others_out(void **state)
{
    struct pair pair;
    for (size_t i = 0; i < LENGTH(PAUSES); i++) {
        begin(&pair);
        pause_first(&pair, i, FAULT_HOLD_BEFORE);
        uint32_t made = faults_count("create_certificate");
        (void)register_now(pair.second, UID, pair.other_csr, &pair.outcome);
        expect_name(&pair.outcome, "in_progress", "the second");
        assert_true(pair.outcome.retryable);
        assert_in_range(pair.outcome.retry_after_s, 1, 60);
        assert_int_equal(faults_count("create_certificate"), made);
        struct view view;
        device_view(pair.second, UID, &view);
        assert_true(view.has_lease);
        faults_release();
        outcome_wait(&pair.paused);
        expect_name(&pair.paused, "ok", "the first");
        expect_only(&pair, pair.paused.certificate_id);
        end(&pair);
        again(state);
    }
}

static int64_t lease_until(void)
{
    return device_number(UID, CVM_D_LEASE_UNTIL);
}

/* Goes on to a call, later than the lease was written. */
static void go_on_until(const char *call)
{
    time_passes(CVM_LEASE_MS / 2);
    faults_release();
    faults_plan(call, 1, FAULT_HOLD_BEFORE);
}

/* It is taken, prolonged when a certificate is recorded, and kept for an undo: as long each time.
 */
static void each_write_lets_a_lease_last_from_then_on(void **state)
{
    struct pair pair;
    (void)state;
    begin(&pair);
    int64_t before_ms = cvm_now_ms();
    faults_plan("create_certificate", 1, FAULT_HOLD_BEFORE);
    register_start(pair.first, UID, token_of(UID), pair.csr, 0, &pair.paused);
    turn_until_held(1);
    assert_in_range(lease_until(), before_ms + CVM_LEASE_MS, cvm_now_ms() + CVM_LEASE_MS);
    go_on_until("attach_certificate");
    turn_until_held(1);
    assert_in_range(lease_until(), before_ms + CVM_LEASE_MS, cvm_now_ms() + CVM_LEASE_MS);
    go_on_until("delete_certificate");
    faults_plan("activate", 1, FAULT_UNAVAILABLE);
    turn_until_held(1);
    assert_in_range(lease_until(), before_ms + CVM_LEASE_MS, cvm_now_ms() + CVM_LEASE_MS);
    assert_int_equal(certificates_number(UID, "retiring", CVM_C_REVOKE_AFTER), lease_until());
    (void)register_now(pair.second, UID, pair.other_csr, &pair.outcome);
    expect_name(&pair.outcome, "in_progress", "the second");
    faults_release();
    outcome_wait(&pair.paused);
    expect_name(&pair.paused, "platform_unavailable", "the first");
    assert_int_equal(lease_until(), 0);
    end(&pair);
}

/* --- When it is over -------------------------------------------------------------------------- */

/* Another key: the second deletes what the first recorded, which is the fence against the first. */
static void another_key_deletes_and_fences(void **state)
{
    struct pair pair;
    for (enum fault hold = FAULT_HOLD_BEFORE; hold <= FAULT_HOLD_AFTER; hold++) {
        for (size_t i = 0; i < LENGTH(PAUSES); i++) {
            if (hold == FAULT_HOLD_AFTER && i == LENGTH(PAUSES) - 1)
                continue; /* then it is registered already */
            begin(&pair);
            pause_first(&pair, i, hold);
            time_passes(CVM_LEASE_MS + 1);
            (void)register_now(pair.second, UID, pair.other_csr, &pair.outcome);
            expect_name(&pair.outcome, "ok", "the second");
            faults_release();
            outcome_wait(&pair.paused);
            assert_string_not_equal(pair.paused.name, "ok");
            assert_true(pair.paused.retryable);
            turn_for(20);
            expect_only(&pair, pair.outcome.certificate_id);
            end(&pair);
            again(state);
        }
    }
}

/* The same key: the second adopts what the first recorded; when the first wakes up, it must not
 * undo what is the second's now. */
static void the_same_key_adopts(void **state)
{
    struct pair pair;
    for (enum fault hold = FAULT_HOLD_BEFORE; hold <= FAULT_HOLD_AFTER; hold++) {
        for (size_t i = 0; i < LENGTH(PAUSES); i++) {
            if (hold == FAULT_HOLD_AFTER && i == LENGTH(PAUSES) - 1)
                continue;
            begin(&pair);
            pause_first(&pair, i, hold);
            time_passes(CVM_LEASE_MS + 1);
            uint32_t made = faults_count("create_certificate");
            (void)register_now(pair.second, UID, pair.csr, &pair.outcome);
            expect_name(&pair.outcome, "ok", "the second");
            /* What was made is found, in the record or by its key. */
            int32_t is_made = i > 0 || hold == FAULT_HOLD_AFTER;
            assert_int_equal(faults_count("create_certificate") - made, is_made ? 0 : 1);
            faults_release();
            outcome_wait(&pair.paused);
            turn_for(20);
            expect_only(&pair, pair.outcome.certificate_id);
            end(&pair);
            again(state);
        }
    }
}

/* The first wakes up and its step fails, which it would undo. */
static void a_failure_after_waking_up_undoes_nothing_of_the_others(void **state)
{
    struct pair pair;
    for (int same_key = 0; same_key < 2; same_key++) {
        for (size_t i = 2; i < LENGTH(PAUSES) - 1; i++) {
            begin(&pair);
            pause_first(&pair, i, FAULT_HOLD_BEFORE);
            time_passes(CVM_LEASE_MS + 1);
            (void)register_now(
                pair.second, UID, same_key ? pair.csr : pair.other_csr, &pair.outcome);
            expect_name(&pair.outcome, "ok", "the second");
            faults_release();
            for (size_t next = i + 1; next < LENGTH(PAUSES) - 1; next++)
                faults_plan(PAUSES[next].call, 0, FAULT_UNAVAILABLE);
            outcome_wait(&pair.paused);
            turn_for(20);
            expect_only(&pair, pair.outcome.certificate_id);
            faults_release();
            end(&pair);
            again(state);
        }
    }
}

/* Both are under way: the second has adopted, and is paused in its turn when the first wakes up. */
/* Two adopt it, one after the other; the first of them finds out too late, and leaves it alone. */
static void what_was_adopted_is_not_undone_by_who_lost_it(void **state)
{
    struct pair pair;
    struct outcome adopter;
    begin(&pair);
    pause_first(&pair, 2, FAULT_HOLD_BEFORE); /* its certificate is recorded */
    time_passes(CVM_LEASE_MS + 1);
    faults_plan("swap", 2, FAULT_HOLD_BEFORE); /* to record what it adopted */
    register_start(pair.second, UID, token_of(UID), pair.csr, 0, &adopter);
    turn_until_held(2);
    time_passes(CVM_LEASE_MS + 1);
    (void)register_now(pair.second, UID, pair.csr, &pair.outcome);
    expect_name(&pair.outcome, "ok", "the last");
    faults_release();
    outcome_wait(&adopter);
    outcome_wait(&pair.paused);
    turn_for(20);
    expect_only(&pair, pair.outcome.certificate_id);
    outcome_clear(&adopter);
    end(&pair);
    (void)state;
}

static void two_with_one_key_at_once(void **state)
{
    struct pair pair;
    for (size_t i = 2; i < LENGTH(PAUSES); i++) {
        begin(&pair);
        pause_first(&pair, i, FAULT_HOLD_AFTER);
        if (i == LENGTH(PAUSES) - 1) { /* it is registered: there is nothing to take over */
            faults_release();
            outcome_wait(&pair.paused);
            end(&pair);
            again(state);
            continue;
        }
        time_passes(CVM_LEASE_MS + 1);
        faults_plan("attach_certificate", 1, FAULT_HOLD_BEFORE);
        register_start(pair.second, UID, token_of(UID), pair.csr, 0, &pair.outcome);
        turn_until_held(2);
        faults_release();
        outcome_wait(&pair.paused);
        outcome_wait(&pair.outcome);
        turn_for(20);
        expect_name(&pair.outcome, "ok", "the second");
        expect_only(&pair, pair.outcome.certificate_id);
        end(&pair);
        again(state);
    }
}

/* --- The taking over fails -------------------------------------------------------------------- */

/* The first has gone for good after it activated; the second can't delete that: it stays in the
 * record, until somebody can. */
static void what_could_not_be_deleted_stays_in_the_record(void **state)
{
    static const enum fault FAULTS[] = {
        FAULT_UNAVAILABLE, FAULT_BUSY, FAULT_BROKEN, FAULT_UNKNOWN_NOT, FAULT_UNKNOWN_DONE};
    static const char *const CALLS[] = {"delete_certificate", "get_certificates"};
    struct pair pair;
    for (size_t call = 0; call < LENGTH(CALLS); call++) {
        for (size_t i = 0; i < LENGTH(FAULTS); i++) {
            begin(&pair);
            pause_first(&pair, 5, FAULT_HOLD_AFTER);
            time_passes(CVM_LEASE_MS + 1);
            faults_plan(CALLS[call], 1, FAULTS[i]);
            (void)register_now(pair.second, UID, pair.other_csr, &pair.outcome);
            assert_string_not_equal(pair.outcome.name, "ok");
            assert_true(pair.outcome.retryable);
            outcome_clear(&pair.outcome);
            if (fake_count(UID, FAKE_ACTIVE))
                assert_string_not_equal(device_text(UID, CVM_D_LEASE_CERTIFICATE_ID), "");
            assert_int_equal(fake_violations(), 0);
            (void)register_now(pair.second, UID, pair.other_csr, &pair.outcome);
            expect_name(&pair.outcome, "ok", "the next");
            faults_release();
            outcome_wait(&pair.paused);
            turn_for(20);
            expect_only(&pair, pair.outcome.certificate_id);
            end(&pair);
            again(state);
        }
    }
}

/* After the first one's certificate is deleted, the second fails as well. */
static void a_taker_over_that_fails_leaves_nothing(void **state)
{
    struct pair pair;
    for (int same_key = 0; same_key < 2; same_key++) {
        for (size_t i = 0; i < LENGTH(PAUSES); i++) {
            begin(&pair);
            pause_first(&pair, 5, FAULT_HOLD_AFTER);
            time_passes(CVM_LEASE_MS + 1);
            faults_plan(PAUSES[i].call, PAUSES[i].nth, FAULT_UNAVAILABLE);
            (void)register_now(
                pair.second, UID, same_key ? pair.csr : pair.other_csr, &pair.outcome);
            if (strcmp(pair.outcome.name, "ok") != 0) {
                assert_int_equal(fake_count(UID, FAKE_ACTIVE), 0);
                assert_int_equal(fake_count(UID, FAKE_INACTIVE), 0);
                outcome_clear(&pair.outcome);
                (void)register_now(pair.second, UID, pair.other_csr, &pair.outcome);
            }
            expect_name(&pair.outcome, "ok", PAUSES[i].call);
            assert_int_equal(fake_violations(), 0);
            faults_release();
            outcome_wait(&pair.paused);
            turn_for(20);
            expect_only(&pair, pair.outcome.certificate_id);
            end(&pair);
            again(state);
        }
    }
}

/* The first is paused in the middle of its undo: what it is about to delete must not be adopted. */
static void what_is_being_undone_is_not_adopted(void **state)
{
    static const char *const UNDOES[] = {
        "detach_certificate", "detach_policy", "delete_certificate"};
    struct pair pair;
    for (int same_key = 0; same_key < 2; same_key++) {
        for (size_t i = 0; i < LENGTH(UNDOES); i++) {
            begin(&pair);
            faults_plan("activate", 1, FAULT_UNAVAILABLE);
            faults_plan(UNDOES[i], 1, FAULT_HOLD_BEFORE);
            register_start(pair.first, UID, token_of(UID), pair.csr, 0, &pair.paused);
            turn_until_held(1);
            time_passes(CVM_LEASE_MS + 1);
            (void)register_now(
                pair.second, UID, same_key ? pair.csr : pair.other_csr, &pair.outcome);
            expect_name(&pair.outcome, "ok", "the second");
            faults_release();
            outcome_wait(&pair.paused);
            turn_for(20);
            expect_only(&pair, pair.outcome.certificate_id);
            end(&pair);
            again(state);
        }
    }
}

/* A re-issue whose server died after it activated: the old certificate is still the current one. */
static void a_reissue_that_died_is_taken_over(void **state)
{
    static const struct setting SETTINGS[] = {
        {"store", "faulty"}, {"registration.reissue_after", "0"}, {NULL, NULL}};
    struct pair pair = {.csr = NULL};
    (void)state;
    pair.first = instance_start(SETTINGS);
    pair.second = instance_start(SETTINGS);
    assert_string_equal(device_add(pair.first, UID), "ok");
    assert_string_equal(register_now(pair.first, UID, NULL, &pair.outcome), "ok");
    outcome_clear(&pair.outcome);
    faults_plan("activate", 1, FAULT_HOLD_AFTER);
    register_start(pair.first, UID, token_of(UID), NULL, 0, &pair.paused);
    turn_until_held(1);
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 2);
    time_passes(CVM_LEASE_MS + 1);
    (void)register_now(pair.second, UID, NULL, &pair.outcome);
    expect_name(&pair.outcome, "ok", "the second");
    assert_string_equal(reconcile(pair.second), "ok");
    faults_release();
    outcome_wait(&pair.paused);
    assert_string_not_equal(pair.paused.name, "ok");
    turn_for(20);
    expect_only(&pair, pair.outcome.certificate_id);
    end(&pair);
}

/* Two servers, many devices, every call of the platform answered by threads: each device ends with
 * exactly one certificate. */
static void two_servers_share_the_work(void **state)
{
    enum { DEVICES = 20, EACH = 3 };
    static struct outcome outcomes[DEVICES][EACH];
    cvm_t *servers[2];
    (void)state;
    servers[0] = instance_start(FAULTY);
    servers[1] = instance_start(FAULTY);
    for (int i = 0; i < DEVICES; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        assert_string_equal(device_add(servers[0], uid), "ok");
    }
    faults_plan("create_certificate", 0, FAULT_THREAD);
    faults_plan("activate", 0, FAULT_THREAD);
    for (int i = 0; i < DEVICES; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "D%d", i);
        for (int j = 0; j < EACH; j++)
            register_start(servers[j % 2], uid, token_of(uid), NULL, 0, &outcomes[i][j]);
    }
    for (int i = 0; i < DEVICES; i++) {
        char uid[16];
        int winners = 0;
        (void)snprintf(uid, sizeof uid, "D%d", i);
        for (int j = 0; j < EACH; j++) {
            outcome_wait(&outcomes[i][j]);
            winners += strcmp(outcomes[i][j].name, "ok") == 0;
            if (strcmp(outcomes[i][j].name, "ok") != 0)
                expect_name(&outcomes[i][j], "in_progress", uid);
            outcome_clear(&outcomes[i][j]);
        }
        assert_int_equal(winners, 1);
        assert_int_equal(fake_count(uid, FAKE_ACTIVE), 1);
        assert_int_equal(fake_count(uid, FAKE_INACTIVE), 0);
    }
    assert_int_equal(fake_violations(), 0);
    instance_end(servers[0]);
    instance_end(servers[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_lease_keeps_others_out),
        TEST(each_write_lets_a_lease_last_from_then_on),
        TEST(another_key_deletes_and_fences),
        TEST(the_same_key_adopts),
        TEST(a_failure_after_waking_up_undoes_nothing_of_the_others),
        TEST(two_with_one_key_at_once),
        TEST(what_was_adopted_is_not_undone_by_who_lost_it),
        TEST(what_could_not_be_deleted_stays_in_the_record),
        TEST(a_taker_over_that_fails_leaves_nothing),
        TEST(what_is_being_undone_is_not_adopted),
        TEST(a_reissue_that_died_is_taken_over),
        TEST(two_servers_share_the_work),
    };
    int failed = 0; /* in the long run often: threads meet in other ways each time */
    for (int times = 0; times < (test_scale() > 1 ? 20 : 1); times++)
        failed += cmocka_run_group_tests(tests, harness_begin, harness_end);
    return failed;
}
