/* CSRs: what cvm_key_from_csr takes is one strict PEM object, has a key that the contract allows,
 * and the local CA makes a certificate of it that verifies and holds that key. The input's first
 * byte says how the rest becomes a CSR: a text as it is, DER put into PEM, or DER signed anew by a
 * key of ours (a mutated request would hardly ever verify). */
#include "fuzz.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "backends/local/ca.h"
#include "backends/local/local.h"
#include "key.h"

#define BEGIN_LINE     "-----BEGIN CERTIFICATE REQUEST-----"
#define NEW_BEGIN_LINE "-----BEGIN NEW CERTIFICATE REQUEST-----"
#define NEW_END_LINE   "-----END NEW CERTIFICATE REQUEST-----"
#define END_LINE       "-----END CERTIFICATE REQUEST-----"
#define HOUR_MS        INT64_C(3600000)
#define SIGNERS        3

enum { TEXT, DER, SIGNED };

static struct ca *ca;
static EVP_PKEY *signers[SIGNERS];
static X509_STORE *store;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char error[200] = "";
    char *folder = fuzz_folder(), *root_key = NULL;
    (void)argc;
    (void)argv;
    CHECK(asprintf(&root_key, "%s/root.key", folder) > 0);
    CHECK(cvm_local_init(folder, root_key, NULL, NULL, error, sizeof error) == 0);
    ca = cvm_ca_load(folder, error, sizeof error);
    fuzz_remove_folder(folder);
    free(root_key);
    free(folder);
    signers[0] = EVP_EC_gen("P-256");
    signers[1] = EVP_EC_gen("P-384");
    signers[2] = EVP_RSA_gen(2048);
    store = X509_STORE_new();
    CHECK(ca && signers[0] && signers[1] && signers[2] && store);
    CHECK(X509_STORE_add_cert(store, ca->root));
    return 0;
}

/* --- Making a CSR of the input ---------------------------------------------------------------- */

static char *text_of(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    char *text = length > 0 ? strndup(bytes, (size_t)length) : strdup("");
    CHECK(text);
    BIO_free(bio);
    return text;
}

static char *to_pem(const uint8_t *der, size_t length)
{
    BIO *bio = BIO_new(BIO_s_mem());
    CHECK(bio);
    (void)PEM_write_bio(bio, "CERTIFICATE REQUEST", "", der, (long)length); /* not if it is empty */
    return text_of(bio);
}

/* The request in der with a key and a signature of ours; NULL if it doesn't parse. */
static char *sign_anew(const uint8_t *der, size_t length, uint8_t which)
{
    const uint8_t *at = der;
    EVP_PKEY *signer = signers[which % SIGNERS];
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)length);
    char *pem = NULL;
    if (request && (!(which & 0x40) || X509_REQ_set_pubkey(request, signer)) &&
        X509_REQ_sign(request, signer, which & 0x80 ? EVP_sha384() : EVP_sha256()) > 0) {
        BIO *bio = BIO_new(BIO_s_mem());
        CHECK(bio && PEM_write_bio_X509_REQ(bio, request));
        pem = text_of(bio);
    }
    X509_REQ_free(request);
    return pem;
}

static char *make_csr(struct fuzz_bytes *bytes)
{
    switch (fuzz_byte(bytes) % 3) {
    case TEXT:
        return fuzz_text(bytes, 0);
    case DER:
        return to_pem(bytes->at, bytes->left);
    default: {
        uint8_t which = fuzz_byte(bytes);
        return sign_anew(bytes->at, bytes->left, which);
    }
    }
}

/* --- What was accepted ------------------------------------------------------------------------ */

/* The bytes between the two lines, read by ourselves; NULL if there is anything but base64. */
static uint8_t *strict_der(const char *pem, size_t *length)
{
    static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strstr(pem, BEGIN_LINE), *end_line = END_LINE;
    size_t skipped = strlen(BEGIN_LINE);
    uint32_t group = 0, digits = 0, padding = 0;
    if (!at && (at = strstr(pem, NEW_BEGIN_LINE))) {
        end_line = NEW_END_LINE;
        skipped = strlen(NEW_BEGIN_LINE);
    }
    const char *end = strstr(pem, end_line);
    if (!at || !end || end < at || strspn(pem, " \t\r\n") != (size_t)(at - pem))
        return NULL;
    uint8_t *der = malloc(strlen(pem));
    CHECK(der);
    *length = 0;
    at += skipped;
    for (; at < end; at++) {
        const char *digit = strchr(BASE64, *at);
        if (strchr(" \t\r\n", *at))
            continue;
        if ((!digit || padding) && *at != '=')
            break;
        padding += !digit;
        group = group << 6 | (digit ? (uint32_t)(digit - BASE64) : 0);
        if (++digits % 4)
            continue;
        for (uint32_t i = 0; i < 3 && i + padding < 3; i++)
            der[(*length)++] = (uint8_t)(group >> (16 - 8 * i));
    }
    if (at == end && digits % 4 == 0 && padding <= 2)
        return der;
    free(der);
    return NULL;
}

/* The text's request as OpenSSL reads it; NULL if it doesn't, or if there is more than one. */
static X509_REQ *read_by_openssl(const char *pem)
{
    size_t length;
    uint8_t *der = strict_der(pem, &length);
    const uint8_t *at = der;
    X509_REQ *request = der ? d2i_X509_REQ(NULL, &at, (long)length) : NULL;
    if (request && at != der + length) {
        X509_REQ_free(request);
        request = NULL;
    }
    free(der);
    return request;
}

/* Everybody who reads the text must find the same key in it: it is handed on to platforms. */
static void check_text(const char *pem, const struct cvm_key *key, const EVP_PKEY *pkey)
{
    size_t length, handed_length;
    uint8_t *der = strict_der(pem, &length), *handed = strict_der(key->csr, &handed_length);
    CHECK(der && handed && length == handed_length && memcmp(der, handed, length) == 0);
    free(der);
    free(handed);
    /* Subject and attributes are ignored, also where they are no DER. */
    X509_REQ *request = read_by_openssl(pem);
    if (request)
        CHECK(EVP_PKEY_eq(X509_REQ_get0_pubkey(request), pkey) == 1);
    X509_REQ_free(request);
}

static void check_rsa(const EVP_PKEY *pkey)
{
    BIGNUM *modulus = NULL, *exponent = NULL;
    CHECK(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &modulus));
    CHECK(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent));
    CHECK(BN_num_bits(modulus) >= 2048 && BN_num_bits(modulus) <= 4096);
    CHECK(BN_is_word(exponent, 65537));
    BN_free(modulus);
    BN_free(exponent);
}

/* One key has one SPKI, and so one hash: its point is written uncompressed, and is a real one. */
static void check_ec(EVP_PKEY *pkey)
{
    char group[32];
    uint8_t point[200];
    size_t length;
    CHECK(EVP_PKEY_get_group_name(pkey, group, sizeof group, &length));
    size_t size = strcmp(group, "prime256v1") == 0 ? 32 : 48;
    CHECK(size == 32 || strcmp(group, "secp384r1") == 0);
    CHECK(EVP_PKEY_get_octet_string_param(
        pkey, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length));
    CHECK(length == 1 + 2 * size && point[0] == 4);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pkey, NULL);
    CHECK(context && EVP_PKEY_public_check(context) == 1);
    EVP_PKEY_CTX_free(context);
}

static EVP_PKEY *check_key(const struct cvm_key *key)
{
    const uint8_t *at = key->spki;
    char sha256[CVM_SHA256_HEX_SIZE];
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &at, (long)key->spki_length);
    CHECK(pkey && at == key->spki + key->spki_length);
    CHECK(!cvm_sha256_hex(key->spki, key->spki_length, sha256));
    CHECK(strcmp(sha256, key->sha256) == 0 && !key->private_pem && !key->public_pem);
    if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC)
        check_ec(pkey);
    else if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA)
        check_rsa(pkey);
    else
        CHECK(EVP_PKEY_is_a(pkey, "EC or RSA"));
    return pkey;
}

static void check_chain(X509 *leaf)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    STACK_OF(X509) *chain = sk_X509_new_null();
    CHECK(context && chain && sk_X509_push(chain, cvm_ca_issuing(ca)->certificate));
    CHECK(X509_STORE_CTX_init(context, store, leaf, chain));
    X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT);
    CHECK(X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT));
    CHECK(X509_verify_cert(context) == 1);
    X509_STORE_CTX_free(context);
    sk_X509_free(chain);
}

static void check_certificate(const struct cvm_key *key, const EVP_PKEY *pkey)
{
    struct ca_leaf leaf;
    CHECK(!cvm_ca_sign_leaf(
        ca, key->spki, key->spki_length, "thing_FUZZ", HOUR_MS, 24 * HOUR_MS, &leaf));
    BIO *bio = BIO_new_mem_buf(leaf.pem, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    CHECK(certificate && EVP_PKEY_eq(X509_get0_pubkey(certificate), pkey) == 1);
    uint8_t *spki = NULL;
    int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &spki);
    CHECK(length > 0 && (size_t)length == key->spki_length);
    CHECK(memcmp(spki, key->spki, key->spki_length) == 0);
    check_chain(certificate);
    OPENSSL_free(spki);
    X509_free(certificate);
    BIO_free(bio);
    free(leaf.pem);
}

/* --- What must be accepted -------------------------------------------------------------------- */

static int32_t is_common_key(EVP_PKEY *pkey)
{
    char group[32] = "", encoding[32] = "";
    BIGNUM *exponent = NULL;
    if (EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC)
        return EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) &&
               EVP_PKEY_get_utf8_string_param(
                   pkey, OSSL_PKEY_PARAM_EC_ENCODING, encoding, sizeof encoding, NULL) &&
               strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) == 0 &&
               (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0);
    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA ||
        !EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &exponent))
        return 0;
    int32_t fits = BN_is_word(exponent, 65537) && EVP_PKEY_get_bits(pkey) >= 2048 &&
                   EVP_PKEY_get_bits(pkey) <= 4096;
    BN_free(exponent);
    return fits;
}

static int32_t is_common_signature(int nid)
{
    return nid == NID_ecdsa_with_SHA256 || nid == NID_ecdsa_with_SHA384 ||
           nid == NID_ecdsa_with_SHA512 || nid == NID_sha256WithRSAEncryption ||
           nid == NID_sha384WithRSAEncryption || nid == NID_sha512WithRSAEncryption;
}

/* What OpenSSL alone would take by the contract's rules, and writes just so. */
static int32_t is_plain_request(const char *pem)
{
    X509_REQ *request = read_by_openssl(pem);
    EVP_PKEY *pkey = request ? X509_REQ_get0_pubkey(request) : NULL;
    int32_t is_plain = 0;
    if (pkey && is_common_key(pkey) && is_common_signature(X509_REQ_get_signature_nid(request)) &&
        X509_REQ_verify(request, pkey) == 1) {
        BIO *bio = BIO_new(BIO_s_mem());
        CHECK(bio && PEM_write_bio_X509_REQ(bio, request));
        char *text = text_of(bio);
        is_plain = strcmp(text, pem) == 0 && strlen(pem) <= CVM_LONGEST_CSR;
        free(text);
    }
    X509_REQ_free(request);
    return is_plain;
}

/* A point at infinity verifies what anybody signs. */
static int32_t is_infinity(const char *pem)
{
    X509_REQ *request = read_by_openssl(pem);
    const uint8_t *point;
    int length = 0;
    if (request)
        CHECK(
            X509_PUBKEY_get0_param(NULL, &point, &length, NULL, X509_REQ_get_X509_PUBKEY(request)));
    X509_REQ_free(request);
    return length == 1;
}

static void check_accepted(const char *pem, const struct cvm_key *key)
{
    EVP_PKEY *pkey = check_key(key);
    check_text(pem, key, pkey);
    check_certificate(key, pkey);
    EVP_PKEY_free(pkey);
}

static void check_refused(const char *pem, const struct cvm_key *key, const char *why)
{
    CHECK(why && !key->csr);
    CHECK(is_infinity(pem) || !is_plain_request(pem));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes bytes = {data, size};
    struct cvm_key key = {.spki = NULL};
    const char *why = NULL;
    char *pem = make_csr(&bytes);
    ERR_clear_error();
    if (pem) {
        int32_t failed = cvm_key_from_csr(&key, pem, strlen(pem), &why);
        CHECK(ERR_peek_error() == 0);
        if (failed)
            check_refused(pem, &key, why);
        else
            check_accepted(pem, &key);
    }
    ERR_clear_error();
    cvm_key_clear(&key);
    free(pem);
    return 0;
}
