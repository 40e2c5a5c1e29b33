/*
 * Reading a CSR (RFC 2986). Its DER is walked here, and only the public key and the signature are
 * handed to OpenSSL: d2i_X509_REQ costs more than the verification, and decodes keys that nobody
 * wants before one can look at them.
 */
#include "csr.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "curve.h"
#include "key.h"

int32_t cvm_csr_refuse(const char **why, const char *text)
{
    *why = text;
    return -1;
}

/* --- DER -------------------------------------------------------------------------------------- */

/* version, subject, subjectPublicKeyInfo, attributes; broken writers leave empty attributes out */
static int32_t parse_info(struct cvm_span info, struct csr *csr)
{
    return cvm_der_take(&info, V_ASN1_INTEGER, V_ASN1_UNIVERSAL, NULL, NULL) ||
                   cvm_der_take(&info, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, NULL, NULL) ||
                   cvm_der_take(&info, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, &csr->spki, NULL) ||
                   (info.length && cvm_der_take(&info, 0, V_ASN1_CONTEXT_SPECIFIC, NULL, NULL)) ||
                   info.length
               ? -1
               : 0;
}

/* certificationRequestInfo, signatureAlgorithm, signature, and nothing behind it */
static int32_t parse(struct cvm_span der, struct csr *csr)
{
    struct cvm_span request, info;
    if (cvm_der_take(&der, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, NULL, &request) || der.length ||
        cvm_der_take(&request, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, &csr->info, &info) ||
        parse_info(info, csr))
        return -1;
    const unsigned char *at = request.bytes, *end = at + request.length;
    csr->signed_with = d2i_X509_ALGOR(NULL, &at, end - at);
    csr->signature = csr->signed_with ? d2i_ASN1_BIT_STRING(NULL, &at, end - at) : NULL;
    return csr->signature && at == end ? 0 : -1;
}

/* --- The public key --------------------------------------------------------------------------- */

/* A named curve, and a point that lies on it: explicit parameters are not even looked at. */
static EVP_PKEY *read_ec(
    const X509_ALGOR *algorithm, const ASN1_BIT_STRING *point, const char **why)
{
    int type;
    const void *parameter;
    X509_ALGOR_get0(NULL, &type, &parameter, algorithm);
    int nid = type == V_ASN1_OBJECT ? OBJ_obj2nid(parameter) : NID_undef;
    const EVP_PKEY *curve = NULL;
    if (type == V_ASN1_SEQUENCE)
        *why = "the CSR's curve must be given by its name, not by explicit parameters";
    else if (nid == NID_X9_62_prime256v1)
        curve = cvm_curve_key(CURVE_P256);
    else if (nid == NID_secp384r1)
        curve = cvm_curve_key(CURVE_P384);
    else
        *why = "the CSR's curve must be P-256 or P-384";
    EVP_PKEY *key = curve ? EVP_PKEY_new() : NULL;
    if (!key)
        return NULL;
    /* The point at infinity, one byte, verifies whatever anybody signs. */
    if (ASN1_STRING_length(point) <= 1 || EVP_PKEY_copy_parameters(key, curve) != 1 ||
        EVP_PKEY_set1_encoded_public_key(
            key, ASN1_STRING_get0_data(point), (size_t)ASN1_STRING_length(point)) != 1 ||
        /* The hash of a key must not depend on how its point was written. */
        EVP_PKEY_set_utf8_string_param(
            key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1) {
        *why = "the CSR's public key is not on its curve";
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

static EVP_PKEY *read_rsa(const struct cvm_span *spki, const char **why)
{
    const unsigned char *at = spki->bytes;
    BIGNUM *exponent = NULL;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, spki->length);
    int bits = key && EVP_PKEY_is_a(key, "RSA") ? EVP_PKEY_get_bits(key) : 0;
    if (bits < 2048 || bits > 4096)
        *why = "the CSR's RSA key must have 2048 to 4096 bits";
    else if (!EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &exponent) ||
             !BN_is_word(exponent, RSA_F4))
        *why = "the CSR's RSA exponent must be 65537";
    BN_free(exponent);
    if (!*why)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

/* What may be used is chosen before anything is decoded: that bounds what a CSR can cost. */
static EVP_PKEY *read_key(const struct cvm_span *spki, int *algorithm_nid, const char **why)
{
    struct cvm_span rest = *spki, content = {NULL, 0};
    const ASN1_OBJECT *object;
    EVP_PKEY *key = NULL;
    (void)cvm_der_take(
        &rest, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL, NULL, &content); /* it was one before */
    const unsigned char *at = content.bytes, *end = at + content.length;
    X509_ALGOR *algorithm = d2i_X509_ALGOR(NULL, &at, end - at);
    ASN1_BIT_STRING *bits = algorithm ? d2i_ASN1_BIT_STRING(NULL, &at, end - at) : NULL;
    if (bits && at == end) {
        X509_ALGOR_get0(&object, NULL, NULL, algorithm);
        *algorithm_nid = OBJ_obj2nid(object);
        if (*algorithm_nid == NID_X9_62_id_ecPublicKey)
            key = read_ec(algorithm, bits, why);
        else if (*algorithm_nid == NID_rsaEncryption)
            key = read_rsa(spki, why);
        else if (*algorithm_nid == NID_rsassaPss)
            *why = "the CSR's key is id-RSASSA-PSS: an RSA key must be rsaEncryption, which may "
                   "sign by "
                   "RSA-PSS too";
        else
            *why = "the CSR's key must be EC or RSA";
    } else {
        *why = "the CSR does not parse";
    }
    X509_ALGOR_free(algorithm);
    ASN1_BIT_STRING_free(bits);
    return key;
}

/* --- The API ---------------------------------------------------------------------------------- */

static int32_t read_der(struct cvm_key *key, struct cvm_span der, const char **why)
{
    struct csr csr = {.signature = NULL};
    int nid = NID_undef;
    EVP_PKEY *pkey = NULL;
    int32_t failed = parse(der, &csr);
    if (failed)
        (void)cvm_csr_refuse(why, "the CSR does not parse");
    else
        pkey = read_key(&csr.spki, &nid, why);
    failed =
        !pkey || cvm_csr_check_signature(&csr, pkey, nid, why) || cvm_key_set_public(key, pkey);
    EVP_PKEY_free(pkey);
    X509_ALGOR_free(csr.signed_with);
    ASN1_BIT_STRING_free(csr.signature);
    return failed ? -1 : 0;
}

/* A CSR is not to blame for that. Empties the thread's errors. */
static int lacked_memory(void)
{
    unsigned long error;
    while ((error = ERR_get_error()))
        if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
            return 1;
    return 0;
}

/* DER begins with a SEQUENCE whose length takes more than a byte: text never does. */
static int32_t is_der(const unsigned char *bytes, size_t length)
{
    return length > 1 && bytes[0] == (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED) && bytes[1] & 0x80;
}

/* The DER of what is PEM or DER already. 0, or -1 and why. */
static int32_t take_der(
    const char *csr, size_t size, unsigned char *der, long *length, const char **why)
{
    if (size > CVM_LONGEST_CSR)
        return cvm_csr_refuse(why, "the CSR is longer than 4096 bytes");
    if (!is_der((const unsigned char *)csr, size))
        return memchr(csr, 0, size) ? cvm_csr_refuse(why, "the CSR is neither PEM nor DER")
                                    : cvm_csr_from_pem(csr, der, length, why);
    if (size > CVM_LONGEST_CSR_DER)
        return cvm_csr_refuse(why, "the CSR is longer than 2973 bytes of DER");
    memcpy(der, csr, size);
    *length = (long)size;
    return 0;
}

int32_t cvm_key_from_csr(struct cvm_key *key, const char *csr, size_t size, const char **why)
{
    unsigned char der[CVM_LONGEST_CSR];
    long length = 0;
    *why = NULL;
    ERR_clear_error();
    int32_t failed = take_der(csr, size, der, &length, why) ||
                     read_der(key, (struct cvm_span){der, length}, why) ||
                     !(key->csr = cvm_csr_to_pem(der, length));
    if (failed && lacked_memory())
        *why = NULL;
    ERR_clear_error();
    return failed ? -1 : 0;
}
