/*
 * Two servers on one store, and everything at random: which call fails and how, who is paused until
 * his lease is over, who is cancelled, what the operator does. In the end each device's record and
 * the platform agree, and nothing was ever active without a record.
 */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

#include "registration/again.h"

#define DEVICES    4
#define KEYS       3
#define AT_ONCE    4
#define ROUNDS     150
#define MOST_FAULT 3 /* planned for one round */

static const struct setting SETTINGS[] = {
    {"store", "faulty"}, {"registration.reissue_after", "0"}, {NULL, NULL}};

static const char *const CALLS[] = {"get", "swap", "get_certificates", "scan", "prepare",
    "create_certificate", "delete_certificate", "attach_policy", "detach_policy", "create_thing",
    "attach_certificate", "detach_certificate", "activate", "deactivate", "revoke", "suspend"};

static uint64_t random_state;

static uint32_t up_to(uint32_t most)
{
    return (uint32_t)(test_random(&random_state) % most);
}

static const char *uid_of(uint32_t i)
{
    static char uid[16];
    (void)snprintf(uid, sizeof uid, "D%u", i);
    return uid;
}

static void plan_faults(void)
{
    static const enum fault FAULTS[] = {FAULT_UNAVAILABLE, FAULT_BUSY, FAULT_BROKEN,
        FAULT_UNKNOWN_NOT, FAULT_UNKNOWN_DONE, FAULT_HOLD_BEFORE, FAULT_HOLD_AFTER};
    for (uint32_t left = up_to(MOST_FAULT + 1); left; left--) {
        const char *call = CALLS[up_to(LENGTH(CALLS))];
        enum fault fault = FAULTS[up_to(LENGTH(FAULTS))];
        faults_plan(call, 1 + up_to(4), fault);
    }
}

/* The operator's verbs wait in the background: their calls may be held as well. */
static void done(void *user_data, const cvm_error_t *error)
{
    (void)error;
    --*(int *)user_data;
}

static void act_as_operator(cvm_t *cvm, const char *uid, int *running)
{
    cvm_error_t *error = NULL;
    ++*running;
    switch (up_to(6)) {
    case 0:
        error = cvm_device_reset(cvm, uid, done, running);
        break;
    case 1:
        error = cvm_device_disable(cvm, uid, done, running);
        break;
    case 2:
        error = cvm_device_revoke(cvm, uid, NULL, done, running);
        break;
    default:
        error = cvm_device_enable(cvm, uid, done, running);
    }
    assert_null(error);
}

/* What is on its way when the plans end may still be held a little later. */
static void release_until(const int *is_true, int wanted)
{
    for (uint32_t turns = 0; *is_true != wanted; turns++) {
        assert_true(turns < 100000);
        faults_release();
        turn();
    }
    faults_release();
}

static void play_round(cvm_t *const *servers, char *const *csrs)
{
    struct outcome outcomes[AT_ONCE];
    int running = 0;
    uint32_t count = 1 + up_to(AT_ONCE);
    plan_faults();
    for (uint32_t i = 0; i < count; i++) {
        const char *uid = uid_of(up_to(DEVICES));
        uint32_t key = up_to(KEYS + 1);
        register_start(
            servers[up_to(2)], uid, token_of(uid), key < KEYS ? csrs[key] : NULL, 0, &outcomes[i]);
    }
    if (up_to(3) == 0)
        act_as_operator(servers[up_to(2)], uid_of(up_to(DEVICES)), &running);
    turn_for(up_to(4));
    if (up_to(3) == 0)
        cvm_cancel(servers[up_to(2)], outcomes[up_to(count)].id);
    if (up_to(2) == 0)
        time_passes(CVM_LEASE_MS + 1);
    turn_for(up_to(4));
    release_until(&running, 0);
    for (uint32_t i = 0; i < count; i++) {
        release_until(&outcomes[i].calls, 1);
        assert_false(outcomes[i].inside);
        outcome_clear(&outcomes[i]);
    }
    turn_for(up_to(3));
}

static void check_device(cvm_t *cvm, const char *uid, uint64_t seed)
{
    struct view view;
    uint32_t active = 0;
    device_view(cvm, uid, &view);
    for (uint32_t i = 0; fake_certificate(i); i++) {
        const struct fake_certificate *certificate = fake_certificate(i);
        if (strcmp(certificate->uid, uid) != 0 || certificate->is_deleted ||
            certificate->state != FAKE_ACTIVE)
            continue;
        active++;
        if (!is_recorded(certificate->id))
            fail_msg("%s is active without a record; seed %llu", certificate->id,
                (unsigned long long)seed);
    }
    assert_true(view_count(&view, "current") <= 1);
    if (!view.is_registered)
        return;
    const struct fake_certificate *current = fake_find(view.certificate_id);
    if (!current || current->is_deleted ||
        (view.is_enabled && !view.is_revoked && current->state != FAKE_ACTIVE) ||
        (!view.is_enabled && active))
        fail_msg(
            "%s: the record and the platform differ; seed %llu", uid, (unsigned long long)seed);
}

static void play(uint64_t seed)
{
    cvm_t *servers[2];
    char *csrs[KEYS];
    struct outcome outcome;
    random_state = seed;
    servers[0] = instance_start(SETTINGS);
    servers[1] = instance_start(SETTINGS);
    for (uint32_t i = 0; i < KEYS; i++) /* shared by all devices: a key may be another's */
        csrs[i] = make_csr();
    for (uint32_t i = 0; i < DEVICES; i++)
        assert_string_equal(device_add(servers[0], uid_of(i)), "ok");
    for (uint32_t round = 0; round < ROUNDS; round++) {
        play_round(servers, csrs);
        if (fake_violations())
            fail_msg(
                "active without a record in round %u; seed %llu", round, (unsigned long long)seed);
    }
    for (uint32_t i = 0; i < DEVICES; i++) { /* calm again: what is left over goes */
        time_passes(CVM_LEASE_MS + 1);
        (void)register_now(servers[1], uid_of(i), NULL, &outcome);
        outcome_clear(&outcome);
    }
    time_passes(CVM_LEASE_MS + 1);
    turn_for(20);
    assert_string_equal(reconcile(servers[0]), "ok");
    for (uint32_t i = 0; i < DEVICES; i++)
        check_device(servers[0], uid_of(i), seed);
    assert_int_equal(fake_violations(), 0);
    instance_end(servers[0]);
    instance_end(servers[1]);
    for (uint32_t i = 0; i < KEYS; i++)
        free(csrs[i]);
}

static void whatever_happens_the_record_and_the_platform_agree(void **state)
{
    for (uint32_t i = 0; i < 3 * test_scale(); i++) {
        play(test_seed() + i);
        (void)harness_tear_down(state);
        (void)harness_set_up(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            whatever_happens_the_record_and_the_platform_agree, harness_set_up, harness_tear_down),
    };
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
