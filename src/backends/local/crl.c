/* Building, signing and writing CRLs (RFC 5280 §5). */
#include "crl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/hex.h"

#define LONGEST_PATH 4096
/* A broker whose clock is a little slow must not refuse every device. */
#define BACKDATE_MS (INT64_C(3600) * 1000)

struct crl {
    X509_CRL *crl;
};

static const struct {
    const char *name;
    int code;
} REASONS[] = {{"keyCompromise", CRL_REASON_KEY_COMPROMISE},
    {"cACompromise", CRL_REASON_CA_COMPROMISE},
    {"affiliationChanged", CRL_REASON_AFFILIATION_CHANGED}, {"superseded", CRL_REASON_SUPERSEDED},
    {"cessationOfOperation", CRL_REASON_CESSATION_OF_OPERATION},
    {"certificateHold", CRL_REASON_CERTIFICATE_HOLD},
    {"privilegeWithdrawn", CRL_REASON_PRIVILEGE_WITHDRAWN},
    {"aACompromise", CRL_REASON_AA_COMPROMISE}};

/* --- Building --------------------------------------------------------------------------------- */

static int32_t set_times(X509_CRL *crl, int64_t this_update_ms, int64_t next_update_ms)
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

static int32_t set_number(X509_CRL *crl, int64_t value)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    int set = number && ASN1_INTEGER_set_int64(number, value) &&
              X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0);
    ASN1_INTEGER_free(number);
    return set ? 0 : -1;
}

static int32_t set_authority(X509_CRL *crl, X509 *issuer)
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
static X509_CRL *make_empty(X509 *issuer, int64_t number, int64_t this_update_ms, int64_t next_ms)
{
    X509_CRL *crl = X509_CRL_new();
    if (!crl || !X509_CRL_set_version(crl, X509_CRL_VERSION_2) ||
        !X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)) ||
        set_times(crl, this_update_ms, next_ms) || set_authority(crl, issuer) ||
        set_number(crl, number)) {
        X509_CRL_free(crl);
        return NULL;
    }
    return crl;
}

int64_t cvm_crl_end_ms(const struct ca *ca, int64_t validity_ms)
{
    int64_t now_ms = cvm_now_ms(), end_ms = cvm_asn1_time_ms(X509_get0_notAfter(ca->issuing));
    return validity_ms && now_ms + validity_ms < end_ms ? now_ms + validity_ms : end_ms;
}

struct crl *cvm_crl_new(const struct ca *ca, int64_t number, int64_t validity_ms)
{
    struct crl *crl = calloc(1, sizeof *crl);
    if (crl && !(crl->crl = make_empty(ca->issuing, number, cvm_now_ms() - BACKDATE_MS,
                     cvm_crl_end_ms(ca, validity_ms)))) {
        free(crl);
        crl = NULL;
    }
    return crl;
}

void cvm_crl_free(struct crl *crl)
{
    if (crl)
        X509_CRL_free(crl->crl);
    free(crl);
}

/* Unspecified is said by leaving it out (RFC 5280 §5.3.1). */
static int32_t set_reason(X509_REVOKED *revoked, const char *reason)
{
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++) {
        if (strcmp(reason, REASONS[i].name) != 0)
            continue;
        ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();
        int set = code && ASN1_ENUMERATED_set(code, REASONS[i].code) &&
                  X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, code, 0, 0);
        ASN1_ENUMERATED_free(code);
        return set ? 0 : -1;
    }
    return 0;
}

int32_t cvm_crl_add(
    struct crl *crl, const char *serial_hex, int64_t revoked_at_ms, const char *reason)
{
    X509_REVOKED *revoked = X509_REVOKED_new();
    ASN1_TIME *date = ASN1_TIME_new();
    BIGNUM *number = NULL;
    ASN1_INTEGER *serial = NULL;
    int32_t failed = !revoked || !date || cvm_asn1_time_set(date, revoked_at_ms) ||
                     !BN_hex2bn(&number, serial_hex) ||
                     !(serial = BN_to_ASN1_INTEGER(number, NULL)) ||
                     !X509_REVOKED_set_serialNumber(revoked, serial) ||
                     !X509_REVOKED_set_revocationDate(revoked, date) ||
                     set_reason(revoked, reason) || !X509_CRL_add0_revoked(crl->crl, revoked);
    if (failed)
        X509_REVOKED_free(revoked);
    ASN1_INTEGER_free(serial);
    BN_free(number);
    ASN1_TIME_free(date);
    return failed ? -1 : 0;
}

/* --- Signing ---------------------------------------------------------------------------------- */

/* Signs; PEM, with the text behind it. */
static char *sign(X509_CRL *crl, EVP_PKEY *key, const char *behind)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (bio && X509_CRL_sort(crl) && X509_CRL_sign(crl, key, EVP_sha256()) > 0 &&
        PEM_write_bio_X509_CRL(bio, crl) && BIO_puts(bio, behind) >= 0)
        text = cvm_ca_text_of(bio);
    BIO_free(bio);
    ERR_clear_error();
    return text;
}

char *cvm_crl_sign(struct crl *crl, const struct ca *ca)
{
    return sign(crl->crl, ca->key, ca->root_crl_pem);
}

char *cvm_crl_of_root(X509 *root, EVP_PKEY *key)
{
    X509_CRL *crl = make_empty(root, 1, cvm_asn1_time_ms(X509_get0_notBefore(root)),
        cvm_asn1_time_ms(X509_get0_notAfter(root)));
    char *text = crl ? sign(crl, key, "") : NULL;
    X509_CRL_free(crl);
    return text;
}

/* --- The file --------------------------------------------------------------------------------- */

/* The next CRL in bio, if it is the issuer's; NULL if not. */
static X509_CRL *next_of(BIO *bio, X509 *issuer)
{
    X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
    if (crl && (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(issuer)) != 0 ||
                   X509_CRL_verify(crl, X509_get0_pubkey(issuer)) != 1)) {
        X509_CRL_free(crl);
        crl = NULL;
    }
    return crl;
}

/* The issuing CA's CRL, if bio holds it and then the root's; NULL if not. mosquitto accepts revoked
 * devices when it can't read the file: nothing less will do. */
static X509_CRL *parse(const struct ca *ca, BIO *bio)
{
    X509_CRL *crl = bio ? next_of(bio, ca->issuing) : NULL;
    X509_CRL *root_crl = crl ? next_of(bio, ca->root) : NULL;
    if (!root_crl) {
        X509_CRL_free(crl);
        crl = NULL;
    }
    X509_CRL_free(root_crl);
    ERR_clear_error();
    return crl;
}

int32_t cvm_crl_write(
    const struct ca *ca, const char *folder, const char *pem, char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509_CRL *crl = parse(ca, bio);
    BIO_free(bio);
    if (!crl) {
        (void)snprintf(error, error_size,
            "what was made can't be verified (is root.crl.pem broken?); the old one stays");
        return -1;
    }
    X509_CRL_free(crl);
    (void)snprintf(path, sizeof path, "%s/crl.pem", folder);
    return cvm_files_replace(path, pem, strlen(pem), 0644, (gid_t)-1, error, error_size);
}

/* --- What it lists ---------------------------------------------------------------------------- */

/* The reason's name; NULL for one that full CRLs don't have. */
static const char *reason_of(const X509_REVOKED *revoked)
{
    ASN1_ENUMERATED *value = X509_REVOKED_get_ext_d2i(revoked, NID_crl_reason, NULL, NULL);
    long code = value ? ASN1_ENUMERATED_get(value) : CRL_REASON_UNSPECIFIED;
    ASN1_ENUMERATED_free(value);
    if (code == CRL_REASON_REMOVE_FROM_CRL)
        return NULL;
    for (size_t i = 0; i < sizeof REASONS / sizeof REASONS[0]; i++)
        if (REASONS[i].code == code)
            return REASONS[i].name;
    return "";
}

static int32_t fill_listed(
    const struct ca *ca, const X509_REVOKED *revoked, struct cvm_listed *entry)
{
    const ASN1_INTEGER *serial = X509_REVOKED_get0_serialNumber(revoked);
    const char *reason = reason_of(revoked);
    int length = ASN1_STRING_length(serial);
    if (!reason || length < 0 || (size_t)length * 2 >= sizeof entry->serial)
        return -1;
    cvm_hex(ASN1_STRING_get0_data(serial), (size_t)length, entry->serial);
    (void)snprintf(entry->issuer, sizeof entry->issuer, "%s", ca->key_id);
    (void)snprintf(entry->reason, sizeof entry->reason, "%s", reason);
    entry->revoked_at_ms = cvm_asn1_time_ms(X509_REVOKED_get0_revocationDate(revoked));
    entry->not_after_ms = cvm_asn1_time_ms(X509_get0_notAfter(ca->issuing));
    return 0;
}

int32_t cvm_crl_each(const struct ca *ca, const char *folder,
    int32_t (*listed)(void *argument, const struct cvm_listed *entry), void *argument)
{
    char path[LONGEST_PATH];
    (void)snprintf(path, sizeof path, "%s/crl.pem", folder);
    BIO *bio = BIO_new_file(path, "re");
    X509_CRL *crl = parse(ca, bio);
    int32_t failed = crl ? 0 : -1;
    STACK_OF(X509_REVOKED) *all = crl ? X509_CRL_get_REVOKED(crl) : NULL;
    for (int i = 0; !failed && i < sk_X509_REVOKED_num(all); i++) {
        struct cvm_listed entry;
        if (!fill_listed(ca, sk_X509_REVOKED_value(all, i), &entry))
            failed = listed(argument, &entry);
    }
    X509_CRL_free(crl);
    BIO_free(bio);
    ERR_clear_error();
    return failed;
}

int64_t cvm_crl_read(
    const struct ca *ca, const char *folder, int64_t *this_update_ms, int64_t *next_update_ms)
{
    char path[LONGEST_PATH];
    int64_t number = 0;
    *this_update_ms = *next_update_ms = 0;
    (void)snprintf(path, sizeof path, "%s/crl.pem", folder);
    BIO *bio = BIO_new_file(path, "re");
    X509_CRL *crl = parse(ca, bio);
    ASN1_INTEGER *value = crl ? X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL) : NULL;
    if (value && ASN1_INTEGER_get_int64(&number, value)) {
        *this_update_ms = cvm_asn1_time_ms(X509_CRL_get0_lastUpdate(crl));
        *next_update_ms = cvm_asn1_time_ms(X509_CRL_get0_nextUpdate(crl));
    }
    ASN1_INTEGER_free(value);
    X509_CRL_free(crl);
    BIO_free(bio);
    ERR_clear_error();
    return number;
}
