/* CSRs that are taken and refused, and keys that are made here. */
#include "support/test.h"

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "csr.h"
#include "key.h"

#define CSR_SIZE 8192

/* --- Making CSRs ------------------------------------------------------------------------------ */

static void write_csr(X509_REQ *request, char csr[CSR_SIZE])
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(PEM_write_bio_X509_REQ(bio, request));
    int length = BIO_read(bio, csr, CSR_SIZE - 1);
    assert_true(length > 0);
    csr[length] = 0;
    BIO_free(bio);
}

/* A CSR for key with a subject whose name is name_length long. */
static void make_csr(EVP_PKEY *key, const EVP_MD *digest, int name_length, char csr[CSR_SIZE])
{
    unsigned char name[CSR_SIZE];
    memset(name, 'x', sizeof name);
    X509_REQ *request = X509_REQ_new();
    assert_true(X509_REQ_set_version(request, X509_REQ_VERSION_1));
    assert_true(X509_REQ_set_pubkey(request, key));
    for (int left = name_length; left > 0; left -= 60)
        assert_true(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "OU",
            MBSTRING_ASC, name, left < 60 ? left : 60, -1, 0));
    assert_true(X509_REQ_sign(request, key, digest));
    write_csr(request, csr);
    X509_REQ_free(request);
}

static EVP_PKEY *make_rsa(unsigned bits, unsigned exponent)
{
    EVP_PKEY *key = NULL;
    BIGNUM *e = BN_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_true(BN_set_word(e, exponent) && EVP_PKEY_keygen_init(context) > 0);
    assert_true(EVP_PKEY_CTX_set_rsa_keygen_bits(context, (int)bits) > 0);
    assert_true(EVP_PKEY_CTX_set1_rsa_keygen_pubexp(context, e) > 0);
    assert_true(EVP_PKEY_keygen(context, &key) > 0);
    EVP_PKEY_CTX_free(context);
    BN_free(e);
    return key;
}

/* A P-256 key whose parameters are spelt out instead of named. */
static EVP_PKEY *make_explicit_ec(void)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){"P-256"}, 0),
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_EC_ENCODING, (char[]){"explicit"}, 0),
        OSSL_PARAM_construct_end()};
    assert_true(EVP_PKEY_keygen_init(context) > 0 && EVP_PKEY_CTX_set_params(context, parameters));
    assert_true(EVP_PKEY_generate(context, &key) > 0);
    EVP_PKEY_CTX_free(context);
    return key;
}

static int32_t read_csr(const char *csr, struct cvm_key *key, const char **why)
{
    *key = (struct cvm_key){.spki = NULL};
    *why = NULL;
    return cvm_key_from_csr(key, csr, strlen(csr), why);
}

static void expect_taken(EVP_PKEY *made, const EVP_MD *digest)
{
    char csr[CSR_SIZE];
    struct cvm_key key;
    const char *why;
    make_csr(made, digest, 10, csr);
    if (read_csr(csr, &key, &why))
        fail_msg("refused: %s", why);
    const unsigned char *der = key.spki;
    EVP_PKEY *read = d2i_PUBKEY(NULL, &der, (long)key.spki_length);
    assert_int_equal(EVP_PKEY_eq(read, made), 1);
    assert_true(cvm_is_hex(key.sha256, 64));
    assert_string_equal(key.csr, csr);
    assert_null(key.private_pem);
    EVP_PKEY_free(read);
    EVP_PKEY_free(made);
    cvm_key_clear(&key);
}

static void expect_csr_refused(const char *csr, const char *expected)
{
    struct cvm_key key;
    const char *why;
    assert_int_equal(read_csr(csr, &key, &why), -1);
    assert_non_null(why);
    if (!strstr(why, expected))
        fail_msg("'%s' does not hold '%s'", why, expected);
    assert_null(key.spki);
    cvm_key_clear(&key);
}

static void expect_refused(EVP_PKEY *made, const EVP_MD *digest, const char *expected)
{
    char csr[CSR_SIZE];
    make_csr(made, digest, 10, csr);
    expect_csr_refused(csr, expected);
    EVP_PKEY_free(made);
}

/* --- Tests ------------------------------------------------------------------------------------ */

static void the_allowed_keys_are_taken(void **state)
{
    (void)state;
    expect_taken(EVP_EC_gen("P-256"), EVP_sha256());
    expect_taken(EVP_EC_gen("P-256"), EVP_sha512());
    expect_taken(EVP_EC_gen("P-384"), EVP_sha384());
    expect_taken(EVP_RSA_gen(2048), EVP_sha256());
    expect_taken(EVP_RSA_gen(3072), EVP_sha384());
}

static void other_keys_are_refused(void **state)
{
    (void)state;
    expect_refused(EVP_EC_gen("P-521"), EVP_sha512(), "P-256 or P-384");
    expect_refused(EVP_EC_gen("P-224"), EVP_sha256(), "P-256 or P-384");
    expect_refused(EVP_EC_gen("secp256k1"), EVP_sha256(), "P-256 or P-384");
    expect_refused(make_explicit_ec(), EVP_sha256(), "by its name");
    expect_refused(make_rsa(1024, 65537), EVP_sha256(), "2048 to 4096");
    expect_refused(make_rsa(2040, 65537), EVP_sha256(), "2048 to 4096");
    expect_refused(make_rsa(2048, 3), EVP_sha256(), "65537");
    expect_refused(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), NULL, "EC or RSA");
}

static void weak_signatures_are_refused(void **state)
{
    (void)state;
    expect_refused(EVP_EC_gen("P-256"), EVP_sha1(), "digest must be SHA-256");
    expect_refused(EVP_EC_gen("P-256"), EVP_sha224(), "digest must be SHA-256");
    expect_refused(EVP_RSA_gen(2048), EVP_sha1(), "digest must be SHA-256");
    expect_refused(EVP_RSA_gen(2048), EVP_md5(), "digest must be SHA-256");
}

static void the_key_must_have_signed(void **state)
{
    char csr[CSR_SIZE];
    (void)state;
    EVP_PKEY *mine = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    assert_true(X509_REQ_set_pubkey(request, mine));
    assert_true(X509_REQ_sign(request, other, EVP_sha256()));
    write_csr(request, csr);
    expect_csr_refused(csr, "does not verify");
    X509_REQ_free(request);
    EVP_PKEY_free(mine);
    EVP_PKEY_free(other);
}

static void only_one_object_and_nothing_around_it(void **state)
{
    char csr[CSR_SIZE], text[2 * CSR_SIZE];
    (void)state;
    EVP_PKEY *made = EVP_EC_gen("P-256");
    make_csr(made, EVP_sha256(), 10, csr);
    struct cvm_key key;
    const char *why;

    (void)snprintf(text, sizeof text, "%s\r\n\n", csr); /* line ends are fine */
    assert_int_equal(read_csr(text, &key, &why), 0);
    cvm_key_clear(&key);
    (void)snprintf(text, sizeof text, " \r\n\t%s ", csr); /* as is other white space */
    assert_int_equal(read_csr(text, &key, &why), 0);
    assert_string_equal(key.csr, csr); /* platforms are handed one form */
    cvm_key_clear(&key);
    (void)snprintf(text, sizeof text, "%s%s", csr, csr);
    expect_csr_refused(text, "behind");
    (void)snprintf(text, sizeof text, "Subject: me\n%s", csr);
    expect_csr_refused(text, "is no PEM");
    expect_csr_refused("", "is no PEM");
    expect_csr_refused("-----BEGIN CERTIFICATE REQUEST-----\n", "is no PEM");
    expect_csr_refused("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        "does not parse");
    expect_csr_refused(
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "does not parse");
    expect_csr_refused(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no PEM");
    EVP_PKEY_free(made);
}

/* The DER with bytes behind it, and the PEM with a header inside. */
static void hidden_bytes_are_refused(void **state)
{
    char csr[CSR_SIZE], text[2 * CSR_SIZE], *name, *header, *line;
    unsigned char *der, padded[CSR_SIZE];
    long length;
    (void)state;
    EVP_PKEY *made = EVP_EC_gen("P-256");
    make_csr(made, EVP_sha256(), 10, csr);
    BIO *in = BIO_new_mem_buf(csr, -1), *out = BIO_new(BIO_s_mem());
    assert_true(PEM_read_bio(in, &name, &header, &der, &length));
    memcpy(padded, der, (size_t)length);
    memcpy(padded + length, "\x05\x00", 2);
    assert_true(PEM_write_bio(out, "CERTIFICATE REQUEST", "", padded, length + 2));
    int read = BIO_read(out, text, CSR_SIZE);
    text[read] = 0;
    expect_csr_refused(text, "does not parse");

    line = strchr(csr, '\n');
    (void)snprintf(text, sizeof text, "%.*s\nX-Header: 1\n\n%s", (int)(line - csr), csr, line + 1);
    expect_csr_refused(text, "is no PEM");
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(in);
    BIO_free(out);
    EVP_PKEY_free(made);
}

static void the_longest_csr_has_4096_bytes(void **state)
{
    char csr[CSR_SIZE];
    struct cvm_key key;
    const char *why;
    (void)state;
    EVP_PKEY *made = EVP_EC_gen("P-256");
    make_csr(made, EVP_sha256(), 2200, csr);
    size_t length = strlen(csr);
    assert_true(length < CVM_LONGEST_CSR);
    memset(csr + length, '\n', CVM_LONGEST_CSR - length);
    csr[CVM_LONGEST_CSR] = 0;
    assert_int_equal(read_csr(csr, &key, &why), 0);
    cvm_key_clear(&key);
    csr[CVM_LONGEST_CSR] = '\n';
    csr[CVM_LONGEST_CSR + 1] = 0;
    expect_csr_refused(csr, "4096");
    EVP_PKEY_free(made);
}

/* A point may be written in two ways: the key is the same, and so must its hash be. */
static void expect_one_key(const char *curve)
{
    char csr[CSR_SIZE], compressed[CSR_SIZE];
    struct cvm_key one, other;
    const char *why;
    EVP_PKEY *made = EVP_EC_gen(curve);
    make_csr(made, EVP_sha256(), 10, csr);
    assert_true(EVP_PKEY_set_utf8_string_param(
        made, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed"));
    make_csr(made, EVP_sha256(), 10, compressed);
    assert_true(strlen(compressed) < strlen(csr));
    assert_int_equal(read_csr(csr, &one, &why), 0);
    assert_int_equal(read_csr(compressed, &other, &why), 0);
    assert_string_equal(one.sha256, other.sha256);
    cvm_key_clear(&one);
    cvm_key_clear(&other);
    EVP_PKEY_free(made);
}

static void a_compressed_point_is_the_same_key(void **state)
{
    (void)state;
    expect_one_key("P-256");
    expect_one_key("P-384");
}

static void a_spoiled_csr_is_refused(void **state)
{
    char csr[CSR_SIZE], spoiled[CSR_SIZE];
    (void)state;
    EVP_PKEY *made = EVP_EC_gen("P-256");
    make_csr(made, EVP_sha256(), 10, csr);
    const char *first = strchr(csr, '\n') + 1, *end = strstr(csr, "-----END");
    uint64_t random = test_seed();
    for (uint32_t i = 0; i < 500 * test_scale(); i++) {
        static const char BASE64[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        struct cvm_key key;
        const char *why;
        size_t at = (size_t)(first - csr) + test_random(&random) % (uint64_t)(end - first - 3);
        memcpy(spoiled, csr, sizeof spoiled);
        char c = BASE64[test_random(&random) % 64];
        if (spoiled[at] == '\n' || spoiled[at] == '=' || spoiled[at] == c)
            continue;
        spoiled[at] = c;
        if (!read_csr(spoiled, &key, &why) || !why)
            fail_msg("round %u, seed %llu: taken", i, (unsigned long long)test_seed());
        cvm_key_clear(&key);
    }
    EVP_PKEY_free(made);
}

/* --- Keys that are made here ------------------------------------------------------------------ */

static void expect_made(enum cvm_key_type type, const char *begin)
{
    struct cvm_key key = {.spki = NULL}, read;
    const char *why;
    assert_int_equal(cvm_key_make(&key, type), 0);
    assert_memory_equal(key.private_pem, begin, strlen(begin));
    assert_memory_equal(key.public_pem, "-----BEGIN PUBLIC KEY-----", 26);
    BIO *in = BIO_new_mem_buf(key.private_pem, -1);
    EVP_PKEY *private = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    const unsigned char *der = key.spki;
    EVP_PKEY *public = d2i_PUBKEY(NULL, &der, (long)key.spki_length);
    assert_int_equal(EVP_PKEY_eq(private, public), 1);
    assert_null(key.csr);
    assert_int_equal(cvm_key_make_csr(&key), 0);
    assert_int_equal(read_csr(key.csr, &read, &why), 0);
    assert_string_equal(read.sha256, key.sha256);
    EVP_PKEY_free(private);
    EVP_PKEY_free(public);
    BIO_free(in);
    cvm_key_clear(&read);
    cvm_key_clear(&key);
    assert_null(key.private_pem);
    cvm_key_clear(&key); /* once more does no harm */
}

static void keys_are_made_in_the_form_that_firmware_expects(void **state)
{
    (void)state;
    expect_made(KEY_P256, "-----BEGIN PRIVATE KEY-----");        /* PKCS#8 */
    expect_made(KEY_RSA2048, "-----BEGIN RSA PRIVATE KEY-----"); /* PKCS#1 */
}

/* The request is its key's, and DER as OpenSSL writes it: signatures have several lengths. */
static void expect_request(enum cvm_key_type type)
{
    struct cvm_key key = {.spki = NULL}, read = {.spki = NULL};
    const char *why = NULL;
    unsigned char *der = NULL;
    assert_int_equal(cvm_key_make(&key, type), 0);
    assert_int_equal(cvm_key_make_csr(&key), 0);
    assert_int_equal(read_csr(key.csr, &read, &why), 0);
    assert_string_equal(read.sha256, key.sha256);
    BIO *bio = BIO_new_mem_buf(key.csr, -1);
    X509_REQ *request = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
    assert_non_null(request);
    assert_int_equal(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
    assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(request)), 0);
    int length = i2d_X509_REQ(request, &der);
    char *text = cvm_csr_to_pem(der, length);
    assert_string_equal(text, key.csr);
    free(text);
    OPENSSL_free(der);
    X509_REQ_free(request);
    BIO_free(bio);
    cvm_key_clear(&key);
    cvm_key_clear(&read);
}

static void a_key_that_was_made_gets_a_request(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++)
        expect_request(KEY_P256);
    expect_request(KEY_RSA2048);
}

/* Of one that came with a request there is no private part. */
static void a_key_that_came_keeps_its_request(void **state)
{
    struct cvm_key key = {.spki = NULL};
    char csr[CSR_SIZE];
    const char *why = NULL;
    (void)state;
    EVP_PKEY *made = EVP_EC_gen("P-256");
    make_csr(made, EVP_sha256(), 10, csr);
    assert_int_equal(read_csr(csr, &key, &why), 0);
    assert_int_equal(cvm_key_make_csr(&key), 0);
    assert_string_equal(key.csr, csr);
    cvm_key_clear(&key);
    assert_int_equal(cvm_key_make_csr(&key), -1);
    EVP_PKEY_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_allowed_keys_are_taken),
        cmocka_unit_test(other_keys_are_refused),
        cmocka_unit_test(weak_signatures_are_refused),
        cmocka_unit_test(the_key_must_have_signed),
        cmocka_unit_test(only_one_object_and_nothing_around_it),
        cmocka_unit_test(hidden_bytes_are_refused),
        cmocka_unit_test(the_longest_csr_has_4096_bytes),
        cmocka_unit_test(a_compressed_point_is_the_same_key),
        cmocka_unit_test(a_spoiled_csr_is_refused),
        cmocka_unit_test(keys_are_made_in_the_form_that_firmware_expects),
        cmocka_unit_test(a_key_that_was_made_gets_a_request),
        cmocka_unit_test(a_key_that_came_keeps_its_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
