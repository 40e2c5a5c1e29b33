/* What is said of certificates that were made here: by the same rules as a strict device's. */
#include "support/harness.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "backends/local/ca.h"
#include "backends/local/made.h"

#define HOUR_MS (INT64_C(3600) * 1000)

static struct ca *ca;
static char crls[200];

static int set_up(void **state)
{
    char why[200] = "";
    if (harness_set_up(state))
        return -1;
    const char *folder = harness_make_ca() + strlen("local:");
    (void)snprintf(crls, sizeof crls, "%s/crl.pem", folder);
    ca = cvm_ca_load(folder, why, sizeof why);
    return ca ? 0 : -1;
}

static int tear_down(void **state)
{
    cvm_ca_free(ca);
    return harness_tear_down(state);
}

/* A leaf that began so long ago and lasts for so long from now on. */
static X509 *make_leaf(int64_t backdate_ms, int64_t validity_ms)
{
    struct ca_leaf leaf = {.pem = NULL};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    unsigned char *spki = NULL;
    int length = i2d_PUBKEY(key, &spki);
    assert_true(length > 0);
    assert_int_equal(
        cvm_ca_sign_leaf(ca, spki, (size_t)length, "thing", backdate_ms, validity_ms, &leaf), 0);
    BIO *bio = BIO_new_mem_buf(leaf.pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    assert_non_null(certificate);
    BIO_free(bio);
    free(leaf.pem);
    OPENSSL_free(spki);
    EVP_PKEY_free(key);
    return certificate;
}

/* Why it can't be used; "" if it can. Frees the certificate. */
static const char *problem_of(X509 *certificate, X509 *issuing, int purpose, const char *file)
{
    static char why[256];
    *why = 0;
    int32_t failed =
        cvm_made_verify(certificate, ca->root, issuing, purpose, file, why, sizeof why);
    assert_int_equal(failed != 0, *why != 0);
    X509_free(certificate);
    return why;
}

static void expect(const char *why, const char *part)
{
    assert_string_not_equal(why, "");
    if (!strstr(why, part))
        fail_msg("'%s' is said of another reason than %s", why, part);
}

static void what_is_good_is_taken(void **state)
{
    (void)state;
    assert_string_equal(
        problem_of(make_leaf(HOUR_MS, HOUR_MS), cvm_ca_issuing(ca)->certificate, 0, crls), "");
    assert_string_equal(problem_of(make_leaf(HOUR_MS, HOUR_MS), cvm_ca_issuing(ca)->certificate,
                            X509_PURPOSE_SSL_CLIENT, NULL),
        "");
    assert_int_equal(X509_up_ref(cvm_ca_issuing(ca)->certificate), 1);
    assert_string_equal(problem_of(cvm_ca_issuing(ca)->certificate, NULL, 0, crls), "");
}

static void what_is_not_is_refused_by_its_reason(void **state)
{
    (void)state;
    expect(problem_of(make_leaf(2 * HOUR_MS, -HOUR_MS), cvm_ca_issuing(ca)->certificate, 0, NULL),
        "has expired");
    expect(problem_of(make_leaf(-HOUR_MS, 2 * HOUR_MS), cvm_ca_issuing(ca)->certificate, 0, NULL),
        "not yet valid");
    expect(problem_of(make_leaf(HOUR_MS, HOUR_MS), NULL, 0, NULL), "issuer certificate");
    expect(problem_of(make_leaf(HOUR_MS, HOUR_MS), cvm_ca_issuing(ca)->certificate,
               X509_PURPOSE_SSL_SERVER, NULL),
        "purpose");
    expect(problem_of(make_leaf(HOUR_MS, HOUR_MS), cvm_ca_issuing(ca)->certificate, 0,
               "/nonexistent/crl.pem"),
        "CRL");
}

static void a_life_is_what_was_wanted(void **state)
{
    (void)state;
    X509 *certificate = make_leaf(0, HOUR_MS);
    ASN1_TIME *begin = X509_getm_notBefore(certificate), *end = X509_getm_notAfter(certificate);
    assert_true(ASN1_TIME_set_string(begin, "20250101000000Z") &&
                ASN1_TIME_set_string(end, "20560101000000Z"));
    assert_true(cvm_made_lives(certificate, INT64_C(1735689600000), INT64_C(2713910400999)));
    assert_false(cvm_made_lives(certificate, INT64_C(1735689600000), INT64_C(2713910401000)));
    assert_false(cvm_made_lives(certificate, INT64_C(1735689599000), INT64_C(2713910400000)));
    X509_free(certificate);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_is_good_is_taken),
        TEST(what_is_not_is_refused_by_its_reason),
        TEST(a_life_is_what_was_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
