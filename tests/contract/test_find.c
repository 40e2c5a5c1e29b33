/* Whose is it? Devices found by a certificate, a thing or a key; what the store answers is a hint.
 */
#include "support/faults.h"
#include "support/harness.h"
#include "support/records.h"

#include <ctype.h>

#define UID "DEVICE001"

static char found[160]; /* the uid, or the error's name and text */

static void on_found(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    if (error)
        (void)snprintf(found, sizeof found, "%s: %s", cvm_error_name(error), cvm_error_text(error));
    else
        (void)snprintf(found, sizeof found, "%s", cvm_device_uid(device));
    *(int *)user_data = 1;
}

static const char *find(cvm_t *cvm, int32_t by, const char *value)
{
    int is_done = 0;
    cvm_error_t *error = cvm_device_find(cvm, by, value, on_found, &is_done);
    if (error) {
        (void)snprintf(found, sizeof found, "%s: %s", cvm_error_name(error), cvm_error_text(error));
        cvm_error_free(error);
        return found;
    }
    turn_until(&is_done, 1);
    return found;
}

static void expect(const char *said, const char *part)
{
    if (!strstr(said, part))
        fail_msg("'%s' without '%s'", said, part);
}

static cvm_t *start(void)
{
    static const struct setting SETTINGS[] = {{"store", "faulty"}, {NULL, NULL}};
    return instance_start(SETTINGS);
}

static void a_device_is_found_by_all_that_it_has(void **state)
{
    struct outcome outcome = {0};
    struct finish settled = {0};
    struct view view;
    char key[65] = "", first[65], colons[96] = "";
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(device_add(cvm, "OTHER"), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    (void)snprintf(first, sizeof first, "%s", outcome.certificate_id);
    outcome_clear(&outcome);
    assert_string_equal(device_reset(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    assert_null(cvm_settle(cvm, finished, &settled)); /* what was superseded is revoked by then */
    turn_until(&settled.calls, 1);
    device_view(cvm, UID, &view);
    assert_int_equal(view_count(&view, "revoked"), 1);
    assert_string_equal(find(cvm, CVM_BY_CERTIFICATE_ID, outcome.certificate_id), UID);
    assert_string_equal(find(cvm, CVM_BY_CERTIFICATE_ID, first), UID); /* a revoked one */
    assert_string_equal(find(cvm, CVM_BY_THING_NAME, outcome.thing_name), UID);
    for (size_t i = 0; i < 64; i++) /* as openssl prints it */
        (void)sprintf(colons + strlen(colons), "%s%c", i && i % 2 == 0 ? ":" : "",
            toupper((unsigned char)first[i]));
    assert_string_equal(find(cvm, CVM_BY_CERTIFICATE_ID, colons), UID);
    (void)snprintf(key, sizeof key, "%s", device_text(UID, CVM_D_PUBLIC_KEY_SHA256));
    assert_string_equal(find(cvm, CVM_BY_PUBLIC_KEY, key), UID);
    key[0] = key[0] == '0' ? '1' : '0';
    expect(find(cvm, CVM_BY_PUBLIC_KEY, key), "no_such_device");
    expect(find(cvm, CVM_BY_THING_NAME, "thing_NOBODY"), "no_such_device");
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void what_can_not_be_looked_for_is_told(void **state)
{
    static const char *const BAD[] = {"", "12", "zz"};
    char long_name[130];
    (void)state;
    cvm_t *cvm = start();
    for (size_t i = 0; i < LENGTH(BAD); i++) {
        expect(find(cvm, CVM_BY_CERTIFICATE_ID, BAD[i]), "invalid_request: a certificate's id");
        expect(find(cvm, CVM_BY_PUBLIC_KEY, BAD[i]), "64 hex digits");
    }
    memset(long_name, 'x', sizeof long_name);
    long_name[129] = 0;
    expect(find(cvm, CVM_BY_THING_NAME, long_name), "invalid_request: a thing's name");
    expect(find(cvm, CVM_BY_THING_NAME, ""), "invalid_request: a thing's name");
    long_name[128] = 0;
    expect(find(cvm, CVM_BY_THING_NAME, long_name), "no_such_device");
    expect(find(cvm, 0, "x"), "invalid_request: by a certificate");
    expect(find(cvm, 4, "x"), "invalid_request: by a certificate");
    instance_end(cvm);
}

static void a_removed_devices_certificate_says_whose_it_was(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    assert_string_equal(device_remove(cvm, UID, 1), "ok");
    expect(find(cvm, CVM_BY_CERTIFICATE_ID, outcome.certificate_id),
        "no_such_device: it was " UID "'s, which has been removed");
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* However long ago it was superseded. */
static void the_oldest_of_many_is_found(void **state)
{
    struct outcome outcome = {0};
    char oldest[65];
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    (void)snprintf(oldest, sizeof oldest, "%064x", 1);
    insert_certificates(&(struct certificates){
        .first = 1, .count = 300, .uid = UID, .state = "revoked", .reason = "superseded"});
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    assert_string_equal(find(cvm, CVM_BY_CERTIFICATE_ID, oldest), UID);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* The store's answer is old: the device has another thing by now. */
static void a_hint_that_is_stale_finds_nobody(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start();
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    faults_plan("get", 1, FAULT_HOLD_BEFORE);
    int is_done = 0;
    assert_null(cvm_device_find(cvm, CVM_BY_THING_NAME, outcome.thing_name, on_found, &is_done));
    turn_until_held(1);
    set_device_text(UID, CVM_D_THING_NAME, "another");
    faults_release();
    turn_until(&is_done, 1);
    expect(found, "no_such_device");
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void a_store_that_fails_is_told(void **state)
{
    (void)state;
    cvm_t *cvm = start();
    faults_plan("find", 1, FAULT_UNAVAILABLE);
    expect(find(cvm, CVM_BY_THING_NAME, "thing"), "store_unavailable");
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_device_is_found_by_all_that_it_has),
        TEST(what_can_not_be_looked_for_is_told),
        TEST(a_removed_devices_certificate_says_whose_it_was),
        TEST(the_oldest_of_many_is_found),
        TEST(a_hint_that_is_stale_finds_nobody),
        TEST(a_store_that_fails_is_told),
    };
#undef TEST
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
