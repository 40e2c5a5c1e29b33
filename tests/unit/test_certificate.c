/* What a platform leaves out of a certificate's record is read from the certificate. */
#include "support/test.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/hex.h"
#include "certificate.h"
#include "record.h"

#define BEGINS_S INT64_C(1700000000)
#define ENDS_S   INT64_C(4000000000) /* past 2049: another kind of time */
#define SERIAL   "00c0ffee00000000000000000000000000000001"

static X509 *make_certificate(const char *serial_hex)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();
    BIGNUM *serial = NULL;
    assert_true(BN_hex2bn(&serial, serial_hex) > 0);
    assert_non_null(BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x509)));
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x509), BEGINS_S));
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x509), ENDS_S));
    assert_int_equal(X509_set_pubkey(x509, key), 1);
    assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
    BN_free(serial);
    EVP_PKEY_free(key);
    return x509;
}

/* A record with the certificate's PEM and nothing else; its id to compare with. */
static cvm_record_t *make_record(const char *serial_hex, char id[CVM_SHA256_HEX_SIZE])
{
    X509 *x509 = make_certificate(serial_hex);
    cvm_record_t *record = cvm_record_new(CVM_RECORD_CERTIFICATE);
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned char *der = NULL;
    char *pem;
    int length = i2d_X509(x509, &der);
    assert_int_equal(cvm_sha256_hex(der, (size_t)length, id), 0);
    assert_int_equal(PEM_write_bio_X509(bio, x509), 1);
    assert_int_equal(BIO_write(bio, "", 1), 1);
    (void)BIO_get_mem_data(bio, &pem);
    assert_int_equal(cvm_record_set_text(record, CVM_C_PEM, pem), 0);
    OPENSSL_free(der);
    BIO_free(bio);
    X509_free(x509);
    return record;
}

static void what_is_missing_is_read(void **state)
{
    char id[CVM_SHA256_HEX_SIZE];
    (void)state;
    cvm_record_t *record = make_record(SERIAL, id);
    assert_int_equal(cvm_certificate_complete(record), 0);
    assert_string_equal(cvm_record_text(record, CVM_C_CERTIFICATE_ID), id);
    assert_string_equal(cvm_record_text(record, CVM_C_SERIAL), &SERIAL[2]); /* as DER has it */
    assert_int_equal(cvm_record_number(record, CVM_C_NOT_BEFORE), BEGINS_S * 1000);
    assert_int_equal(cvm_record_number(record, CVM_C_NOT_AFTER), ENDS_S * 1000);
    cvm_record_free(record);
}

/* The platform knows better: an id of its own, for one. */
static void what_is_there_stays(void **state)
{
    char id[CVM_SHA256_HEX_SIZE];
    (void)state;
    cvm_record_t *record = make_record(SERIAL, id);
    (void)cvm_record_set_text(record, CVM_C_CERTIFICATE_ID, "its-own");
    (void)cvm_record_set_number(record, CVM_C_NOT_AFTER, 5);
    assert_int_equal(cvm_certificate_complete(record), 0);
    assert_string_equal(cvm_record_text(record, CVM_C_CERTIFICATE_ID), "its-own");
    assert_string_equal(cvm_record_text(record, CVM_C_SERIAL), &SERIAL[2]);
    assert_int_equal(cvm_record_number(record, CVM_C_NOT_AFTER), 5);
    (void)cvm_record_set_text(record, CVM_C_SERIAL, "its-own");
    (void)cvm_record_set_number(record, CVM_C_NOT_AFTER, 0);
    assert_int_equal(cvm_certificate_complete(record), 0);
    assert_string_equal(cvm_record_text(record, CVM_C_SERIAL), "its-own");
    assert_int_equal(cvm_record_number(record, CVM_C_NOT_AFTER), ENDS_S * 1000);
    cvm_record_free(record);
}

static void what_is_no_certificate_is_refused(void **state)
{
    static const char *const BAD[] = {
        "", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    (void)state;
    for (size_t i = 0; i < LENGTH(BAD); i++) {
        cvm_record_t *record = cvm_record_new(CVM_RECORD_CERTIFICATE);
        (void)cvm_record_set_text(record, CVM_C_PEM, BAD[i]);
        assert_int_equal(cvm_certificate_complete(record), -1);
        cvm_record_free(record);
    }
}

static int32_t is_read(const unsigned char *der, long length)
{
    cvm_record_t *record = cvm_record_new(CVM_RECORD_CERTIFICATE);
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    assert_true(PEM_write_bio(bio, PEM_STRING_X509, "", der, length) > 0);
    assert_int_equal(BIO_write(bio, "", 1), 1);
    (void)BIO_get_mem_data(bio, &pem);
    (void)cvm_record_set_text(record, CVM_C_PEM, pem);
    int32_t is_read = cvm_certificate_complete(record) == 0;
    BIO_free(bio);
    cvm_record_free(record);
    return is_read;
}

/* The whole of it, and nothing behind it. */
static void what_is_cut_or_has_more_is_refused(void **state)
{
    unsigned char *der = NULL;
    (void)state;
    X509 *x509 = make_certificate(SERIAL);
    int length = i2d_X509(x509, &der);
    unsigned char *longer = malloc((size_t)length + 1);
    assert_non_null(longer);
    memcpy(longer, der, (size_t)length);
    longer[length] = 0;
    assert_true(is_read(der, length));
    assert_false(is_read(longer, length + 1));
    for (int i = 1; i < length; i++) {
        assert_false(is_read(der, i));
        if (i > 3) { /* as long as it says, and its last element too short */
            memcpy(longer, der, (size_t)i);
            longer[2] = (unsigned char)((i - 4) >> 8);
            longer[3] = (unsigned char)(i - 4);
            assert_false(is_read(longer, i));
        }
    }
    free(longer);
    OPENSSL_free(der);
    X509_free(x509);
}

/* RFC 5280 §4.1.2.2: 20 bytes. */
static void serials_are_bounded(void **state)
{
    static const char *const LONGEST = "7fffffffffffffffffffffffffffffffffffffff";
    char id[CVM_SHA256_HEX_SIZE];
    (void)state;
    cvm_record_t *record = make_record(LONGEST, id);
    assert_int_equal(cvm_certificate_complete(record), 0);
    assert_string_equal(cvm_record_text(record, CVM_C_SERIAL), LONGEST);
    cvm_record_free(record);
    record = make_record("010000000000000000000000000000000000000000", id);
    assert_int_equal(cvm_certificate_complete(record), -1);
    cvm_record_free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_read),
        cmocka_unit_test(what_is_there_stays),
        cmocka_unit_test(what_is_no_certificate_is_refused),
        cmocka_unit_test(what_is_cut_or_has_more_is_refused),
        cmocka_unit_test(serials_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
