/* The reconciler: what fails holds nothing else up, and who waits is told what became of his own.
 */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/faulty_store.h"
#include "support/harness.h"
#include "support/records.h"

#include "base/clock.h"

#define DUE 300 /* more than a page on every platform */

static cvm_t *start(const char *platform)
{
    const struct setting settings[] = {{"store", "faulty"}, {"platform", platform}, {NULL, NULL}};
    return instance_start(settings);
}

/* Due certificates C1 to so many, of devices that are gone, in the order in which they are due. */
static void insert_due(uint32_t first, uint32_t last)
{
    insert_certificates(&(struct certificates){.first = first,
        .count = last - first + 1,
        .has_short_ids = 1,
        .state = "retiring",
        .reason = "superseded"});
}

static uint32_t revoked(void)
{
    return count_certificates("revoked");
}

/* How many of S1 to S3 are. */
static int64_t suspended(void)
{
    return device_number("S1", CVM_D_IS_SUSPENDED) + device_number("S2", CVM_D_IS_SUSPENDED) +
           device_number("S3", CVM_D_IS_SUSPENDED);
}

/* --- Items that fail -------------------------------------------------------------------------- */

static void items_that_fail_hold_nothing_up(void **state)
{
    static const char *const PLATFORMS[] = {"fake:", "plain:"};
    enum { FAILING = 20 };
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        cvm_t *cvm = start(PLATFORMS[i]);
        insert_due(1, DUE);
        for (uint32_t nth = 1; nth <= FAILING; nth++)
            faults_plan("revoke", nth, FAULT_UNAVAILABLE);
        assert_string_equal(reconcile(cvm), "platform_unavailable");
        assert_int_equal(revoked(), DUE - FAILING);
        assert_int_equal(faults_count("revoke"), DUE);
        assert_string_equal(reconcile(cvm), "ok");
        assert_int_equal(revoked(), DUE);
        assert_int_equal(faults_count("revoke"), DUE + FAILING);
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

static void writes_that_fail_hold_nothing_up(void **state)
{
    enum { FAILING = 5 };
    (void)state;
    cvm_t *cvm = start("fake:");
    insert_due(1, DUE);
    for (uint32_t nth = 1; nth <= FAILING; nth++)
        faults_plan("swap", nth, FAULT_UNAVAILABLE);
    assert_string_equal(reconcile(cvm), "store_unavailable");
    assert_int_equal(revoked(), DUE - FAILING);
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(revoked(), DUE);
    instance_end(cvm);
}

/* A kind of what is due can't be read: the other kinds are carried out. */
static void a_scan_that_fails_holds_nothing_up(void **state)
{
    (void)state;
    cvm_t *cvm = start("fake:");
    for (uint32_t nth = 1; nth <= 3; nth++) { /* ended leases, due, suspensions */
        char uid[8];
        struct outcome outcome;
        (void)snprintf(uid, sizeof uid, "S%u", nth);
        assert_string_equal(device_add(cvm, uid), "ok");
        assert_string_equal(register_now(cvm, uid, NULL, &outcome), "ok");
        outcome_clear(&outcome);
        set_device_number(uid, CVM_D_IS_ENABLED, 0);
        insert_due(nth, nth);
        faults_plan("scan", nth, FAULT_UNAVAILABLE);
        assert_string_equal(reconcile(cvm), "store_unavailable");
        assert_int_equal(revoked(), nth == 2 ? 1 : nth);
        assert_int_equal(suspended(), nth == 3 ? 2 : nth);
        faults_release();
    }
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(revoked(), 3);
    assert_int_equal(suspended(), 3);
    instance_end(cvm);
}

/* --- Who is told ------------------------------------------------------------------------------ */

static const char *const UIDS[] = {"A", "B"};

static void register_both(cvm_t *cvm)
{
    struct outcome outcome;
    for (size_t i = 0; i < LENGTH(UIDS); i++) {
        assert_string_equal(device_add(cvm, UIDS[i]), "ok");
        assert_string_equal(register_now(cvm, UIDS[i], NULL, &outcome), "ok");
        outcome_clear(&outcome);
    }
}

/* The record says it, but what of it is due can't be read: the verb must not say that it is done.
 */
static void a_verb_is_told_that_its_device_could_not_be_read(void **state)
{
    static const struct {
        const char *call;
        uint32_t nth;
    } READS[] = {{"get", 2}, {"get_certificates", 1}};
    (void)state;
    cvm_t *cvm = start("fake:");
    register_both(cvm);
    for (size_t i = 0; i < LENGTH(READS); i++) {
        faults_plan(READS[i].call, READS[i].nth, FAULT_UNAVAILABLE);
        assert_string_equal(device_disable(cvm, UIDS[i]), "not_carried_out");
        assert_string_equal(device_disable(cvm, UIDS[i]), "ok");
        assert_int_equal(fake_count("", FAKE_ACTIVE), LENGTH(UIDS) - i - 1);
    }
    instance_end(cvm);
}

/* Of two devices that are due, one fails: it is its own verb that hears of it. */
static void a_verb_is_told_what_became_of_its_own_device(void **state)
{
    (void)state;
    cvm_t *cvm = start("fake:");
    register_both(cvm);
    for (size_t i = 0; i < LENGTH(UIDS); i++) {
        set_device_number(UIDS[1 - i], CVM_D_IS_ENABLED, 0);
        faults_plan("suspend", 1, FAULT_UNAVAILABLE);
        assert_string_equal(device_disable(cvm, UIDS[i]), "not_carried_out");
        assert_string_equal(device_disable(cvm, UIDS[i]), "ok");
        assert_int_equal(fake_count("", FAKE_ACTIVE), 1); /* the other is a pass's */
        assert_string_equal(reconcile(cvm), "ok");
        assert_int_equal(fake_count("", FAKE_ACTIVE), 0);
        assert_string_equal(device_enable(cvm, "A"), "ok");
        assert_string_equal(device_enable(cvm, "B"), "ok");
        faults_release();
    }
    assert_int_equal(fake_count("", FAKE_ACTIVE), 2);
    instance_end(cvm);
}

/* What was recorded by deferred verbs is carried out device by device, and nothing else is done. */
static void a_device_is_reconciled_alone(void **state)
{
    struct finish finish = {.calls = 0};
    (void)state;
    cvm_t *cvm = start("fake:");
    register_both(cvm);
    cvm_set_deferred(cvm, 1);
    assert_string_equal(device_revoke(cvm, "A", NULL), "ok");
    assert_string_equal(device_remove(cvm, "B", 1), "ok");
    assert_int_equal(fake_count("", FAKE_ACTIVE), 2);
    cvm_set_deferred(cvm, 0);
    faults_plan("revoke", 1, FAULT_UNAVAILABLE);
    assert_null(cvm_device_reconcile(cvm, "A", finished, &finish));
    turn_until(&finish.calls, 1);
    assert_string_equal(finish.name, "not_carried_out");
    assert_null(cvm_device_reconcile(cvm, "A", finished, &finish));
    turn_until(&finish.calls, 2);
    assert_string_equal(finish.name, "ok");
    assert_int_equal(fake_count("", FAKE_ACTIVE), 1);
    assert_null(cvm_device_reconcile(cvm, "B", finished, &finish)); /* it is gone */
    turn_until(&finish.calls, 3);
    assert_string_equal(finish.name, "ok");
    assert_int_equal(fake_count("", FAKE_ACTIVE), 0);
    cvm_error_t *error = cvm_device_reconcile(cvm, "no uid", finished, &finish);
    assert_string_equal(cvm_error_name(error), "invalid_request");
    cvm_error_free(error);
    instance_end(cvm);
}

/* A store whose scans lag, or are dear, or fail: no verb of one device goes by one. */
static void a_verb_does_not_scan(void **state)
{
    static const char *const PLATFORMS[] = {"fake:", "plain:"};
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        cvm_t *cvm = start(PLATFORMS[i]);
        register_both(cvm);
        insert_due(1, DUE); /* others', which nobody waits for */
        uint32_t before = faults_count("scan");
        faults_plan("scan", 0, FAULT_UNAVAILABLE);
        assert_string_equal(device_disable(cvm, "A"), "ok");
        assert_string_equal(device_enable(cvm, "A"), "ok");
        assert_string_equal(device_revoke(cvm, "A", NULL), "ok");
        assert_string_equal(device_remove(cvm, "B", 1), "ok");
        assert_int_equal(faults_count("scan"), before);
        assert_int_equal(revoked(), 2); /* A's and B's */
        instance_end(cvm);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* What is due of many is written down by who has done it, once. */
static void of_two_who_carry_out_the_same_one_reports(void **state)
{
    struct finish verb = {.calls = 0}, pass = {.calls = 0};
    (void)state;
    cvm_t *cvm = start("fake:");
    register_both(cvm);
    faults_plan("revoke", 1, FAULT_HOLD_AFTER);
    assert_null(cvm_device_revoke(cvm, "A", NULL, finished, &verb));
    turn_until_held(1);
    assert_null(cvm_reconcile(cvm, finished, &pass));
    turn_until(&pass.calls, 1);
    faults_release();
    turn_until(&verb.calls, 1);
    assert_string_equal(verb.name, "ok");
    assert_string_equal(pass.name, "ok");
    assert_int_equal(revoked(), 1);
    assert_int_equal(lines_with("audit", "\"certificate_revoked\""), 1);
    instance_end(cvm);
}

/* Many devices: recorded one by one, and carried out together. */
static void what_is_deferred_is_carried_out_together(void **state)
{
    (void)state;
    cvm_t *cvm = start("fake:");
    register_both(cvm);
    cvm_set_deferred(cvm, 1);
    assert_string_equal(device_revoke(cvm, "A", NULL), "ok");
    assert_string_equal(device_disable(cvm, "B"), "ok");
    assert_int_equal(faults_count("revoke") + faults_count("suspend"), 0);
    assert_string_equal(reconcile(cvm), "ok");
    assert_int_equal(revoked(), 1);
    assert_int_equal(fake_count("", FAKE_ACTIVE), 0);
    cvm_set_deferred(cvm, 0);
    assert_string_equal(device_enable(cvm, "B"), "ok");
    assert_int_equal(fake_count("", FAKE_ACTIVE), 1);
    instance_end(cvm);
}

/* --- Passes ----------------------------------------------------------------------------------- */

/* Two who ask in one turn of the loop have one pass. */
static void who_asks_twice_is_told_twice(void **state)
{
    struct finish first = {.calls = 0}, second = {.calls = 0};
    (void)state;
    cvm_t *cvm = start("fake:");
    insert_due(1, 1);
    assert_string_equal(reconcile(cvm), "ok");
    uint32_t scans_of_one = faults_count("scan");
    insert_due(2, 2);
    assert_null(cvm_reconcile(cvm, finished, &first));
    assert_null(cvm_reconcile(cvm, finished, &second));
    turn_until(&first.calls, 1);
    turn_until(&second.calls, 1);
    assert_string_equal(first.name, "ok");
    assert_string_equal(second.name, "ok");
    assert_true(faults_count("scan") <= 2 * scans_of_one);
    assert_int_equal(revoked(), 2);
    instance_end(cvm);
}

/* What becomes due while a pass runs may be behind it: who asks then waits for the next one. */
static void who_asks_during_a_pass_waits_for_the_next(void **state)
{
    struct finish first = {.calls = 0}, second = {.calls = 0}, third = {.calls = 0};
    (void)state;
    cvm_t *cvm = start("fake:");
    insert_due(1, 1);
    faults_plan("revoke", 1, FAULT_HOLD_AFTER);
    assert_null(cvm_reconcile(cvm, finished, &first));
    turn_until_held(1);
    insert_due(2, 2);
    assert_null(cvm_reconcile(cvm, finished, &second));
    turn_for(20);
    assert_null(cvm_reconcile(cvm, finished, &third));
    turn_for(20);
    assert_int_equal(first.calls + second.calls + third.calls, 0);
    uint32_t scans = faults_count("scan");
    faults_release();
    turn_until(&first.calls, 1);
    turn_until(&second.calls, 1);
    turn_until(&third.calls, 1);
    assert_true(faults_count("scan") > scans + 2); /* the rest of this pass, and another */
    assert_int_equal(revoked(), 2);
    assert_string_equal(first.name, "ok");
    assert_string_equal(second.name, "ok");
    assert_string_equal(third.name, "ok");
    instance_end(cvm);
}

/* What a registration makes due does not wait for a pass that is held up. */
static void what_a_registration_makes_due_waits_for_nobody(void **state)
{
    static const struct setting SETTINGS[] = {
        {"store", "faulty"}, {"registration.reissue_after", "0"}, {NULL, NULL}};
    struct finish first = {.calls = 0};
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(cvm, "A"), "ok");
    assert_string_equal(register_now(cvm, "A", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    set_device_number("A", CVM_D_IS_ENABLED, 0); /* a suspension is looked for last */
    faults_plan("suspend", 1, FAULT_HOLD_BEFORE);
    assert_null(cvm_reconcile(cvm, finished, &first));
    turn_until_held(1);
    set_device_number("A", CVM_D_IS_ENABLED, 1);
    assert_string_equal(register_now(cvm, "A", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    for (int i = 0; i < 1000 && !revoked(); i++)
        turn();
    assert_int_equal(revoked(), 1);
    assert_int_equal(first.calls, 0);
    faults_release();
    turn_until(&first.calls, 1);
    instance_end(cvm);
}

/* One that keeps failing is tried less and less often, and slows nobody else down. */
static void items_back_off_each_for_itself(void **state)
{
    static const struct setting SERVER[] = {
        {"store", "faulty"}, {"reconcile.interval", "20ms"}, {NULL, NULL}};
    (void)state;
    cvm_t *server = instance_start(SERVER);
    faults_plan("revoke", 0, FAULT_UNAVAILABLE);
    insert_due(1, 1);
    turn_for(700); /* 35 intervals; doubled each time: 6 tries */
    uint32_t tries = faults_count("revoke"), scans = faults_count("scan");
    assert_in_range(tries, 2, 8);
    faults_release();
    insert_due(2, 2);
    for (int i = 0; i < 1000 && strcmp(certificate_text("D2", "C2", CVM_C_STATE), "revoked") != 0;
         i++)
        turn();
    assert_string_equal(certificate_text("D2", "C2", CVM_C_STATE), "revoked");
    assert_true(scans > 4 * tries); /* passes went on as ever */
    instance_end(server);
}

/* How long until the next pass, when nothing else is to come. */
static void expect_next_pass(cvm_t *cvm, int32_t wait_ms)
{
    assert_in_range(cvm_timeout_ms(cvm), wait_ms / 2 + 1, wait_ms);
}

/* A pass that can't look waits for an interval at first, then for twice as long, and so on. */
static void passes_that_can_not_look_wait_longer_each_time(void **state)
{
    static const struct setting SERVER[] = {
        {"store", "faulty"}, {"reconcile.interval", "8s"}, {NULL, NULL}};
    static const int32_t WAITS_MS[] = {8000, 16000, 32000, 60000, 60000};
    (void)state;
    if (harness_has_server())
        skip(); /* other timers run as well */
    cvm_t *server = instance_start(SERVER);
    assert_string_equal(reconcile(server), "ok"); /* the start's own pass may come after it */
    assert_string_equal(reconcile(server), "ok");
    expect_next_pass(server, 8000);
    faults_plan("scan", 0, FAULT_UNAVAILABLE);
    for (size_t i = 0; i < LENGTH(WAITS_MS); i++) {
        assert_string_equal(reconcile(server), "store_unavailable");
        expect_next_pass(server, WAITS_MS[i]);
    }
    faults_release();
    assert_string_equal(reconcile(server), "ok");
    expect_next_pass(server, 8000);
    instance_end(server);
}

/* Passes that fail come less and less often. A slow machine only makes them fewer. */
static void passes_that_fail_back_off(void **state)
{
    static const struct setting SERVER[] = {
        {"store", "faulty"}, {"reconcile.interval", "20ms"}, {NULL, NULL}};
    (void)state;
    cvm_t *server = instance_start(SERVER);
    faults_plan("revoke", 0, FAULT_UNAVAILABLE);
    insert_due(1, 1);
    for (int i = 0; i < 1000 && faults_count("revoke") < 2; i++)
        turn();
    assert_true(faults_count("revoke") >= 2);
    turn_for(1500); /* 75 intervals; doubled each time: 7 passes */
    assert_true(faults_count("revoke") < 12);
    assert_int_equal(lines_with("log", "could not be carried out"), 1);
    faults_release();
    assert_string_equal(reconcile(server), "ok"); /* who asks does not wait that long */
    assert_int_equal(revoked(), 1);
    uint32_t scans = faults_count("scan");
    for (int i = 0; i < 1000 && faults_count("scan") < scans + 12; i++)
        turn(); /* and after a success they come as before */
    assert_true(faults_count("scan") >= scans + 12);
    instance_end(server);
}

/* A command leaves what is due to the server. */
static void a_command_does_not_look_by_itself(void **state)
{
    static const struct setting COMMAND[] = {
        {"store", "faulty"}, {"role", "command"}, {"reconcile.interval", "1ms"}, {NULL, NULL}};
    (void)state;
    cvm_t *server = start("fake:");
    cvm_t *command = instance_start(COMMAND);
    uint32_t before = faults_count("scan");
    turn_for(50);
    assert_int_equal(faults_count("scan"), before);
    insert_due(1, 1);
    assert_string_equal(reconcile(command), "ok");
    assert_int_equal(revoked(), 1);
    instance_end(command);
    instance_end(server);
}

static void a_stop_between_passes_that_fail_ends_at_once(void **state)
{
    static const struct setting SERVER[] = {
        {"store", "faulty"}, {"reconcile.interval", "1h"}, {NULL, NULL}};
    struct finish first = {.calls = 0}, second = {.calls = 0};
    (void)state;
    cvm_t *server = instance_start(SERVER);
    turn_for(20);
    insert_due(1, 40);
    faults_plan("revoke", 3, FAULT_HOLD_BEFORE);
    assert_null(cvm_reconcile(server, finished, &first));
    turn_until_held(1);
    assert_null(cvm_reconcile(server, finished, &second));
    int is_stopped = 0;
    instance_stop(server, &is_stopped);
    faults_release();
    turn_until(&is_stopped, 1);
    assert_int_equal(first.calls, 1);
    assert_string_equal(first.name, "unknown"); /* not all that was due is done */
    assert_int_equal(second.calls, 1);
    assert_string_equal(second.name, "unknown");
    assert_in_range(revoked(), 1, 39); /* the page that was begun, no other */
    instance_free(server);
}

struct meddler {
    cvm_t *cvm;
    int calls;
};

/* Does what a program may do when it is told that something failed. */
static void meddle(void *user_data, const cvm_error_t *error)
{
    struct meddler *meddler = user_data;
    meddler->calls++;
    assert_non_null(error);
    cvm_error_t *stop = cvm_stop(meddler->cvm, NULL, NULL);
    cvm_error_t *more = cvm_reconcile(meddler->cvm, meddle, meddler);
    assert_string_equal(cvm_error_name(stop), "conflict");
    assert_string_equal(cvm_error_name(more), "overloaded");
    cvm_error_free(stop);
    cvm_error_free(more);
}

static void who_waits_at_the_stop_may_call_again(void **state)
{
    struct finish first = {.calls = 0};
    (void)state;
    cvm_t *cvm = start("fake:");
    struct meddler meddler = {cvm, 0};
    insert_due(1, 2);
    faults_plan("revoke", 1, FAULT_HOLD_BEFORE);
    assert_null(cvm_reconcile(cvm, finished, &first));
    turn_until_held(1);
    assert_null(cvm_reconcile(cvm, meddle, &meddler));
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    assert_int_equal(meddler.calls, 0); /* never inside the call */
    faults_release();
    turn_until(&is_stopped, 1);
    assert_int_equal(meddler.calls, 1);
    instance_free(cvm);
}

/* --- Several servers on one store ---------------------------------------------------------------
 */

/* Its audit is a file of its own. */
static cvm_t *start_reconciler(const char *name)
{
    char audit[128];
    (void)snprintf(audit, sizeof audit, "%s/%s", harness_folder(), name);
    const struct setting settings[] = {{"store", "clocked"}, {"platform", "fake:"},
        {"role", "server"}, {"reconcile.interval", "20ms"}, {"audit.file", audit}, {NULL, NULL}};
    return instance_start(settings);
}

static void wait_for_calls(const char *call, uint32_t more)
{
    uint32_t wanted = faults_count(call) + more;
    for (int i = 0; i < 1000 && faults_count(call) < wanted; i++)
        turn_for(20);
    assert_true(faults_count(call) >= wanted);
    turn_for(50); /* it is answered */
}

/* One that has the duty. */
static cvm_t *start_first(void)
{
    cvm_t *first = start_reconciler("first");
    for (int i = 0; i < 1000 && !*value_text("reconciler"); i++)
        turn_for(20);
    assert_string_not_equal(value_text("reconciler"), "");
    turn_for(50); /* it has heard of it */
    return first;
}

/* ... and reported, by whichever. */
static void expect_carried_out(uint32_t count)
{
    static const char TEXT[] = "certificate_revoked";
    for (int i = 0; i < 1000 && lines_with("first", TEXT) + lines_with("second", TEXT) < count; i++)
        turn_for(20);
    assert_int_equal(lines_with("first", TEXT) + lines_with("second", TEXT), count);
    assert_int_equal(revoked(), count);
}

/* The lease that somebody has is over. */
static void lease_ends(void)
{
    cvm_clock_turn(0, 21000);
}

/* A server that is gone has it for a while. */
static void lend_to_somebody(void)
{
    char value[64];
    instance_end(start_first());
    (void)snprintf(value, sizeof value, "somebody %lld", (long long)cvm_now_ms() + 20000);
    set_value("reconciler", value);
}

/* Its quota is one for all of them. The next one waits until the lease of the first has ended, and
 * carries out sooner only what it is asked for. */
static void on_a_platform_outside_one_server_reconciles(void **state)
{
    (void)state;
    if (!harness_has_server())
        skip(); /* there is one server on a file */
    cvm_t *first = start_first(), *second = start_reconciler("second");
    for (uint32_t i = 1; i <= 5; i++) {
        insert_due(i, i);
        expect_carried_out(i);
    }
    assert_int_equal(lines_with("second", "certificate_revoked"), 0);
    instance_end(first);
    insert_due(6, 6);
    turn_for(200);
    assert_int_equal(revoked(), 5);
    assert_string_equal(reconcile(second), "ok");
    assert_int_equal(revoked(), 6);
    insert_due(7, 7);
    turn_for(200);
    assert_int_equal(revoked(), 6);
    lease_ends();
    expect_carried_out(7);
    instance_end(second);
}

/* Who stops has given it back: a server that is restarted goes on at once. */
static void who_stops_gives_it_back(void **state)
{
    (void)state;
    if (!harness_has_server())
        skip();
    instance_end(start_first());
    assert_string_equal(value_text("reconciler"), "");
    cvm_t *second = start_reconciler("second");
    insert_due(1, 1);
    expect_carried_out(1);
    instance_end(second);
}

/* ... also who is about to take it. */
static void who_stops_while_it_asks_does_not_keep_it(void **state)
{
    static const char *const CALLS[] = {"meta_get", "meta_put"};
    if (!harness_has_server())
        skip();
    for (size_t i = 0; i < LENGTH(CALLS); i++) {
        for (enum fault hold = FAULT_HOLD_BEFORE; hold <= FAULT_HOLD_AFTER; hold++) {
            int is_stopped = 0;
            lend_to_somebody();
            cvm_t *second = start_reconciler("second");
            turn_for(50);
            faults_plan(CALLS[i], 1, hold);
            lease_ends();
            turn_until_held(1);
            instance_stop(second, &is_stopped);
            turn_for(20);
            assert_false(is_stopped);
            faults_release();
            turn_until(&is_stopped, 1);
            instance_free(second);
            if (i == 0) /* it has not begun to take it */
                assert_memory_equal(value_text("reconciler"), "somebody", 8);
            else
                assert_string_equal(value_text("reconciler"), "");
            (void)harness_tear_down(state);
            (void)harness_set_up(state);
        }
    }
}

/* A pass that takes longer than its lease goes on, as long as nobody else has taken over. */
static void a_long_pass_prolongs_its_lease(void **state)
{
    (void)state;
    if (!harness_has_server())
        skip();
    cvm_t *first = start_first();
    insert_due(1, 40); /* more than are in flight at once */
    faults_plan("revoke", 1, FAULT_HOLD_BEFORE);
    turn_until_held(1);
    lease_ends();
    faults_release();
    expect_carried_out(40);
    assert_string_not_equal(value_text("reconciler"), "");
    instance_end(first);
}

/* A store that can't say who has it: nothing is done, it is told once, and asked again ... */
static void who_can_not_ask_does_not_begin(void **state)
{
    static const char *const CALLS[] = {"meta_get", "meta_put"};
    if (!harness_has_server())
        skip();
    for (size_t i = 0; i < LENGTH(CALLS); i++) {
        lend_to_somebody();
        cvm_t *second = start_reconciler("second");
        insert_due(1, 1);
        turn_for(100);
        faults_plan(CALLS[i], 0, FAULT_UNAVAILABLE);
        lease_ends();
        wait_for_calls(CALLS[i], 3);
        assert_int_equal(revoked(), 0);
        assert_int_equal(lines_with("log", "what is due could not be carried out"), 1);
        faults_release();
        expect_carried_out(1);
        instance_end(second);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* ... as soon as ever, once the store has said that it is another's. */
static void who_could_not_ask_for_a_while_asks_as_before(void **state)
{
    char value[64];
    (void)state;
    if (!harness_has_server())
        skip();
    lend_to_somebody();
    cvm_t *second = start_reconciler("second");
    turn_for(50);
    faults_plan("meta_get", 0, FAULT_UNAVAILABLE);
    lease_ends();
    wait_for_calls("meta_get", 5);
    (void)snprintf(value, sizeof value, "somebody %lld", (long long)cvm_now_ms() + 60000);
    set_value("reconciler", value);
    faults_release();
    wait_for_calls("meta_get", 1);
    faults_plan("meta_get", 0, FAULT_UNAVAILABLE);
    cvm_clock_turn(0, 100000); /* the next outage, when that lease is over */
    wait_for_calls("meta_get", 3);
    assert_int_equal(lines_with("log", "what is due could not be carried out"), 2);
    faults_release();
    instance_end(second);
}

/* The store's clock is set back: the lease of before lasts no longer for that. */
static void a_clock_that_is_set_back_holds_nobody_up(void **state)
{
    (void)state;
    if (!harness_has_server())
        skip();
    faulty_set_clock(7200000);
    cvm_t *first = start_first(), *second = start_reconciler("second");
    turn_for(50);
    faulty_set_clock(0);
    faulty_reconnect();
    turn_for(50);
    instance_end(first);
    insert_due(1, 1);
    lease_ends();
    expect_carried_out(1);
    instance_end(second);
}

/* What is no lease, or one that nobody can have, is nobody's. */
static void a_lease_that_can_not_be_is_none(void **state)
{
    static const char *const VALUES[] = {
        "", "rubbish", "x 99999999999999", "x -1", "x 1", " ", "x 9223372036854775807", "x"};
    if (!harness_has_server())
        skip();
    for (size_t i = 0; i < LENGTH(VALUES); i++) {
        cvm_t *first = start_first();
        instance_end(first);
        set_value("reconciler", VALUES[i]);
        insert_due(1, 1);
        cvm_t *second = start_reconciler("second");
        expect_carried_out(1);
        instance_end(second);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

/* Two ask at once, and both find that it is nobody's. */
static void of_two_who_take_it_at_once_one_has_it(void **state)
{
    (void)state;
    if (!harness_has_server())
        skip();
    cvm_t *first = start_first();
    instance_end(first);
    set_value("reconciler", "nobody 1");
    faults_plan("meta_put", 1, FAULT_HOLD_BEFORE);
    faults_plan("meta_put", 2, FAULT_HOLD_BEFORE);
    first = start_reconciler("first");
    cvm_t *second = start_reconciler("second");
    turn_until_held(2);
    faults_release();
    for (uint32_t i = 1; i <= 5; i++) {
        insert_due(i, i);
        expect_carried_out(i);
    }
    uint32_t by_first = lines_with("first", "certificate_revoked"),
             by_second = lines_with("second", "certificate_revoked");
    assert_true((by_first == 5 && by_second == 0) || (by_first == 0 && by_second == 5));
    instance_end(first);
    instance_end(second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(items_that_fail_hold_nothing_up),
        TEST(writes_that_fail_hold_nothing_up),
        TEST(a_scan_that_fails_holds_nothing_up),
        TEST(a_verb_is_told_that_its_device_could_not_be_read),
        TEST(a_verb_is_told_what_became_of_its_own_device),
        TEST(a_device_is_reconciled_alone),
        TEST(a_verb_does_not_scan),
        TEST(of_two_who_carry_out_the_same_one_reports),
        TEST(what_is_deferred_is_carried_out_together),
        TEST(items_back_off_each_for_itself),
        TEST(who_asks_twice_is_told_twice),
        TEST(who_asks_during_a_pass_waits_for_the_next),
        TEST(what_a_registration_makes_due_waits_for_nobody),
        TEST(passes_that_can_not_look_wait_longer_each_time),
        TEST(passes_that_fail_back_off),
        TEST(a_command_does_not_look_by_itself),
        TEST(a_stop_between_passes_that_fail_ends_at_once),
        TEST(who_waits_at_the_stop_may_call_again),
        TEST(on_a_platform_outside_one_server_reconciles),
        TEST(who_stops_gives_it_back),
        TEST(who_stops_while_it_asks_does_not_keep_it),
        TEST(a_long_pass_prolongs_its_lease),
        TEST(who_can_not_ask_does_not_begin),
        TEST(a_clock_that_is_set_back_holds_nobody_up),
        TEST(who_could_not_ask_for_a_while_asks_as_before),
        TEST(a_lease_that_can_not_be_is_none),
        TEST(of_two_who_take_it_at_once_one_has_it),
    };
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
