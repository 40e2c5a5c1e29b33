/* The key of a device: its public part in the one form that is hashed and certified, and keys that
 * are made here. Reading CSRs is in csr.c. */
#include "key.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/secret.h"
#include "curve.h"

/*
 * OpenSSL 3.0's encoders need 110 to 145 µs for each of these, five times what making the key
 * takes. For P-256 all but the numbers is constant: SubjectPublicKeyInfo (RFC 5480 §2) is a prefix
 * and the uncompressed point, PKCS#8 (RFC 5958) around an ECPrivateKey (RFC 5915) has two holes.
 */
#define POINT_SIZE  65
#define SCALAR_SIZE 32
#define P256_PKCS8_SIZE                                                                            \
    (sizeof P256_PKCS8_HEAD + SCALAR_SIZE + sizeof P256_PKCS8_MIDDLE + POINT_SIZE)

static const uint8_t P256_SPKI[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};
static const uint8_t P256_PKCS8_HEAD[] = {0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06,
    0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20};
static const uint8_t P256_PKCS8_MIDDLE[] = {0xa1, 0x44, 0x03, 0x42, 0x00};

/* So is a PKCS#10 request (RFC 2986) without subject and attributes: what is signed has one hole,
 * for the SubjectPublicKeyInfo, and the signature comes behind its algorithm (RFC 5758 §3.2). */
static const uint8_t P256_REQUEST_HEAD[] = {0x30, 0x62, 0x02, 0x01, 0x00, 0x30, 0x00};
static const uint8_t P256_REQUEST_TAIL[] = {0xa0, 0x00};
static const uint8_t ECDSA_WITH_SHA256[] = {
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
#define P256_REQUEST_SIZE                                                                          \
    (sizeof P256_REQUEST_HEAD + sizeof P256_SPKI + POINT_SIZE + sizeof P256_REQUEST_TAIL)
#define LONGEST_SIGNATURE 72
#define LONGEST_P256_CSR  (3 + P256_REQUEST_SIZE + sizeof ECDSA_WITH_SHA256 + 3 + LONGEST_SIGNATURE)

/* --- The public part -------------------------------------------------------------------------- */

static int32_t is_p256(const EVP_PKEY *pkey)
{
    return EVP_PKEY_is_a(pkey, "EC") && EVP_PKEY_get_bits(pkey) == 256;
}

/* A key of P-256 that came with a compressed point gets the same form. */
static int32_t get_point(const EVP_PKEY *pkey, uint8_t point[POINT_SIZE])
{
    unsigned char *encoded = NULL;
    size_t length = EVP_PKEY_get1_encoded_public_key((EVP_PKEY *)(uintptr_t)pkey, &encoded);
    int32_t failed = length != POINT_SIZE || encoded[0] != POINT_CONVERSION_UNCOMPRESSED;
    if (!failed)
        memcpy(point, encoded, POINT_SIZE);
    OPENSSL_free(encoded);
    return failed ? -1 : 0;
}

static int32_t set_p256_spki(struct cvm_key *key, const EVP_PKEY *pkey)
{
    key->spki_length = sizeof P256_SPKI + POINT_SIZE;
    key->spki = OPENSSL_malloc(key->spki_length);
    if (!key->spki)
        return -1;
    memcpy(key->spki, P256_SPKI, sizeof P256_SPKI);
    return get_point(pkey, key->spki + sizeof P256_SPKI);
}

static int32_t set_any_spki(struct cvm_key *key, const EVP_PKEY *pkey)
{
    int length = i2d_PUBKEY(pkey, &key->spki);
    key->spki_length = length > 0 ? (size_t)length : 0;
    return length > 0 ? 0 : -1;
}

int32_t cvm_key_set_public(struct cvm_key *key, const EVP_PKEY *pkey)
{
    return (is_p256(pkey) ? set_p256_spki(key, pkey) : set_any_spki(key, pkey)) ||
                   cvm_sha256_hex(key->spki, key->spki_length, key->sha256)
               ? -1
               : 0;
}

/* --- Making a key ----------------------------------------------------------------------------- */

/* What was written to bio as a string of its own; NULL without memory. */
static char *text_of(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    return length > 0 ? strndup(bytes, (size_t)length) : NULL;
}

static char *pem_of(const char *name, const uint8_t *der, size_t length)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = bio && PEM_write_bio(bio, name, "", der, (long)length) > 0 ? text_of(bio) : NULL;
    BIO_free(bio);
    return text;
}

static uint8_t *append(uint8_t *at, const uint8_t *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return at + length;
}

static int32_t set_p256_private(struct cvm_key *key, const EVP_PKEY *pkey)
{
    BIGNUM *scalar = NULL;
    key->private_length = P256_PKCS8_SIZE;
    key->private_der = OPENSSL_malloc(P256_PKCS8_SIZE);
    int32_t failed =
        !key->private_der || !EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &scalar);
    if (!failed) {
        uint8_t *at = append(key->private_der, P256_PKCS8_HEAD, sizeof P256_PKCS8_HEAD);
        failed = BN_bn2binpad(scalar, at, SCALAR_SIZE) != SCALAR_SIZE;
        at = append(at + SCALAR_SIZE, P256_PKCS8_MIDDLE, sizeof P256_PKCS8_MIDDLE);
        (void)append(at, key->spki + sizeof P256_SPKI, POINT_SIZE);
    }
    BN_clear_free(scalar);
    return failed ? -1 : 0;
}

/* PKCS#1: firmware that expects RSA expects that. */
static int32_t set_rsa_private(struct cvm_key *key, const EVP_PKEY *pkey)
{
    int length = i2d_PrivateKey(pkey, &key->private_der);
    key->private_length = length > 0 ? (size_t)length : 0;
    return length > 0 ? 0 : -1;
}

int32_t cvm_key_make(struct cvm_key *key, enum cvm_key_type type)
{
    EVP_PKEY *pkey = type == KEY_RSA2048 ? EVP_RSA_gen(2048) : cvm_curve_make_key(CURVE_P256);
    int32_t failed = !pkey || cvm_key_set_public(key, pkey);
    if (!failed) {
        failed = type == KEY_RSA2048 ? set_rsa_private(key, pkey) : set_p256_private(key, pkey);
    }
    if (!failed) {
        key->private_pem = pem_of(type == KEY_RSA2048 ? "RSA PRIVATE KEY" : "PRIVATE KEY",
            key->private_der, key->private_length);
        key->public_pem = pem_of("PUBLIC KEY", key->spki, key->spki_length);
        failed = !key->private_pem || !key->public_pem;
    }
    EVP_PKEY_free(key->pkey);
    key->pkey = pkey;
    ERR_clear_error();
    return failed ? -1 : 0;
}

/* --- A request for one that was made ---------------------------------------------------------- */

/* The signature of what is signed, in DER; its length, or 0. */
static size_t sign_p256(
    EVP_PKEY *pkey, const uint8_t *bytes, size_t length, uint8_t signature[LONGEST_SIGNATURE])
{
    size_t size = LONGEST_SIGNATURE;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int32_t is_signed = context &&
                        EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, pkey) > 0 &&
                        EVP_DigestSign(context, signature, &size, bytes, length) > 0;
    EVP_MD_CTX_free(context);
    return is_signed ? size : 0;
}

static char *p256_csr(const struct cvm_key *key)
{
    uint8_t request[P256_REQUEST_SIZE], signature[LONGEST_SIGNATURE], der[LONGEST_P256_CSR];
    uint8_t *at = append(request, P256_REQUEST_HEAD, sizeof P256_REQUEST_HEAD);
    at = append(at, key->spki, key->spki_length);
    (void)append(at, P256_REQUEST_TAIL, sizeof P256_REQUEST_TAIL);
    size_t length = sign_p256(key->pkey, request, sizeof request, signature);
    size_t content = sizeof request + sizeof ECDSA_WITH_SHA256 + 3 + length;
    if (!length || content < 0x80) /* whose length would have another form; a signature is longer */
        return NULL;
    const uint8_t head[] = {0x30, 0x81, (uint8_t)content},
                  bits[] = {0x03, (uint8_t)(length + 1), 0x00};
    at = append(der, head, sizeof head);
    at = append(at, request, sizeof request);
    at = append(at, ECDSA_WITH_SHA256, sizeof ECDSA_WITH_SHA256);
    at = append(at, bits, sizeof bits);
    at = append(at, signature, length);
    return pem_of("CERTIFICATE REQUEST", der, (size_t)(at - der));
}

static char *any_csr(const struct cvm_key *key)
{
    BIO *out = BIO_new(BIO_s_mem());
    X509_REQ *request = X509_REQ_new();
    char *text = NULL;
    if (out && request && X509_REQ_set_version(request, X509_REQ_VERSION_1) &&
        X509_REQ_set_pubkey(request, key->pkey) &&
        X509_REQ_sign(request, key->pkey, EVP_sha256()) && PEM_write_bio_X509_REQ(out, request))
        text = text_of(out);
    X509_REQ_free(request);
    BIO_free(out);
    return text;
}

int32_t cvm_key_make_csr(struct cvm_key *key)
{
    if (key->pkey && !key->csr)
        key->csr = is_p256(key->pkey) ? p256_csr(key) : any_csr(key);
    ERR_clear_error();
    return key->csr ? 0 : -1;
}

static void wipe(char **text)
{
    cvm_secret_free_text(*text);
    *text = NULL;
}

void cvm_key_clear(struct cvm_key *key)
{
    OPENSSL_free(key->spki);
    key->spki = NULL;
    EVP_PKEY_free(key->pkey);
    key->pkey = NULL;
    OPENSSL_clear_free(key->private_der, key->private_length);
    key->private_der = NULL;
    wipe(&key->csr);
    wipe(&key->private_pem);
    wipe(&key->public_pem);
}
