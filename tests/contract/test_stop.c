/* Stopping while a backend does not complete what it was asked until it is closed: the stop ends
 * all the same, and everybody is called back once. */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/store_file.h"

static const struct setting SETTINGS[] = {
    {"store", "faulty"}, {"request.deadline", "100ms"}, {NULL, NULL}};

/* One instance, one call that hangs, and how that call comes about. */
static const struct hang {
    const char *call;
    uint32_t nth;
    enum { REGISTER, RECONCILE, DISABLE, CHECK, RELOAD, START } by;
} HANGS[] = {
    {"get", 1, REGISTER},
    {"swap", 1, REGISTER}, /* the claim */
    {"swap", 2, REGISTER}, /* the record */
    {"create_certificate", 1, REGISTER},
    {"activate", 1, REGISTER},
    {"swap", 3, REGISTER}, /* the update */
    {"get_certificates", 1, DISABLE},
    {"suspend", 1, DISABLE},
    {"scan", 1, RECONCILE},
    {"ready", 1, CHECK},
    {"reload", 1, RELOAD},
    {"open", 1, START},
    {"platform_open", 1, START},
};

struct stopping {
    cvm_t *cvm;
    struct outcome outcome;
    struct finish finish;
    int is_stopped;
};

/* A server where there is no store yet, else beside one. */
static void begin(struct stopping *stopping, const struct hang *hang, const char *uid)
{
    char why[200] = "";
    if (hang->by == START) {
        stopping->cvm = instance_new(harness_conf(SETTINGS), why, sizeof why);
        faults_plan(hang->call, hang->nth, FAULT_HANG);
        assert_null(cvm_start_command(stopping->cvm, finished, &stopping->finish));
        return;
    }
    stopping->cvm = instance_start(SETTINGS);
    assert_string_equal(device_add(stopping->cvm, uid), "ok");
    if (hang->by == DISABLE) {
        struct outcome outcome;
        assert_string_equal(register_now(stopping->cvm, uid, NULL, &outcome), "ok");
        outcome_clear(&outcome);
    }
}

static cvm_error_t *call(struct stopping *stopping, const struct hang *hang, const char *uid)
{
    cvm_t *cvm = stopping->cvm;
    faults_plan(hang->call, hang->nth, FAULT_HANG);
    switch (hang->by) {
    case RECONCILE:
        return cvm_reconcile(cvm, finished, &stopping->finish);
    case DISABLE:
        if (strcmp(hang->call, "get_certificates") == 0)
            return cvm_device_revoke(cvm, uid, NULL, finished, &stopping->finish);
        return cvm_device_disable(cvm, uid, finished, &stopping->finish);
    case CHECK:
        return cvm_check(cvm, finished, &stopping->finish);
    case RELOAD:
        return cvm_reload(cvm, finished, &stopping->finish);
    default:
        return NULL;
    }
}

static void make_it_hang(struct stopping *stopping, const struct hang *hang, uint32_t i)
{
    char uid[8];
    (void)snprintf(uid, sizeof uid, "D%u", i);
    begin(stopping, hang, uid);
    if (hang->by == REGISTER) {
        faults_plan(hang->call, hang->nth, FAULT_HANG);
        register_start(stopping->cvm, uid, token_of(uid), NULL, 0, &stopping->outcome);
    } else if (hang->by != START) {
        assert_null(call(stopping, hang, uid));
    }
    for (int turns = 0; turns < 3000 && faults_hung() <= i; turns++)
        turn();
    if (faults_hung() != i + 1)
        fail_msg("%s, %u: %u calls hang", hang->call, hang->nth, faults_hung());
}

/* A close that waits for what the platform asked of the store: a CRL is being made. */
static void make_a_publication_hang(struct stopping *stopping)
{
    const struct setting settings[] = {{"store", "faulty"}, {"platform", harness_make_ca()},
        {"request.deadline", "100ms"}, {NULL, NULL}};
    stopping->cvm = instance_start(settings);
    sql("INSERT INTO certificates (certificate_id, device_uid, state, serial, issuer, not_after,"
        " revoke_after) VALUES ('C', 'D', 'retiring', '1', '', 4000000000000, 1)");
    uint32_t before = faults_hung();
    faults_plan("scan", 2, FAULT_HANG); /* the first is the reconciler's */
    assert_null(cvm_reconcile(stopping->cvm, finished, &stopping->finish));
    for (int turns = 0; turns < 3000 && faults_hung() == before; turns++)
        turn();
    assert_int_equal(faults_hung(), before + 1);
}

/* A store's file that is opened after all when nobody wants it any more. */
static void make_an_open_late(struct stopping *stopping)
{
    char why[200] = "";
    stopping->cvm = instance_new(harness_conf(SETTINGS), why, sizeof why);
    faults_plan("open", 1, FAULT_HOLD_AFTER);
    assert_null(cvm_start_command(stopping->cvm, finished, &stopping->finish));
    turn_until_held(1);
}

/* Everybody was called back once, and was not told of success. */
static void expect_ended(struct stopping *stopping, const char *what)
{
    turn_until(&stopping->is_stopped, 1);
    int calls = stopping->outcome.calls + stopping->finish.calls;
    const char *name = stopping->outcome.calls ? stopping->outcome.name : stopping->finish.name;
    if (calls != 1 || strcmp(name, "ok") == 0)
        fail_msg("%s: %d calls, %s", what, calls, name);
    outcome_clear(&stopping->outcome);
}

/* All at once, since each takes as long as the patience lasts. */
static void a_backend_that_hangs_is_cut_short(void **state)
{
    enum { COUNT = LENGTH(HANGS), PUBLICATION = COUNT, LATE, ALL };
    static struct stopping all[ALL];
    (void)state;
    memset(all, 0, sizeof all);
    for (uint32_t i = 0; i < COUNT; i++)
        make_it_hang(&all[i], &HANGS[i], i);
    make_a_publication_hang(&all[PUBLICATION]);
    make_an_open_late(&all[LATE]);
    uint32_t opened = faults_count("platform_open");
    for (size_t i = 0; i < ALL; i++)
        instance_stop(all[i].cvm, &all[i].is_stopped);
    for (size_t i = 0; i < COUNT; i++)
        expect_ended(&all[i], HANGS[i].call);
    expect_ended(&all[PUBLICATION], "a publication");
    assert_int_equal(faults_hung(), 0);
    while (lines_with("log", "did not end in time") < ALL)
        turn();
    assert_int_equal(all[LATE].is_stopped, 0);
    faults_release();
    expect_ended(&all[LATE], "a late open");
    assert_int_equal(faults_count("platform_open"), opened);
    for (size_t i = 0; i < ALL; i++)
        instance_free(all[i].cvm);
    assert_int_equal(fake_violations(), 0);
}

/* A backend that does not close holds the stop up for as long as it takes: that is said each 10 s.
 */
static void a_stop_waits_for_a_backend_that_does_not_close(void **state)
{
    int is_stopped = 0;
    (void)state;
    cvm_t *cvm = instance_start(SETTINGS);
    faults_plan("platform_close", 1, FAULT_HOLD_AFTER);
    instance_stop(cvm, &is_stopped);
    turn_until_held(1);
    turn_for(5200);
    assert_int_equal(lines_with("log", "did not end in time: closing"), 1);
    turn_for(10000);
    assert_int_equal(lines_with("log", "waiting for the platform and the store still"), 1);
    assert_false(is_stopped);
    faults_release();
    turn_until(&is_stopped, 1);
    instance_free(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_stop_waits_for_a_backend_that_does_not_close),
        TEST(a_backend_that_hangs_is_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
