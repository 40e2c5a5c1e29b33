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

static char *p256_private_pem(const struct cvm_key *key, const EVP_PKEY *pkey)
{
    uint8_t der[P256_PKCS8_SIZE], *at = der;
    BIGNUM *scalar = NULL;
    char *text = NULL;
    memcpy(at, P256_PKCS8_HEAD, sizeof P256_PKCS8_HEAD);
    at += sizeof P256_PKCS8_HEAD;
    if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &scalar) &&
        BN_bn2binpad(scalar, at, SCALAR_SIZE) == SCALAR_SIZE) {
        at += SCALAR_SIZE;
        memcpy(at, P256_PKCS8_MIDDLE, sizeof P256_PKCS8_MIDDLE);
        memcpy(at + sizeof P256_PKCS8_MIDDLE, key->spki + sizeof P256_SPKI, POINT_SIZE);
        text = pem_of("PRIVATE KEY", der, sizeof der);
    }
    BN_clear_free(scalar);
    OPENSSL_cleanse(der, sizeof der);
    return text;
}

/* PKCS#1: firmware that expects RSA expects that. */
static char *rsa_private_pem(const EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = bio && PEM_write_bio_PrivateKey_traditional(bio, pkey, NULL, NULL, 0, NULL, NULL)
                     ? text_of(bio)
                     : NULL;
    BIO_free(bio);
    return text;
}

int32_t cvm_key_make(struct cvm_key *key, enum cvm_key_type type)
{
    EVP_PKEY *pkey = type == KEY_RSA2048 ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    int32_t failed = !pkey || cvm_key_set_public(key, pkey);
    if (!failed) {
        key->private_pem =
            type == KEY_RSA2048 ? rsa_private_pem(pkey) : p256_private_pem(key, pkey);
        key->public_pem = pem_of("PUBLIC KEY", key->spki, key->spki_length);
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
    cvm_secret_free_text(*text);
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
