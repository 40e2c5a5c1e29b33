/* Devices with more certificates than one look at the store answers: what counts is always seen, or
 * nothing is done. */
#include "support/fake_platform.h"
#include "support/harness.h"
#include "support/records.h"

#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define UID     "DEVICE001"
#define REVOKED 70

static const char *const PLATFORMS[] = {"fake:", "plain:", "local:"};

struct device {
    cvm_t *cvm;
    int32_t is_local, is_fake; /* "plain:" activates nothing */
    char *csr;
    char current[65], serial[41];
};

static void copy_serial(struct device *device, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *hex = BN_bn2hex(number);
    (void)snprintf(device->serial, sizeof device->serial, "%s", hex);
    OPENSSL_free(hex);
    BN_free(number);
    X509_free(certificate);
    BIO_free(bio);
}

/* A device with a current certificate. */
static void begin(struct device *device, size_t platform)
{
    struct outcome outcome;
    *device = (struct device){.is_local = strcmp(PLATFORMS[platform], "local:") == 0,
        .is_fake = strcmp(PLATFORMS[platform], "fake:") == 0};
    const struct setting settings[] = {
        {"platform", device->is_local ? harness_make_ca() : PLATFORMS[platform]}, {NULL, NULL}};
    device->cvm = instance_start(settings);
    device->csr = make_csr();
    assert_string_equal(device_add(device->cvm, UID), "ok");
    assert_string_equal(register_now(device->cvm, UID, device->csr, &outcome), "ok");
    (void)snprintf(device->current, sizeof device->current, "%s", outcome.certificate_id);
    if (device->is_local)
        copy_serial(device, outcome.certificate);
    outcome_clear(&outcome);
}

static void end(struct device *device, void **state)
{
    instance_end(device->cvm);
    free(device->csr);
    (void)harness_tear_down(state);
    (void)harness_set_up(state);
}

/* So many more of the device's certificates, all newer than the current one. */
static void insert(uint32_t count, const char *certificate_state)
{
    insert_certificates(&(struct certificates){.first = 1,
        .count = count,
        .uid = UID,
        .state = certificate_state,
        .reason = "superseded",
        .revoke_after_ms = INT64_C(3900000000000)});
}

static const char *state_of(const char *id)
{
    return certificate_text(UID, id, CVM_C_STATE);
}

/* Nothing accepts the device's first certificate any more. */
static void expect_refused(const struct device *device)
{
    if (device->is_local)
        assert_true(crl_lists(device->serial));
    else
        assert_int_not_equal(fake_find(device->current)->state, FAKE_ACTIVE);
}

static void expect_accepted(const struct device *device)
{
    if (device->is_fake)
        assert_int_equal(fake_find(device->current)->state, FAKE_ACTIVE);
    assert_string_equal(state_of(device->current), "current");
}

/* --- Many that are revoked: the current one is seen ------------------------------------------- */

static void who_asks_again_gets_the_current_one(void **state)
{
    struct device device;
    struct outcome outcome;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        begin(&device, i);
        insert(REVOKED, "revoked");
        assert_string_equal(register_now(device.cvm, UID, device.csr, &outcome), "ok");
        assert_string_equal(outcome.certificate_id, device.current);
        outcome_clear(&outcome);
        expect_accepted(&device);
        end(&device, state);
    }
}

static void revoking_reaches_the_current_one(void **state)
{
    struct device device;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        begin(&device, i);
        insert(REVOKED, "revoked");
        assert_string_equal(device_revoke(device.cvm, UID, "keyCompromise"), "ok");
        assert_string_equal(state_of(device.current), "revoked");
        expect_refused(&device);
        end(&device, state);
    }
}

static void disabling_reaches_the_current_one(void **state)
{
    struct device device;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        begin(&device, i);
        insert(REVOKED, "revoked");
        assert_string_equal(device_disable(device.cvm, UID), "ok");
        expect_refused(&device);
        assert_string_equal(device_enable(device.cvm, UID), "ok");
        expect_accepted(&device);
        if (device.is_local)
            assert_false(crl_lists(device.serial));
        end(&device, state);
    }
}

static void a_new_registration_retires_the_current_one(void **state)
{
    struct device device;
    struct outcome outcome;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        begin(&device, i);
        insert(REVOKED, "revoked");
        assert_string_equal(device_reset(device.cvm, UID), "ok");
        assert_string_equal(register_now(device.cvm, UID, NULL, &outcome), "ok");
        assert_string_not_equal(outcome.certificate_id, device.current);
        assert_string_equal(state_of(outcome.certificate_id), "current");
        outcome_clear(&outcome);
        assert_string_equal(reconcile(device.cvm), "ok");
        assert_string_equal(state_of(device.current), "revoked");
        expect_refused(&device);
        end(&device, state);
    }
}

static void removing_reaches_the_current_one(void **state)
{
    struct device device;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        begin(&device, i);
        insert(REVOKED, "revoked");
        assert_string_equal(device_remove(device.cvm, UID, 0), "device_registered");
        expect_accepted(&device);
        assert_string_equal(device_remove(device.cvm, UID, 1), "ok");
        assert_string_equal(state_of(device.current), "revoked");
        expect_refused(&device);
        end(&device, state);
    }
}

/* --- Many that are not: nothing is done by halves --------------------------------------------- */

static void expect_untouched(const struct device *device, uint32_t count)
{
    expect_accepted(device);
    assert_int_equal(count_certificates("retiring"), count);
    assert_int_equal(count_certificates(NULL), count + 1);
    assert_int_equal(device_number(UID, CVM_D_IS_REVOKED), 0);
}

static void expect_in_progress(const struct device *device, const char *csr)
{
    struct outcome outcome;
    (void)register_now(device->cvm, UID, csr, &outcome);
    assert_string_equal(outcome.name, "in_progress");
    assert_true(outcome.retryable);
    assert_in_range(outcome.retry_after_s, 1, 60);
    outcome_clear(&outcome);
}

static void what_can_not_all_be_seen_is_left_alone(void **state)
{
    struct device device;
    struct outcome outcome;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        for (uint32_t count = 64; count < 70; count += 5) {
            begin(&device, i);
            insert(count, "retiring");
            expect_in_progress(&device, device.csr);
            expect_in_progress(&device, NULL);
            assert_string_equal(device_revoke(device.cvm, UID, NULL), "conflict");
            assert_string_equal(device_remove(device.cvm, UID, 1), "conflict");
            expect_untouched(&device, count);
            assert_string_equal(device_reset(device.cvm, UID), "ok");
            expect_in_progress(&device, NULL);
            expect_untouched(&device, count);
            set_certificates_number(UID, "retiring", CVM_C_REVOKE_AFTER, 1);
            assert_string_equal(reconcile(device.cvm), "ok");
            expect_accepted(&device);
            assert_string_equal(register_now(device.cvm, UID, NULL, &outcome), "ok");
            outcome_clear(&outcome);
            assert_string_equal(reconcile(device.cvm), "ok");
            assert_string_equal(state_of(device.current), "revoked");
            assert_string_equal(device_revoke(device.cvm, UID, NULL), "ok");
            assert_int_equal(count_certificates("revoked"), count_certificates(NULL));
            end(&device, state);
        }
    }
}

/* As many as can be seen: all of them are dealt with. */
static void as_many_as_can_be_seen_are_revoked(void **state)
{
    struct device device;
    for (size_t i = 0; i < LENGTH(PLATFORMS); i++) {
        begin(&device, i);
        insert(62, "retiring");
        assert_string_equal(device_revoke(device.cvm, UID, NULL), "ok");
        assert_int_equal(count_certificates("revoked"), 63);
        expect_refused(&device);
        end(&device, state);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(who_asks_again_gets_the_current_one),
        TEST(revoking_reaches_the_current_one),
        TEST(disabling_reaches_the_current_one),
        TEST(a_new_registration_retires_the_current_one),
        TEST(removing_reaches_the_current_one),
        TEST(what_can_not_all_be_seen_is_left_alone),
        TEST(as_many_as_can_be_seen_are_revoked),
    };
    return cmocka_run_group_tests(tests, harness_begin, harness_end);
}
