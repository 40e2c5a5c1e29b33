/* CRLs by OpenSSL's API. */
#include "crl.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/crypto.h"

/* --- Building --------------------------------------------------------------------------------- */

static int32_t crl_set_times(X509_CRL *crl, int64_t this_update_ms, int64_t next_update_ms)
{
    ASN1_TIME *this_update = ASN1_TIME_new(), *next_update = ASN1_TIME_new();
    int set = this_update && next_update && !cvm_asn1_time_set(this_update, this_update_ms) &&
              !cvm_asn1_time_set(next_update, next_update_ms) &&
              X509_CRL_set1_lastUpdate(crl, this_update) &&
              X509_CRL_set1_nextUpdate(crl, next_update);
    ASN1_TIME_free(this_update);
    ASN1_TIME_free(next_update);
    return set ? 0 : -1;
}

static int32_t crl_set_number(X509_CRL *crl, int64_t value)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    int set = number && ASN1_INTEGER_set_int64(number, value) &&
              X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0);
    ASN1_INTEGER_free(number);
    return set ? 0 : -1;
}

static int32_t crl_set_authority(X509_CRL *crl, X509 *issuer)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, NULL, NULL, crl, 0);
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, &context, NID_authority_key_identifier, "keyid:always");
    int set = extension && X509_CRL_add_ext(crl, extension, -1);
    X509_EXTENSION_free(extension);
    return set ? 0 : -1;
}

/* An unsigned CRL that lists nothing. */
static X509_CRL *crl_make_empty(
    X509 *issuer, int64_t number, int64_t this_update_ms, int64_t next_ms)
{
    X509_CRL *crl = X509_CRL_new();
    if (!crl || !X509_CRL_set_version(crl, X509_CRL_VERSION_2) ||
        !X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)) ||
        crl_set_times(crl, this_update_ms, next_ms) || crl_set_authority(crl, issuer) ||
        crl_set_number(crl, number)) {
        X509_CRL_free(crl);
        return NULL;
    }
    return crl;
}

int64_t cvm_crl_end_ms(const struct ca_issuer *issuer, int64_t now_ms, int64_t validity_ms)
{
    int64_t end_ms = cvm_issuer_end_ms(issuer);
    return validity_ms && now_ms + validity_ms < end_ms ? now_ms + validity_ms : end_ms;
}

/* Unspecified is said by leaving it out (RFC 5280 §5.3.1). */
static int32_t crl_set_reason(X509_REVOKED *revoked, int8_t reason)
{
    if (reason == CRL_REASON_UNSPECIFIED)
        return 0;
    ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();
    int set = code && ASN1_ENUMERATED_set(code, reason) &&
              X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, code, 0, 0);
    ASN1_ENUMERATED_free(code);
    return set ? 0 : -1;
}

static int32_t crl_add(X509_CRL *crl, const struct crl_entry *entry)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    ASN1_TIME *date = ASN1_TIME_new();
    BIGNUM *number = BN_bin2bn(entry->serial, entry->length, NULL);
    ASN1_INTEGER *serial = number ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
    int32_t failed = !revoked || !date || cvm_asn1_time_set(date, entry->revoked_at_ms) ||
                     !serial || !X509_REVOKED_set_serialNumber(revoked, serial) ||
                     !X509_REVOKED_set_revocationDate(revoked, date) ||
                     crl_set_reason(revoked, entry->reason) || !X509_CRL_add0_revoked(crl, revoked);
    if (failed)
        X509_REVOKED_free(revoked);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    ASN1_TIME_free(date);
    return failed ? -1 : 0;
}

static int32_t crl_sign(X509_CRL *crl, EVP_PKEY *key)
{
    return X509_CRL_sort(crl) && X509_CRL_sign(crl, key, EVP_sha256()) > 0 ? 0 : -1;
}

struct crl *cvm_crl_make(const struct ca_issuer *issuer, int64_t number, int64_t now_ms,
    int64_t next_update_ms, const struct crl_list *list)
{
    X509_CRL *crl =
        crl_make_empty(issuer->certificate, number, now_ms - CRL_BACKDATE_MS, next_update_ms);
    int32_t failed = !crl;
    for (size_t i = 0; !failed && i < list->count; i++)
        failed = crl_add(crl, &list->entries[i]);
    if (failed || crl_sign(crl, issuer->key)) {
        X509_CRL_free(crl);
        ERR_clear_error();
        return NULL;
    }
    return cvm_crl_of(crl, issuer->certificate);
}

static int32_t crl_set_url(X509_CRL *crl, const char *url)
{
    ISSUING_DIST_POINT *point = ISSUING_DIST_POINT_new();
    if (point)
        point->distpoint = cvm_ca_point_name(url);
    int set = point && point->distpoint &&
              X509_CRL_add1_ext_i2d(crl, NID_issuing_distribution_point, point, 1, 0);
    ISSUING_DIST_POINT_free(point);
    return set ? 0 : -1;
}

struct crl *cvm_crl_at_url(const struct ca_issuer *issuer, const struct crl *crl, const char *url)
{
    X509_CRL *copy = X509_CRL_dup(crl->x509);
    if (!copy || crl_set_url(copy, url) || crl_sign(copy, issuer->key)) {
        X509_CRL_free(copy);
        ERR_clear_error();
        return NULL;
    }
    return cvm_crl_of(copy, issuer->certificate);
}

char *cvm_crl_of_root(X509 *root, EVP_PKEY *key)
{
    X509_CRL *crl = crl_make_empty(root, FIRST_CRL, cvm_asn1_time_ms(X509_get0_notBefore(root)),
        cvm_asn1_time_ms(X509_get0_notAfter(root)));
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (crl && bio && !crl_sign(crl, key) && PEM_write_bio_X509_CRL(bio, crl))
        text = cvm_ca_text_of(bio);
    BIO_free(bio);
    X509_CRL_free(crl);
    ERR_clear_error();
    return text;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* 0, or -1 if it has no number, or there is no memory. */
static int32_t crl_read_facts(struct crl *crl)
{
    int length = i2d_X509_CRL(crl->x509, &crl->der);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl->x509, NID_crl_number, NULL, NULL);
    int32_t failed = length <= 0 || !number || !ASN1_INTEGER_get_int64(&crl->number, number) ||
                     crl->number < FIRST_CRL ||
                     cvm_sha256_hex(crl->der, (size_t)length, crl->sha256);
    crl->der_length = length > 0 ? (size_t)length : 0;
    crl->this_update_ms = cvm_asn1_time_ms(X509_CRL_get0_lastUpdate(crl->x509));
    crl->next_update_ms = cvm_asn1_time_ms(X509_CRL_get0_nextUpdate(crl->x509));
    ASN1_INTEGER_free(number);
    return failed ? -1 : 0;
}

/* Issuers of one name are told apart by the key that has signed. */
struct crl *cvm_crl_of(X509_CRL *x509, X509 *issuer)
{
    struct crl *crl = calloc(1, sizeof *crl);
    if (!crl || X509_NAME_cmp(X509_CRL_get_issuer(x509), X509_get_subject_name(issuer)) != 0 ||
        X509_CRL_verify(x509, X509_get0_pubkey(issuer)) != 1) {
        X509_CRL_free(x509);
        free(crl);
        ERR_clear_error();
        return NULL;
    }
    crl->x509 = x509;
    if (crl_read_facts(crl)) {
        cvm_crl_free(crl);
        crl = NULL;
    }
    ERR_clear_error();
    return crl;
}

struct crl *cvm_crl_parse(const uint8_t *der, size_t length, X509 *issuer)
{
    const unsigned char *at = der;
    X509_CRL *x509 = d2i_X509_CRL(NULL, &at, (long)length);
    if (x509 && at != der + length) {
        X509_CRL_free(x509);
        x509 = NULL;
    }
    ERR_clear_error();
    return x509 ? cvm_crl_of(x509, issuer) : NULL;
}

void cvm_crl_free(struct crl *crl)
{
    if (crl) {
        X509_CRL_free(crl->x509);
        OPENSSL_free(crl->der);
    }
    free(crl);
}

/* --- What it lists ---------------------------------------------------------------------------- */

int32_t cvm_crl_is_empty(const struct crl *crl)
{
    return sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl->x509)) <= 0;
}

/* 0, or -1 for what full CRLs don't have (RFC 5280 §5.3.1), or a serial that is too long. */
static int32_t crl_read_entry(const X509_REVOKED *revoked, struct crl_entry *entry)
{
    const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(revoked);
    const uint8_t *bytes = ASN1_STRING_get0_data(serial);
    int length = ASN1_STRING_length(serial);
    ASN1_ENUMERATED *value = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    long reason = value ? ASN1_ENUMERATED_get(value) : CRL_REASON_UNSPECIFIED;
    ASN1_ENUMERATED_free(value);
    while (length > 0 && !*bytes) {
        bytes++;
        length--;
    }
    if (length <= 0 || length > SERIAL_SIZE || reason < CRL_REASON_UNSPECIFIED ||
        reason > CRL_REASON_AA_COMPROMISE || reason == CRL_REASON_REMOVE_FROM_CRL)
        return -1;
    *entry = (struct crl_entry){.length = (uint8_t)length, .reason = (int8_t)reason};
    memcpy(entry->serial, bytes, (size_t)length);
    entry->revoked_at_ms = cvm_asn1_time_ms(X509_REVOKED_get0_revocationDate(revoked));
    return 0;
}

int32_t cvm_crl_entries(const struct crl *crl, struct crl_list *list)
{
    STACK_OF(X509_REVOKED) *all = X509_CRL_get_REVOKED(crl->x509);
    int32_t failed = 0;
    for (int i = 0; !failed && i < sk_X509_REVOKED_num(all); i++) {
        struct crl_entry entry;
        failed =
            crl_read_entry(sk_X509_REVOKED_value(all, i), &entry) || cvm_crl_list_add(list, &entry);
    }
    cvm_crl_list_sort(list);
    ERR_clear_error();
    return failed ? -1 : 0;
}
