/* Keys and CSRs, by OpenSSL. */
#include "key.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#define CSR_BEGIN "-----BEGIN CERTIFICATE REQUEST-----"
#define CSR_END   "-----END CERTIFICATE REQUEST-----"

/* --- Reading a CSR ---------------------------------------------------------------------------- */

static int32_t refuse(const char **why, const char *text)
{
    *why = text;
    return -1;
}

/* One object from the first byte to the last, but for line ends behind it. */
static int32_t check_envelope(const char *pem, const char **why)
{
    size_t length = strnlen(pem, CVM_LONGEST_CSR + 1);
    if (length > CVM_LONGEST_CSR)
        return refuse(why, "the CSR is longer than 4096 bytes");
    const char *end = strstr(pem, CSR_END);
    if (strncmp(pem, CSR_BEGIN, strlen(CSR_BEGIN)) != 0 || !end)
        return refuse(why, "the CSR must be one PEM CERTIFICATE REQUEST");
    end += strlen(CSR_END);
    return end[strspn(end, "\r\n")] ? refuse(why, "there are bytes behind the CSR") : 0;
}

/* The request in the PEM, DER without bytes behind it; freed by the caller. */
static X509_REQ *parse_csr(const char *pem)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long length = 0;
    X509_REQ *request = NULL;
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (bio && PEM_read_bio(bio, &name, &header, &der, &length) == 1 && !*header) {
        const unsigned char *end = der;
        request = d2i_X509_REQ(NULL, &end, length);
        if (request && end != der + length) {
            X509_REQ_free(request);
            request = NULL;
        }
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    return request;
}

static int32_t check_ec(const EVP_PKEY *key, const char **why)
{
    char group[32], encoding[16] = "";
    size_t length;
    if (!EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, encoding,
            sizeof encoding, &length) ||
        strcmp(encoding, "named_curve") != 0 ||
        !EVP_PKEY_get_utf8_string_param(
            key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &length))
        return refuse(why, "the CSR's curve must be named");
    if (strcmp(group, "prime256v1") != 0 && strcmp(group, "secp384r1") != 0)
        return refuse(why, "the CSR's curve must be P-256 or P-384");
    return 0;
}

static int32_t check_rsa(const EVP_PKEY *key, const char **why)
{
    BIGNUM *exponent = NULL;
    int bits = EVP_PKEY_get_bits(key);
    if (bits < 2048 || bits > 4096)
        return refuse(why, "the CSR's RSA key must have 2048 to 4096 bits");
    int ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) &&
             BN_is_word(exponent, RSA_F4);
    BN_free(exponent);
    return ok ? 0 : refuse(why, "the CSR's RSA exponent must be 65537");
}

/* Before the key is used for anything: the checks bound what a verification can cost. */
static int32_t check_key(const EVP_PKEY *key, const char **why)
{
    if (EVP_PKEY_is_a(key, "EC"))
        return check_ec(key, why);
    if (EVP_PKEY_is_a(key, "RSA"))
        return check_rsa(key, why);
    return refuse(why, "the CSR's key must be EC or RSA");
}

static int32_t check_signature(X509_REQ *request, EVP_PKEY *key, const char **why)
{
    static const int ALLOWED[] = {NID_ecdsa_with_SHA256, NID_ecdsa_with_SHA384,
        NID_ecdsa_with_SHA512, NID_sha256WithRSAEncryption, NID_sha384WithRSAEncryption,
        NID_sha512WithRSAEncryption};
    int algorithm = X509_REQ_get_signature_nid(request);
    for (size_t i = 0; i < sizeof ALLOWED / sizeof ALLOWED[0]; i++)
        if (algorithm == ALLOWED[i])
            return X509_REQ_verify(request, key) == 1
                       ? 0
                       : refuse(why, "the CSR's signature does not verify");
    return refuse(why, "the CSR must be signed with SHA-256 or better");
}

static int32_t take_public_key(struct cvm_key *key, const EVP_PKEY *pkey)
{
    int length = i2d_PUBKEY(pkey, &key->spki);
    if (length <= 0)
        return -1;
    key->spki_length = (size_t)length;
    return cvm_sha256_hex(key->spki, key->spki_length, key->sha256);
}

int32_t cvm_key_from_csr(struct cvm_key *key, const char *pem, const char **why)
{
    *why = NULL;
    if (check_envelope(pem, why))
        return -1;
    ERR_clear_error();
    X509_REQ *request = parse_csr(pem);
    EVP_PKEY *pkey = request ? X509_REQ_get0_pubkey(request) : NULL;
    int32_t failed;
    if (!pkey)
        failed = refuse(why, "the CSR does not parse");
    else
        failed = check_key(pkey, why) || check_signature(request, pkey, why);
    if (!failed) {
        key->csr = strdup(pem);
        failed = !key->csr || take_public_key(key, pkey);
    }
    X509_REQ_free(request);
    ERR_clear_error();
    return failed ? -1 : 0;
}

/* --- Making a key ----------------------------------------------------------------------------- */

/* What was written to bio as a string of its own; NULL without memory. */
static char *text_of(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    return length > 0 ? strndup(bytes, (size_t)length) : NULL;
}

/* PKCS#8, or PKCS#1 for RSA: firmware that expects RSA expects that. */
static char *private_pem(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    int written = bio && (EVP_PKEY_is_a(pkey, "RSA")
                                 ? PEM_write_bio_PrivateKey_traditional(
                                       bio, pkey, NULL, NULL, 0, NULL, NULL)
                                 : PEM_write_bio_PKCS8PrivateKey(
                                       bio, pkey, NULL, NULL, 0, NULL, NULL));
    if (written)
        text = text_of(bio);
    BIO_free(bio);
    return text;
}

static char *public_pem(EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = bio && PEM_write_bio_PUBKEY(bio, pkey) ? text_of(bio) : NULL;
    BIO_free(bio);
    return text;
}

int32_t cvm_key_make(struct cvm_key *key, enum cvm_key_type type)
{
    EVP_PKEY *pkey = type == KEY_RSA2048 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    int32_t failed = !pkey || take_public_key(key, pkey);
    if (!failed) {
        key->private_pem = private_pem(pkey);
        key->public_pem = public_pem(pkey);
        failed = !key->private_pem || !key->public_pem;
    }
    EVP_PKEY_free(pkey);
    ERR_clear_error();
    return failed ? -1 : 0;
}

int32_t cvm_key_make_csr(struct cvm_key *key)
{
    BIO *in = BIO_new_mem_buf(key->private_pem, -1), *out = BIO_new(BIO_s_mem());
    EVP_PKEY *pkey = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
    X509_REQ *request = X509_REQ_new();
    if (out && pkey && request && X509_REQ_set_version(request, X509_REQ_VERSION_1) &&
        X509_REQ_set_pubkey(request, pkey) && X509_REQ_sign(request, pkey, EVP_sha256()) &&
        PEM_write_bio_X509_REQ(out, request))
        key->csr = text_of(out);
    X509_REQ_free(request);
    EVP_PKEY_free(pkey);
    BIO_free(out);
    BIO_free(in);
    ERR_clear_error();
    return key->csr ? 0 : -1;
}

static void wipe(char **text)
{
    if (*text)
        OPENSSL_cleanse(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void cvm_key_clear(struct cvm_key *key)
{
    OPENSSL_free(key->spki);
    key->spki = NULL;
    wipe(&key->csr);
    wipe(&key->private_pem);
    wipe(&key->public_pem);
}
