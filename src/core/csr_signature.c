/* A CSR's signature: how it says that it is made, and whether it verifies. */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "csr.h"

#define LONGEST_SALT 512 /* as many bytes as a key of 4096 bits has */

struct scheme {
    const EVP_MD *digest;
    int is_pss, salt_length;
};

/* A digest that is good enough; NULL, and why. */
static const EVP_MD *digest_of(int nid, const char **why)
{
    switch (nid) {
    case NID_sha256:
        return EVP_sha256();
    case NID_sha384:
        return EVP_sha384();
    case NID_sha512:
        return EVP_sha512();
    default:
        *why = "the CSR's digest must be SHA-256, SHA-384 or SHA-512";
        return NULL;
    }
}

static int nid_of(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object = NULL;
    if (algorithm)
        X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    return object ? OBJ_obj2nid(object) : NID_undef;
}

/* The SEQUENCE that an algorithm has as its parameters, or an empty one. */
static struct cvm_span parameters_of(const X509_ALGOR *algorithm)
{
    int type = V_ASN1_UNDEF;
    const void *value = NULL;
    if (algorithm)
        X509_ALGOR_get0(NULL, &type, &value, algorithm);
    if (type != V_ASN1_SEQUENCE)
        return (struct cvm_span){NULL, 0};
    return (struct cvm_span){ASN1_STRING_get0_data(value), ASN1_STRING_length(value)};
}

/* The digest of a mask generation: MGF1 is the only one there is (RFC 8017 A.2.1). */
static int mask_nid(const X509_ALGOR *mask)
{
    struct cvm_span inner = parameters_of(mask);
    X509_ALGOR *digest = nid_of(mask) == NID_mgf1 && inner.length
                             ? d2i_X509_ALGOR(NULL, &inner.bytes, inner.length)
                             : NULL;
    int nid = nid_of(digest);
    X509_ALGOR_free(digest);
    return nid;
}

/* RSASSA-PSS-params (RFC 8017 A.2.3). What is left out is SHA-1, and a salt of 20 bytes. */
static int32_t read_pss(const X509_ALGOR *algorithm, struct scheme *scheme, const char **why)
{
    struct cvm_span encoded = parameters_of(algorithm);
    RSA_PSS_PARAMS *pss =
        encoded.length ? d2i_RSA_PSS_PARAMS(NULL, &encoded.bytes, encoded.length) : NULL;
    if (!pss)
        return cvm_csr_refuse(why, "the CSR's RSA-PSS parameters do not parse");
    int nid = nid_of(pss->hashAlgorithm);
    scheme->is_pss = 1;
    scheme->digest = digest_of(nid, why);
    if (scheme->digest && mask_nid(pss->maskGenAlgorithm) != nid)
        *why = "the CSR's RSA-PSS parameters must have MGF1 by the same digest";
    long salt = pss->saltLength ? ASN1_INTEGER_get(pss->saltLength) : 20;
    scheme->salt_length = (int)salt;
    if (!*why && (salt < 0 || salt > LONGEST_SALT ||
                     (pss->trailerField && ASN1_INTEGER_get(pss->trailerField) != 1)))
        *why = "the CSR's RSA-PSS parameters have a salt or a trailer that is not valid";
    RSA_PSS_PARAMS_free(pss);
    return *why ? -1 : 0;
}

/* How the CSR says that it is signed: by its own key's kind, and well enough. */
static int32_t read_scheme(
    const X509_ALGOR *algorithm, int key_nid, struct scheme *scheme, const char **why)
{
    int digest_nid, signing_nid, nid = nid_of(algorithm);
    *scheme = (struct scheme){NULL, 0, 0};
    if (nid == NID_rsassaPss && key_nid == NID_rsaEncryption)
        return read_pss(algorithm, scheme, why);
    if (!OBJ_find_sigid_algs(nid, &digest_nid, &signing_nid) || signing_nid != key_nid)
        return cvm_csr_refuse(
            why, "the CSR's signature algorithm is not one of its key's that are known");
    scheme->digest = digest_of(digest_nid, why);
    return scheme->digest ? 0 : -1;
}

static int verifies(const struct csr *csr, EVP_PKEY *key, const struct scheme *scheme)
{
    EVP_PKEY_CTX *signing;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int is_good =
        context && EVP_DigestVerifyInit(context, &signing, scheme->digest, NULL, key) == 1;
    if (is_good && scheme->is_pss)
        is_good = EVP_PKEY_CTX_set_rsa_padding(signing, RSA_PKCS1_PSS_PADDING) > 0 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(signing, scheme->salt_length) > 0;
    is_good = is_good && EVP_DigestVerify(context, ASN1_STRING_get0_data(csr->signature),
                             (size_t)ASN1_STRING_length(csr->signature), csr->info.bytes,
                             (size_t)csr->info.length) == 1;
    EVP_MD_CTX_free(context);
    return is_good;
}

/* Hardware gives r and s as plain bytes; whoever forgets to encode them should be told. */
static int32_t is_ecdsa_value(const ASN1_BIT_STRING *signature)
{
    const unsigned char *at = ASN1_STRING_get0_data(signature);
    ECDSA_SIG *value = d2i_ECDSA_SIG(NULL, &at, ASN1_STRING_length(signature));
    ECDSA_SIG_free(value);
    return value != NULL;
}

int32_t cvm_csr_check_signature(const struct csr *csr, EVP_PKEY *key, int key_nid, const char **why)
{
    struct scheme scheme;
    if (read_scheme(csr->signed_with, key_nid, &scheme, why))
        return -1;
    if (verifies(csr, key, &scheme))
        return 0;
    return cvm_csr_refuse(
        why, key_nid == NID_X9_62_id_ecPublicKey && !is_ecdsa_value(csr->signature)
                 ? "the CSR's signature must be DER: r and s as positive INTEGERs"
                 : "the CSR's signature does not verify");
}
