/*
 * The flow on a platform with effects outside the store: every step failing with every answer, at
 * every moment. After each: what was done is undone, the record says so, and nothing was ever
 * active without a record that leads to it.
 */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

#include "registration/again.h"

#define UID "DEVICE001"

static const struct setting FAULTY[] = {{"store", "faulty"}, {"log.level", "debug"}, {NULL, NULL}};
static const struct setting FAULTY_RSA[] = {
    {"store", "faulty"}, {"server_key.type", "rsa2048"}, {NULL, NULL}};

/* The calls of one registration, in their order. The store's get is verify; its swaps are claim,
 * record and update. */
static const struct step {
    const char *call;
    uint32_t nth;
    int32_t has_undo; /* what the flow asks for after an unknown outcome */
} STEPS[] = {
    {"get", 1, 0},
    {"prepare", 1, 0},
    {"swap", 1, 0},
    {"create_certificate", 1, 1},
    {"swap", 2, 0},
    {"attach_policy", 1, 1},
    {"create_thing", 1, 0},
    {"attach_certificate", 1, 1},
    {"activate", 1, 1},
    {"swap", 3, 0},
};
#define STEP_COUNT LENGTH(STEPS)

static int32_t is_store(const struct step *step)
{
    return strcmp(step->call, "get") == 0 || strcmp(step->call, "swap") == 0;
}

static cvm_t *start_with_device(void)
{
    cvm_t *cvm = instance_start(FAULTY);
    assert_string_equal(device_add(cvm, UID), "ok");
    return cvm;
}

/* --- What must be true --------------------------------------------------------------------------
 */

/* Registered with exactly this certificate, and the world agrees. */
static void expect_registered(cvm_t *cvm, const char *certificate_id)
{
    struct view view;
    device_view(cvm, UID, &view);
    assert_true(view.is_registered);
    assert_false(view.has_lease);
    assert_string_equal(view.certificate_id, certificate_id);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_int_equal(view_count(&view, "pending"), 0);
    assert_false(device_has_lease(UID));
    const struct fake_certificate *certificate = fake_find(certificate_id);
    assert_non_null(certificate);
    assert_false(certificate->is_deleted);
    assert_int_equal(certificate->state, FAKE_ACTIVE);
    assert_true(certificate->has_policy);
    assert_string_equal(certificate->thing, "thing_" UID);
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 1);
    assert_int_equal(fake_violations(), 0);
}

/* Not registered; nothing is left of the attempt but so many inactive certificates. */
static void expect_undone(cvm_t *cvm, uint32_t inactive)
{
    struct view view;
    device_view(cvm, UID, &view);
    assert_false(view.is_registered);
    assert_false(view.has_lease);
    assert_string_equal(view.certificate_id, "");
    assert_int_equal(view_count(&view, "pending"), 0);
    assert_int_equal(view_count(&view, "retiring"), 0);
    assert_int_equal(view_count(&view, "current"), 0);
    assert_false(device_has_lease(UID));
    assert_int_equal(fake_count(UID, FAKE_ACTIVE), 0);
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), inactive);
    assert_int_equal(fake_attached(UID), 0);
    assert_int_equal(fake_violations(), 0);
}

static void expect_name(const struct outcome *outcome, const char *name, const char *what)
{
    if (strcmp(outcome->name, name) != 0)
        fail_msg(
            "%s: %s at '%s' (%s), not %s", what, outcome->name, outcome->step, outcome->text, name);
    assert_int_equal(outcome->calls, 1);
}

/* Without faults the device registers, and there is one certificate. Only the orphans of creations
 * with an unknown outcome stay. */
static void expect_next_succeeds(cvm_t *cvm, const char *csr, uint32_t orphans)
{
    struct outcome outcome;
    (void)register_now(cvm, UID, csr, &outcome);
    expect_name(&outcome, "ok", "the next attempt");
    expect_registered(cvm, outcome.certificate_id);
    assert_int_equal(fake_count(UID, FAKE_INACTIVE), orphans);
    outcome_clear(&outcome);
}

/* --- Success ---------------------------------------------------------------------------------- */

static void a_device_registers(void **state)
{
    struct outcome outcome;
    (void)state;
    for (int with_csr = 0; with_csr < 2; with_csr++) {
        char *csr = with_csr ? make_csr() : NULL;
        cvm_t *cvm = instance_start(FAULTY);
        (void)device_remove(cvm, UID, 1);
        assert_string_equal(device_add(cvm, UID), "ok");
        assert_string_equal(register_now(cvm, UID, csr, &outcome), "ok");
        assert_int_equal(outcome.private_key != NULL, !with_csr);
        assert_string_equal(outcome.thing_name, "thing_" UID);
        expect_registered(cvm, outcome.certificate_id);
        assert_int_equal(lines_with("audit", "\"registered\""), 1 + with_csr);
        outcome_clear(&outcome);
        instance_end(cvm);
        free(csr);
    }
}

static void keys_of_rsa_are_made_in_threads(void **state)
{
    struct outcome outcomes[3];
    (void)state;
    cvm_t *cvm = instance_start(FAULTY_RSA);
    for (int i = 0; i < 3; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "RSA%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
        register_start(cvm, uid, token_of(uid), NULL, 0, &outcomes[i]);
    }
    cvm_cancel(cvm, outcomes[2].id); /* before or while its key is made */
    for (int i = 0; i < 3; i++)
        outcome_wait(&outcomes[i]);
    for (int i = 0; i < 2; i++) {
        expect_name(&outcomes[i], "ok", "RSA");
        assert_non_null(strstr(outcomes[i].private_key, "BEGIN RSA PRIVATE KEY"));
    }
    expect_name(&outcomes[2], "unknown", "RSA, cancelled");
    for (int i = 0; i < 3; i++)
        outcome_clear(&outcomes[i]);
    instance_end(cvm);
    assert_int_equal(fake_violations(), 0);
}

/* --- A step fails ----------------------------------------------------------------------------- */

static const struct {
    enum fault fault;
    const char *platform, *store; /* names that the caller gets */
} ANSWERS[] = {
    {FAULT_UNAVAILABLE, "platform_unavailable", "store_unavailable"},
    {FAULT_BUSY, "overloaded", "overloaded"},
    {FAULT_BROKEN, "platform_error", "store_unavailable"},
    {FAULT_INVALID, "platform_error", NULL},
    {FAULT_NOT_FOUND, "platform_error", NULL},
    {FAULT_UNKNOWN_NOT, "unknown", "store_unavailable"},
    {FAULT_UNKNOWN_DONE, "unknown", NULL},
};

static void expect_failure(const struct step *step, size_t answer)
{
    const char *name = is_store(step) ? ANSWERS[answer].store : ANSWERS[answer].platform;
    struct outcome outcome;
    char what[64];
    cvm_t *cvm = start_with_device();
    char *csr = make_csr();
    (void)snprintf(what, sizeof what, "%s %u with fault %d", step->call, step->nth,
        (int)ANSWERS[answer].fault);
    faults_plan(step->call, step->nth, ANSWERS[answer].fault);
    (void)register_now(cvm, UID, csr, &outcome);
    if (strcmp(step->call, "get") == 0 && ANSWERS[answer].fault == FAULT_UNKNOWN_NOT)
        name = "unknown"; /* nothing was tried yet */
    expect_name(&outcome, name, what);
    assert_true(outcome.retryable);
    expect_undone(cvm, 0); /* what was made without a word is found by its key */
    faults_release();
    expect_next_succeeds(cvm, csr, 0);
    outcome_clear(&outcome);
    instance_end(cvm);
    free(csr);
}

static void a_step_that_fails_is_undone(void **state)
{
    for (size_t i = 0; i < STEP_COUNT; i++) {
        for (size_t answer = 0; answer < LENGTH(ANSWERS); answer++) {
            if (is_store(&STEPS[i]) && !ANSWERS[answer].store)
                continue;
            expect_failure(&STEPS[i], answer);
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

/* A swap that happened though its outcome was unknown: the record is read again, and the flow goes
 * on. */
static void an_unknown_swap_that_happened_is_found(void **state)
{
    struct outcome outcome;
    for (uint32_t nth = 1; nth <= 3; nth++) {
        cvm_t *cvm = start_with_device();
        faults_plan("swap", nth, FAULT_UNKNOWN_DONE);
        (void)register_now(cvm, UID, NULL, &outcome);
        expect_name(&outcome, "ok", "unknown, but it happened");
        expect_registered(cvm, outcome.certificate_id);
        outcome_clear(&outcome);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* Neither the write's outcome nor the record can be learnt: nothing is undone that the record may
 * lead to, and the next attempt tidies up. */
static void what_can_not_be_learnt_is_left_to_the_next(void **state)
{
    struct outcome outcome;
    for (uint32_t nth = 1; nth <= 3; nth++) {
        for (enum fault fault = FAULT_UNKNOWN_NOT; fault <= FAULT_UNKNOWN_DONE; fault++) {
            cvm_t *cvm = start_with_device();
            char *csr = make_csr();
            faults_plan("swap", nth, fault);
            faults_plan("get", 2, FAULT_UNAVAILABLE);
            (void)register_now(cvm, UID, csr, &outcome);
            expect_name(&outcome, "unknown", "nothing could be learnt");
            assert_true(outcome.retryable);
            outcome_clear(&outcome);
            assert_int_equal(fake_violations(), 0);
            time_passes(CVM_LEASE_MS + 1);
            faults_release();
            (void)register_now(cvm, UID, csr, &outcome);
            expect_name(&outcome, "ok", "the next");
            expect_registered(cvm, outcome.certificate_id);
            outcome_clear(&outcome);
            instance_end(cvm);
            free(csr);
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

/* A write whose outcome was unknown, and that the record did not show, may still happen. */
static void a_write_that_happens_late_does_no_harm(void **state)
{
    struct outcome outcome;
    struct view view;
    for (uint32_t nth = 1; nth <= 3; nth++) {
        cvm_t *cvm = start_with_device();
        char *csr = make_csr();
        faults_plan("swap", nth, FAULT_UNKNOWN_LATE);
        (void)register_now(cvm, UID, csr, &outcome);
        assert_true(outcome.retryable);
        outcome_clear(&outcome);
        faults_release();
        turn_for(50);
        device_view(cvm, UID, &view);
        if (view.is_registered)
            assert_int_equal(fake_find(view.certificate_id)->state, FAKE_ACTIVE);
        assert_int_equal(fake_violations(), 0);
        time_passes(CVM_LEASE_MS + 1);
        (void)register_now(cvm, UID, csr, &outcome);
        expect_name(&outcome, "ok", "after the late write");
        expect_registered(cvm, outcome.certificate_id);
        outcome_clear(&outcome);
        instance_end(cvm);
        free(csr);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* The late write arrives just when the flow begins to undo: held while the record is read again. */
static void a_late_write_between_reading_and_undoing_does_no_harm(void **state)
{
    struct outcome outcome;
    struct view view;
    (void)state;
    cvm_t *cvm = start_with_device();
    char *csr = make_csr();
    faults_plan("swap", 3, FAULT_UNKNOWN_LATE);
    faults_plan("get", 2, FAULT_HOLD_AFTER); /* the record as it was before the late write */
    register_start(cvm, UID, token_of(UID), csr, 0, &outcome);
    turn_until_held(2);
    faults_release(); /* the late write first, then the answer of the read */
    outcome_wait(&outcome);
    outcome_clear(&outcome);
    device_view(cvm, UID, &view);
    if (view.is_registered) {
        assert_false(fake_find(view.certificate_id)->is_deleted);
        assert_int_equal(fake_find(view.certificate_id)->state, FAKE_ACTIVE);
    }
    (void)register_now(cvm, UID, csr, &outcome);
    expect_name(&outcome, "ok", "after the late write");
    expect_registered(cvm, outcome.certificate_id);
    outcome_clear(&outcome);
    instance_end(cvm);
    free(csr);
}

/* --- Without effects outside the store: one write decides ------------------------------------- */

static const struct setting PLAIN[] = {{"store", "faulty"}, {"platform", "plain:"}, {NULL, NULL}};

static void expect_current(cvm_t *cvm, const char *certificate_id)
{
    struct view view;
    device_view(cvm, UID, &view);
    assert_true(view.is_registered);
    assert_false(view.has_lease);
    assert_string_equal(view.certificate_id, certificate_id);
    assert_int_equal(view.certificate_count, 1);
    assert_string_equal(view.certificates[0].state, "current");
}

/* What the caller hears when the write fails; then the same CSR gets the one certificate there is.
 */
static void a_plain_write_fails_or_not(void **state)
{
    static const struct {
        enum fault fault;
        const char *name;
    } CASES[] = {
        {FAULT_UNAVAILABLE, "store_unavailable"}, {FAULT_BUSY, "overloaded"},
        {FAULT_UNKNOWN_NOT, "store_unavailable"}, {FAULT_UNKNOWN_DONE, "ok"},
        {FAULT_UNKNOWN_LATE, "store_unavailable"}, {FAULT_CONFLICT, "ok"}, /* looked at anew */
    };
    struct outcome outcome;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        cvm_t *cvm = instance_start(PLAIN);
        char *csr = make_csr();
        assert_string_equal(device_add(cvm, UID), "ok");
        faults_plan("swap", 1, CASES[i].fault);
        (void)register_now(cvm, UID, csr, &outcome);
        expect_name(&outcome, CASES[i].name, "a plain write");
        assert_int_equal(outcome.retryable, strcmp(outcome.name, "ok") != 0);
        outcome_clear(&outcome);
        faults_release();
        turn_for(20);
        (void)register_now(cvm, UID, csr, &outcome);
        expect_name(&outcome, "ok", "asked again");
        expect_current(cvm, outcome.certificate_id);
        outcome_clear(&outcome);
        instance_end(cvm);
        free(csr);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* Cancelled while its one write is under way: who asks again gets what was recorded. */
static void a_plain_write_runs_on_detached(void **state)
{
    struct outcome outcome;
    for (enum fault hold = FAULT_HOLD_BEFORE; hold <= FAULT_HOLD_AFTER; hold++) {
        cvm_t *cvm = instance_start(PLAIN);
        char *csr = make_csr();
        assert_string_equal(device_add(cvm, UID), "ok");
        faults_plan("swap", 1, hold);
        register_start(cvm, UID, token_of(UID), csr, 0, &outcome);
        turn_until_held(1);
        cvm_cancel(cvm, outcome.id);
        outcome_wait(&outcome);
        expect_name(&outcome, "unknown", "cancelled");
        faults_release();
        turn_until_idle(cvm);
        assert_int_equal(outcome.calls, 1);
        outcome_clear(&outcome);
        (void)register_now(cvm, UID, csr, &outcome);
        expect_name(&outcome, "ok", "asked again");
        expect_current(cvm, outcome.certificate_id);
        outcome_clear(&outcome);
        instance_end(cvm);
        free(csr);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* --- The undo fails too ----------------------------------------------------------------------- */

/* Whatever is left then is in the record, and goes: by the reconciler, or by the next attempt. */
static void an_undo_that_fails_leaves_a_record(void **state)
{
    static const char *const UNDOES[] = {
        "deactivate", "detach_certificate", "detach_policy", "delete_certificate", "swap"};
    struct outcome outcome;
    for (int with_reconciler = 0; with_reconciler < 2; with_reconciler++) {
        for (size_t i = 0; i < LENGTH(UNDOES); i++) {
            cvm_t *cvm = start_with_device();
            char *csr = make_csr();
            faults_plan("activate", 1, FAULT_UNKNOWN_DONE);
            if (strcmp(UNDOES[i], "swap") == 0)
                for (uint32_t nth = 3; nth < 20; nth++) /* all but claim and record */
                    faults_plan("swap", nth, FAULT_UNAVAILABLE);
            else
                faults_plan(UNDOES[i], 0, FAULT_UNAVAILABLE);
            (void)register_now(cvm, UID, csr, &outcome);
            expect_name(&outcome, "unknown", UNDOES[i]);
            outcome_clear(&outcome);
            faults_release();
            assert_int_equal(fake_violations(), 0);
            if (with_reconciler)
                assert_string_equal(reconcile(cvm), "ok");
            time_passes(CVM_LEASE_MS + 1);
            expect_next_succeeds(cvm, csr, 0);
            instance_end(cvm);
            free(csr);
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

/* --- Others change the record meanwhile ------------------------------------------------------- */

/* An unrelated change in the middle: the flow gives way, tidies up, and may be asked again at once.
 */
static void a_change_by_others_is_noticed(void **state)
{
    struct outcome outcome;
    for (size_t i = 0; i < STEP_COUNT; i++) {
        cvm_t *cvm = start_with_device();
        char *csr = make_csr();
        faults_plan(STEPS[i].call, STEPS[i].nth, FAULT_HOLD_BEFORE);
        register_start(cvm, UID, token_of(UID), csr, 0, &outcome);
        turn_until_held(1);
        touch_device(UID);
        faults_release();
        outcome_wait(&outcome);
        if (strcmp(outcome.name, "ok") == 0) {
            expect_registered(cvm, outcome.certificate_id);
        } else {
            expect_name(&outcome, "in_progress", STEPS[i].call);
            assert_true(outcome.retry_after_s >= 1 && outcome.retry_after_s <= 5);
            expect_undone(cvm, 0);
            expect_next_succeeds(cvm, csr, 0);
        }
        outcome_clear(&outcome);
        instance_end(cvm);
        free(csr);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* The same while the flow undoes: its third swap keeps the lease, its fourth gives it back. */
static void a_change_or_doubt_while_undoing_is_got_over(void **state)
{
    static const enum fault FAULTS[] = {FAULT_HOLD_BEFORE, FAULT_CONFLICT, FAULT_UNKNOWN_NOT,
        FAULT_UNKNOWN_DONE, FAULT_UNKNOWN_LATE};
    struct outcome outcome;
    for (uint32_t nth = 3; nth <= 4; nth++) {
        for (size_t i = 0; i < LENGTH(FAULTS); i++) {
            cvm_t *cvm = start_with_device();
            char *csr = make_csr();
            faults_plan("activate", 1, FAULT_UNAVAILABLE);
            faults_plan("swap", nth, FAULTS[i]);
            register_start(cvm, UID, token_of(UID), csr, 0, &outcome);
            if (FAULTS[i] == FAULT_HOLD_BEFORE) {
                turn_until_held(1);
                touch_device(UID);
                faults_release();
            }
            outcome_wait(&outcome);
            expect_name(&outcome, "platform_unavailable", "undoing");
            faults_release();
            turn_for(20);
            expect_undone(cvm, 0);
            expect_next_succeeds(cvm, csr, 0);
            outcome_clear(&outcome);
            instance_end(cvm);
            free(csr);
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

/* The operator acts in the middle: his word counts. */
static void the_operators_word_counts_in_the_middle(void **state)
{
    static const char *const VERBS[] = {"disable", "revoke", "remove", "reset"};
    struct outcome outcome;
    struct view view;
    for (size_t verb = 0; verb < LENGTH(VERBS); verb++) {
        for (size_t i = 2; i < STEP_COUNT; i++) {
            cvm_t *cvm = start_with_device();
            faults_plan(STEPS[i].call, STEPS[i].nth, FAULT_HOLD_BEFORE);
            register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
            turn_until_held(1);
            switch (verb) {
            case 0:
                set_device_number(UID, CVM_D_IS_ENABLED, 0);
                break;
            case 1:
                set_device_number(UID, CVM_D_IS_ENABLED, 0);
                set_device_number(UID, CVM_D_IS_REVOKED, 1);
                break;
            case 2:
                set_certificates_state(UID, "pending", "retiring", "cessationOfOperation", 1);
                delete_device(UID);
                break;
            default:
                set_device_number(UID, CVM_D_IS_REGISTERED, 0);
            }
            faults_release();
            outcome_wait(&outcome);
            outcome_clear(&outcome);
            assert_string_equal(reconcile(cvm), "ok");
            device_view(cvm, UID, &view);
            if (verb == 0 || verb == 1)
                assert_false(view.is_enabled);
            if (verb == 2)
                assert_string_equal(view.name, "no_such_device");
            if (verb != 3) {
                assert_false(view.is_registered);
                assert_int_equal(fake_count(UID, FAKE_ACTIVE), 0);
            }
            assert_int_equal(fake_violations(), 0);
            instance_end(cvm);
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

/* --- Cancel, deadline, stop ------------------------------------------------------------------- */

enum interruption { CANCEL, DEADLINE, STOP, INTERRUPTIONS };

static void interrupt(cvm_t *cvm, enum interruption how, struct outcome *outcome, int *is_stopped)
{
    if (how == CANCEL) {
        cvm_cancel(cvm, outcome->id);
        cvm_cancel(cvm, outcome->id);
        cvm_cancel(cvm, 999999); /* nobody's */
        assert_int_equal(outcome->calls, 0);
    } else if (how == STOP) {
        instance_stop(cvm, is_stopped);
    }
}

/* The caller hears `unknown` at once; what has effects runs on until it is recorded or undone. */
static void expect_interrupted(const struct step *step, enum fault hold, enum interruption how)
{
    struct outcome outcome;
    int is_stopped = 0;
    cvm_t *cvm = start_with_device();
    char *csr = make_csr();
    faults_plan(step->call, step->nth, hold);
    register_start(cvm, UID, token_of(UID), csr, how == DEADLINE ? 100 : 0, &outcome);
    turn_until_held(1);
    interrupt(cvm, how, &outcome, &is_stopped);
    if (how != STOP) {
        outcome_wait(&outcome);
        expect_name(&outcome, "unknown", step->call);
        assert_true(outcome.retryable);
    } else {
        turn_for(5);
        assert_false(is_stopped); /* what was accepted completes first */
    }
    faults_release();
    outcome_wait(&outcome);
    if (how == STOP) {
        turn_until(&is_stopped, 1);
        instance_free(cvm);
        cvm = instance_start(FAULTY);
    } else {
        turn_until_idle(cvm);
    }
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(fake_violations(), 0);
    assert_false(device_has_lease(UID));
    expect_next_succeeds(cvm, csr, 0);
    outcome_clear(&outcome);
    instance_end(cvm);
    free(csr);
}

static void an_interrupted_flow_runs_on_detached(void **state)
{
    for (size_t i = 0; i < STEP_COUNT; i++) {
        for (enum fault hold = FAULT_HOLD_BEFORE; hold <= FAULT_HOLD_AFTER; hold++) {
            for (enum interruption how = CANCEL; how < INTERRUPTIONS; how++) {
                expect_interrupted(&STEPS[i], hold, how);
                (void)harness_tear_down(state);
                (void)harness_set_up(state);
            }
        }
    }
}

/* Without effects yet, a cancelled flow goes no further. */
static void a_cancelled_flow_without_effects_ends(void **state)
{
    struct outcome outcome;
    for (size_t i = 0; i < 2; i++) {
        cvm_t *cvm = start_with_device();
        faults_plan(STEPS[i].call, STEPS[i].nth, FAULT_HOLD_BEFORE);
        register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
        turn_until_held(1);
        cvm_cancel(cvm, outcome.id);
        outcome_wait(&outcome);
        faults_release();
        turn_until_idle(cvm);
        expect_undone(cvm, 0);
        assert_int_equal(faults_count("create_certificate"), 0);
        outcome_clear(&outcome);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* Cancelled, and then it fails: the undo runs detached too. */
static void a_cancelled_flow_that_fails_is_undone(void **state)
{
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start_with_device();
    faults_plan("attach_policy", 1, FAULT_HOLD_BEFORE);
    register_start(cvm, UID, token_of(UID), NULL, 0, &outcome);
    turn_until_held(1);
    cvm_cancel(cvm, outcome.id);
    outcome_wait(&outcome);
    expect_name(&outcome, "unknown", "cancelled");
    faults_release();
    faults_plan("activate", 1, FAULT_UNAVAILABLE);
    turn_until_idle(cvm);
    assert_int_equal(outcome.calls, 1);
    expect_undone(cvm, 0);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* --- How a platform completes ----------------------------------------------------------------- */

static void a_platform_may_complete_from_any_thread_and_wrongly_twice(void **state)
{
    static const enum fault HOW[] = {FAULT_THREAD, FAULT_TWICE};
    struct outcome outcome;
    for (size_t how = 0; how < LENGTH(HOW); how++) {
        cvm_t *cvm = start_with_device();
        for (size_t i = 0; i < STEP_COUNT; i++)
            if (!is_store(&STEPS[i]))
                faults_plan(STEPS[i].call, 0, HOW[how]);
        (void)register_now(cvm, UID, NULL, &outcome);
        expect_name(&outcome, "ok", "completed from elsewhere");
        expect_registered(cvm, outcome.certificate_id);
        outcome_clear(&outcome);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* --- Suspension --------------------------------------------------------------------------------
 */

static void expect_state(const char *certificate_id, enum fake_state wanted)
{
    assert_int_equal(fake_find(certificate_id)->state, wanted);
}

static void a_disabled_device_is_suspended_until_it_is_enabled(void **state)
{
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start_with_device();
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    for (int round = 0; round < 2; round++) {
        assert_string_equal(device_disable(cvm, UID), "ok");
        expect_state(outcome.certificate_id, FAKE_INACTIVE);
        assert_string_equal(device_enable(cvm, UID), "ok");
        expect_state(outcome.certificate_id, FAKE_ACTIVE);
    }
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* The suspension fails, or its record does, or the operator changes his mind meanwhile: in the end
 * the platform agrees with the record. */
static void suspensions_reach_the_platform_in_the_end(void **state)
{
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = start_with_device();
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    faults_plan("suspend", 1, FAULT_UNAVAILABLE);
    assert_string_equal(device_disable(cvm, UID), "not_carried_out");
    expect_state(outcome.certificate_id, FAKE_ACTIVE);
    assert_string_equal(reconcile(cvm), "ok");
    expect_state(outcome.certificate_id, FAKE_INACTIVE);

    assert_string_equal(device_enable(cvm, UID), "ok");
    faults_plan("swap", 2, FAULT_UNAVAILABLE); /* what was carried out could not be written down */
    assert_string_equal(device_disable(cvm, UID), "not_carried_out");
    expect_state(outcome.certificate_id, FAKE_INACTIVE);
    assert_string_equal(device_enable(cvm, UID), "ok");
    expect_state(outcome.certificate_id, FAKE_ACTIVE);
    assert_string_equal(device_disable(cvm, UID), "ok");
    expect_state(outcome.certificate_id, FAKE_INACTIVE);
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void an_operator_who_changes_his_mind_is_followed(void **state)
{
    struct outcome outcome;
    struct finish disabled = {.calls = 0}, enabled = {.calls = 0};
    (void)state;
    cvm_t *cvm = start_with_device();
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    faults_plan("suspend", 1, FAULT_HOLD_BEFORE);
    assert_null(cvm_device_disable(cvm, UID, finished, &disabled));
    turn_until_held(1);
    assert_null(cvm_device_enable(cvm, UID, finished, &enabled));
    turn_for(50);
    faults_release();
    turn_until(&disabled.calls, 1);
    turn_until(&enabled.calls, 1);
    assert_string_equal(reconcile(cvm), "ok");
    expect_state(outcome.certificate_id, FAKE_ACTIVE);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* A re-issue that waits (for an RSA key, say) while its device is removed, added and registered
 * anew: it is of a row that is no more. */
static void a_device_that_was_added_anew_is_not_overwritten(void **state)
{
    static const struct setting SETTINGS[] = {{"store", "faulty"}, {"platform", "plain:"},
        {"registration.reissue_after", "0"}, {NULL, NULL}};
    struct outcome outcome, late;
    struct view view;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    faults_plan("swap", 1, FAULT_HOLD_BEFORE);
    register_start(cvm, UID, token_of(UID), NULL, 0, &late);
    turn_until_held(1);
    assert_string_equal(device_remove(cvm, UID, 1), "ok");
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    faults_release();
    outcome_wait(&late);
    device_view(cvm, UID, &view);
    assert_int_equal(view_count(&view, "current"), 1);
    assert_string_equal(
        view.certificate_id, *late.name == 'o' ? late.certificate_id : outcome.certificate_id);
    assert_int_equal(count_certificates("current"), 1);
    outcome_clear(&outcome);
    outcome_clear(&late);
    instance_end(cvm);
}

/* A stop while a verb waits for the platform: it is recorded, and carried out later. */
static void a_stop_during_a_verb_completes_it(void **state)
{
    struct outcome outcome;
    struct finish done = {.calls = 0};
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = start_with_device();
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    faults_plan("swap", 1, FAULT_HOLD_AFTER);
    assert_null(cvm_device_revoke(cvm, UID, "keyCompromise", finished, &done));
    turn_until_held(1);
    instance_stop(cvm, &is_stopped);
    faults_release();
    turn_until(&is_stopped, 1);
    assert_int_equal(done.calls, 1);
    instance_free(cvm);
    expect_state(outcome.certificate_id, FAKE_ACTIVE);
    cvm = instance_start(FAULTY);
    assert_string_equal(reconcile(cvm), "ok");
    expect_state(outcome.certificate_id, FAKE_REVOKED);
    outcome_clear(&outcome);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_device_registers),
        TEST(keys_of_rsa_are_made_in_threads),
        TEST(a_step_that_fails_is_undone),
        TEST(an_unknown_swap_that_happened_is_found),
        TEST(what_can_not_be_learnt_is_left_to_the_next),
        TEST(a_write_that_happens_late_does_no_harm),
        TEST(a_late_write_between_reading_and_undoing_does_no_harm),
        TEST(a_plain_write_fails_or_not),
        TEST(a_plain_write_runs_on_detached),
        TEST(an_undo_that_fails_leaves_a_record),
        TEST(a_change_by_others_is_noticed),
        TEST(a_change_or_doubt_while_undoing_is_got_over),
        TEST(the_operators_word_counts_in_the_middle),
        TEST(an_interrupted_flow_runs_on_detached),
        TEST(a_cancelled_flow_without_effects_ends),
        TEST(a_cancelled_flow_that_fails_is_undone),
        TEST(a_platform_may_complete_from_any_thread_and_wrongly_twice),
        TEST(a_disabled_device_is_suspended_until_it_is_enabled),
        TEST(suspensions_reach_the_platform_in_the_end),
        TEST(an_operator_who_changes_his_mind_is_followed),
        TEST(a_device_that_was_added_anew_is_not_overwritten),
        TEST(a_stop_during_a_verb_completes_it),
    };
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
