/* Reading the CA, and signing devices' certificates by OpenSSL's X509 API. */
#include "ca.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/compat.h"
#include "base/crypto.h"
#include "base/files.h"
#include "base/hex.h"
#include "base/pem.h"
#include "base/secret.h"
#include "local.h"

#define LONGEST_PATH 4096
#define SERIAL_BYTES 16
#define LONGEST_URL  512

/* --- Small things ----------------------------------------------------------------------------- */

int32_t cvm_ca_random_serial(ASN1_INTEGER *serial)
{
    uint8_t bytes[SERIAL_BYTES];
    BIGNUM *number = NULL;
    int32_t failed = RAND_bytes(bytes, sizeof bytes) != 1 ||
                     !(number = BN_bin2bn(bytes, sizeof bytes, NULL)) ||
                     !BN_to_ASN1_INTEGER(number, serial);
    BN_free(number);
    return failed ? -1 : 0;
}

char *cvm_ca_text_of(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    return length > 0 ? strndup(bytes, (size_t)length) : NULL;
}

static X509_EXTENSION *make_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    return X509V3_EXT_conf_nid(NULL, &context, nid, value);
}

int32_t cvm_ca_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *extension = make_extension(certificate, issuer, nid, value);
    int added = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return added ? 0 : -1;
}

void cvm_local_path(const char *ca_folder, const char *name, char *path, size_t size)
{
    size_t length = strlen(ca_folder);
    while (length > 1 && ca_folder[length - 1] == '/')
        length--;
    const char *slash = memrchr(ca_folder, '/', length);
    (void)snprintf(path, size, "%.*s%s", slash ? (int)(slash - ca_folder + 1) : 0, ca_folder, name);
}

/* --- Issuers ---------------------------------------------------------------------------------- */

int32_t cvm_ca_key_id(X509 *certificate, char key_id[KEY_ID_SIZE])
{
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(certificate);
    if (!id || ASN1_STRING_length(id) != KEY_ID_SIZE / 2)
        return -1;
    cvm_hex(ASN1_STRING_get0_data(id), KEY_ID_SIZE / 2, key_id);
    return 0;
}

int32_t cvm_issuers_add(struct ca_issuers *issuers, X509 *certificate, EVP_PKEY *key)
{
    struct ca_issuer *issuer = &issuers->list[issuers->count];
    if (issuers->count == MOST_ISSUERS || cvm_ca_key_id(certificate, issuer->key_id))
        return -1;
    issuer->certificate = certificate;
    issuer->key = key;
    issuers->count++;
    return 0;
}

int32_t cvm_issuers_share(struct ca_issuers *issuers, const struct ca_issuer *issuer)
{
    (void)X509_up_ref(issuer->certificate);
    if (issuer->key)
        (void)EVP_PKEY_up_ref(issuer->key);
    if (!cvm_issuers_add(issuers, issuer->certificate, issuer->key))
        return 0;
    X509_free(issuer->certificate);
    EVP_PKEY_free(issuer->key);
    return -1;
}

const struct ca_issuer *cvm_issuers_of(const struct ca_issuers *issuers, X509 *certificate)
{
    for (uint32_t i = 0; i < issuers->count; i++)
        if (X509_check_issued(issuers->list[i].certificate, certificate) == X509_V_OK &&
            X509_verify(certificate, X509_get0_pubkey(issuers->list[i].certificate)) == 1)
            return &issuers->list[i];
    ERR_clear_error();
    return NULL;
}

char *cvm_ca_certificate_pem(X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = bio && PEM_write_bio_X509(bio, certificate) ? cvm_ca_text_of(bio) : NULL;
    BIO_free(bio);
    return text;
}

void cvm_ca_other_name(const char *key_id, const char *suffix, char name[OTHER_NAME_SIZE])
{
    (void)snprintf(name, OTHER_NAME_SIZE, OTHER_PREFIX "%s%s", key_id, suffix);
}

int32_t cvm_issuers_counts(const struct ca_issuers *issuers, uint32_t i)
{
    return !i || cvm_issuer_end_ms(&issuers->list[i]) > cvm_now_ms();
}

const struct ca_issuer *cvm_issuers_find(const struct ca_issuers *issuers, const char *key_id)
{
    for (uint32_t i = 0; i < issuers->count; i++)
        if (strcmp(issuers->list[i].key_id, key_id) == 0)
            return &issuers->list[i];
    return NULL;
}

void cvm_issuers_clear(struct ca_issuers *issuers)
{
    for (uint32_t i = 0; i < issuers->count; i++) {
        X509_free(issuers->list[i].certificate);
        EVP_PKEY_free(issuers->list[i].key);
    }
    issuers->count = 0;
}

int64_t cvm_issuer_end_ms(const struct ca_issuer *issuer)
{
    return cvm_asn1_time_ms(X509_get0_notAfter(issuer->certificate));
}

const struct ca_issuer *cvm_ca_issuing(const struct ca *ca)
{
    return &ca->issuers.list[0];
}

/* --- Reading the folder ----------------------------------------------------------------------- */

static char *read_in(const char *folder, const char *name, char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    size_t length;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return cvm_files_read(path, &length, error, error_size);
}

static X509 *parse_certificate(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return certificate;
}

int32_t cvm_ca_last_end(const char *pem, int64_t *ends_ms)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate;
    uint32_t count = 0;
    *ends_ms = 0;
    for (; bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)); count++) {
        int64_t end_ms = cvm_asn1_time_ms(X509_get0_notAfter(certificate));
        *ends_ms = end_ms > *ends_ms ? end_ms : *ends_ms;
        X509_free(certificate);
    }
    BIO_free(bio);
    return cvm_ca_is_at_end() && count ? 0 : -1;
}

int32_t cvm_ca_is_at_end(void)
{
    unsigned long error = ERR_peek_last_error();
    ERR_clear_error();
    return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

static EVP_PKEY *parse_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return key;
}

/* The key in a file of the folder, if it is the certificate's; NULL and why. */
static EVP_PKEY *load_key(
    const char *folder, const char *name, X509 *certificate, char *error, size_t error_size)
{
    char *pem = read_in(folder, name, error, error_size);
    EVP_PKEY *key = pem ? parse_key(pem) : NULL;
    if (pem && (!key || X509_check_private_key(certificate, key) != 1)) {
        (void)snprintf(error, error_size, "%s/%s is not the key of its certificate", folder, name);
        EVP_PKEY_free(key);
        key = NULL;
    }
    cvm_secret_free_text(pem);
    ERR_clear_error();
    return key;
}

/* Takes the certificate, and its key, which may be NULL then. 0, or -1. */
static int32_t load_take(struct ca *ca, X509 *certificate, EVP_PKEY *key)
{
    if (key && X509_check_issued(ca->root, certificate) == X509_V_OK &&
        X509_verify(certificate, X509_get0_pubkey(ca->root)) == 1 &&
        !cvm_issuers_add(&ca->issuers, certificate, key))
        return 0;
    X509_free(certificate);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return -1;
}

/* issuing.key lies under its other name while `cvm ca rotate` puts another one in its place. */
static int32_t load_issuing(struct ca *ca, const char *folder, char *error, size_t error_size)
{
    char key_id[KEY_ID_SIZE], name[OTHER_NAME_SIZE], why[LONGEST_PATH];
    X509 *issuing = parse_certificate(ca->chain_pem);
    EVP_PKEY *key = issuing ? load_key(folder, "issuing.key", issuing, error, error_size) : NULL;
    if (issuing && !key && !cvm_ca_key_id(issuing, key_id)) {
        cvm_ca_other_name(key_id, ".key", name);
        key = load_key(folder, name, issuing, why, sizeof why);
        ca->has_key_elsewhere = 1;
    }
    if (issuing && !key) {
        X509_free(issuing);
        return -1;
    }
    if (!issuing || load_take(ca, issuing, key)) {
        (void)snprintf(error, error_size,
            "%s: root.pem, issuing.pem and issuing.key don't parse or don't belong together",
            folder);
        return -1;
    }
    return 0;
}

static int load_is_other(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return strncmp(entry->d_name, OTHER_PREFIX, strlen(OTHER_PREFIX)) == 0 && length > 4 &&
           strcmp(entry->d_name + length - 4, ".pem") == 0;
}

/* issuing-KEYID.pem and .key: one that signed before, or will sign next. One that can't be read
 * signs no CRL, and what it has issued is counted as in none. */
static void load_other(struct ca *ca, const char *folder, const char *file)
{
    char key_id[KEY_ID_SIZE], name[OTHER_NAME_SIZE], why[LONGEST_PATH];
    char *pem = read_in(folder, file, why, sizeof why);
    X509 *certificate = pem ? parse_certificate(pem) : NULL;
    free(pem);
    if (!certificate || cvm_ca_key_id(certificate, key_id) ||
        cvm_issuers_find(&ca->issuers, key_id)) {
        X509_free(certificate);
        return;
    }
    cvm_ca_other_name(key_id, ".key", name);
    (void)load_take(ca, certificate, load_key(folder, name, certificate, why, sizeof why));
}

static void load_others(struct ca *ca, const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, load_is_other, alphasort);
    for (int i = 0; i < count; i++) {
        load_other(ca, folder, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

/* Devices are sent these, so without what else an operator has put into the file. */
static char *read_certificates(const char *folder, const char *name, char *error, size_t error_size)
{
    char *text = read_in(folder, name, error, error_size);
    char *certificates = text ? cvm_pem_certificates(text, strlen(text)) : NULL;
    if (text && !certificates)
        (void)snprintf(error, error_size, "%s/%s does not parse", folder, name);
    free(text);
    return certificates;
}

static int32_t load_files(struct ca *ca, const char *folder, char *error, size_t error_size)
{
    if (!(ca->root_pem = read_certificates(folder, "root.pem", error, error_size)) ||
        !(ca->chain_pem = read_certificates(folder, "issuing.pem", error, error_size)) ||
        !(ca->root_crl_pem = read_in(folder, "root.crl.pem", error, error_size)))
        return -1;
    ca->root = parse_certificate(ca->root_pem);
    if (!ca->root) {
        (void)snprintf(error, error_size, "%s/root.pem does not parse", folder);
        return -1;
    }
    if (load_issuing(ca, folder, error, error_size))
        return -1;
    load_others(ca, folder);
    return 0;
}

static int32_t make_common_parts(struct ca *ca)
{
    X509 *issuing = cvm_ca_issuing(ca)->certificate;
    ca->basic_constraints = make_extension(NULL, NULL, NID_basic_constraints, "critical,CA:FALSE");
    ca->key_usage = make_extension(NULL, NULL, NID_key_usage, "critical,digitalSignature");
    ca->extended_key_usage = make_extension(NULL, NULL, NID_ext_key_usage, "clientAuth");
    ca->authority_key_id =
        make_extension(issuing, issuing, NID_authority_key_identifier, "keyid:always");
    return ca->basic_constraints && ca->key_usage && ca->extended_key_usage && ca->authority_key_id
               ? 0
               : -1;
}

struct ca *cvm_ca_load(const char *folder, char *error, size_t error_size)
{
    struct ca *ca = calloc(1, sizeof *ca);
    (void)snprintf(error, error_size, "out of memory");
    if (!ca || load_files(ca, folder, error, error_size)) {
        cvm_ca_free(ca);
        return NULL;
    }
    if (make_common_parts(ca)) {
        (void)snprintf(error, error_size, "%s/issuing.pem is no CA certificate of ours", folder);
        cvm_ca_free(ca);
        return NULL;
    }
    return ca;
}

void cvm_ca_free(struct ca *ca)
{
    if (!ca)
        return;
    X509_EXTENSION_free(ca->basic_constraints);
    X509_EXTENSION_free(ca->key_usage);
    X509_EXTENSION_free(ca->extended_key_usage);
    X509_EXTENSION_free(ca->authority_key_id);
    X509_EXTENSION_free(ca->crl_distribution_points);
    free(ca->crl_url);
    X509_free(ca->root);
    cvm_issuers_clear(&ca->issuers);
    free(ca->root_pem);
    free(ca->chain_pem);
    free(ca->root_crl_pem);
    free(ca);
}

/* --- Where CRLs are ----------------------------------------------------------------------------
 */

DIST_POINT_NAME *cvm_ca_point_name(const char *url)
{
    DIST_POINT_NAME *name = DIST_POINT_NAME_new();
    GENERAL_NAME *general = GENERAL_NAME_new();
    ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    if (name && general && uri && names && ASN1_STRING_set(uri, url, -1) &&
        sk_GENERAL_NAME_push(names, general)) {
        GENERAL_NAME_set0_value(general, GEN_URI, uri);
        name->type = 0; /* a full name */
        name->name.fullname = names;
        return name;
    }
    DIST_POINT_NAME_free(name);
    GENERAL_NAME_free(general);
    ASN1_IA5STRING_free(uri);
    sk_GENERAL_NAME_free(names);
    return NULL;
}

/* NULL without memory. */
static CRL_DIST_POINTS *distribution_points(const char *url)
{
    CRL_DIST_POINTS *points = CRL_DIST_POINTS_new();
    DIST_POINT *point = DIST_POINT_new();
    if (point)
        point->distpoint = cvm_ca_point_name(url);
    if (points && point && point->distpoint && sk_DIST_POINT_push(points, point))
        return points;
    DIST_POINT_free(point);
    CRL_DIST_POINTS_free(points);
    return NULL;
}

int32_t cvm_ca_add_crl_url(X509 *certificate, const char *url)
{
    CRL_DIST_POINTS *points = distribution_points(url);
    int added = points && X509_add1_ext_i2d(certificate, NID_crl_distribution_points, points, 0, 0);
    CRL_DIST_POINTS_free(points);
    return added ? 0 : -1;
}

int32_t cvm_local_is_url(const char *url, size_t most)
{
    int32_t is_url = strlen(url) <= most &&
                     (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0);
    for (; is_url && *url; url++)
        is_url = *url > ' ' && *url < 0x7f;
    return is_url;
}

static int32_t is_crl_url(const char *url)
{
    const char *mark = strstr(url, KEY_ID_MARK);
    return cvm_local_is_url(url, LONGEST_URL) && mark && !strstr(mark + 1, KEY_ID_MARK);
}

char *cvm_ca_crl_url(const struct ca *ca, const char *key_id)
{
    const char *mark = strstr(ca->crl_url, KEY_ID_MARK);
    char *url = NULL;
    if (!mark || asprintf(&url, "%.*s%s%s", (int)(mark - ca->crl_url), ca->crl_url, key_id,
                     mark + strlen(KEY_ID_MARK)) < 0)
        return NULL;
    return url;
}

int32_t cvm_ca_set_crl_url(struct ca *ca, const char *url, char *error, size_t error_size)
{
    (void)snprintf(error, error_size,
        "ca.crl_url must be a URL (http: or https:) of at most %d bytes that holds %s once",
        LONGEST_URL, KEY_ID_MARK);
    if (*url && !is_crl_url(url))
        return -1;
    (void)snprintf(error, error_size, "out of memory");
    ca->crl_url = strdup(url);
    if (!ca->crl_url || !*url)
        return ca->crl_url ? 0 : -1;
    char *full = cvm_ca_crl_url(ca, cvm_ca_issuing(ca)->key_id);
    CRL_DIST_POINTS *points = full ? distribution_points(full) : NULL;
    if (points)
        ca->crl_distribution_points = X509V3_EXT_i2d(NID_crl_distribution_points, 0, points);
    CRL_DIST_POINTS_free(points);
    free(full);
    return ca->crl_distribution_points ? 0 : -1;
}

/* --- Signing ---------------------------------------------------------------------------------- */

/* Puts a SubjectPublicKeyInfo in as it is. X509_set_pubkey would decode and encode the key, which
 * costs more than the signature. */
static int32_t set_spki(X509 *certificate, const uint8_t *spki, size_t length)
{
    const unsigned char *at = spki;
    long content;
    int tag, class, type;
    const ASN1_OBJECT *object;
    const void *parameter;
    X509_ALGOR *algorithm = NULL;
    ASN1_BIT_STRING *bits = NULL;
    unsigned char *key = NULL;
    int32_t failed = -1;
    if (ASN1_get_object(&at, &content, &tag, &class, (long)length) == V_ASN1_CONSTRUCTED &&
        tag == V_ASN1_SEQUENCE && (algorithm = d2i_X509_ALGOR(NULL, &at, content)) &&
        (bits = d2i_ASN1_BIT_STRING(NULL, &at, (long)(spki + length - at)))) {
        int size = ASN1_STRING_length(bits);
        X509_ALGOR_get0(&object, &type, &parameter, algorithm);
        void *copy = type == V_ASN1_OBJECT ? OBJ_dup(parameter) : NULL;
        key = OPENSSL_memdup(ASN1_STRING_get0_data(bits), (size_t)size);
        if (key && X509_PUBKEY_set0_param(
                       X509_get_X509_PUBKEY(certificate), OBJ_dup(object), type, copy, key, size))
            failed = 0;
        else
            OPENSSL_free(key);
    }
    X509_ALGOR_free(algorithm);
    ASN1_BIT_STRING_free(bits);
    return failed;
}

static int32_t set_subject_key_id(X509 *certificate)
{
    uint8_t digest[20];
    unsigned int length;
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    int set = id && X509_pubkey_digest(certificate, EVP_sha1(), digest, &length) &&
              ASN1_OCTET_STRING_set(id, digest, (int)length) &&
              X509_add1_ext_i2d(certificate, NID_subject_key_identifier, id, 0, 0);
    ASN1_OCTET_STRING_free(id);
    return set ? 0 : -1;
}

static int32_t set_times(const struct ca *ca, X509 *certificate, int64_t backdate_ms,
    int64_t validity_ms, struct ca_leaf *leaf)
{
    int64_t now_ms = cvm_now_ms(), end_ms = cvm_issuer_end_ms(cvm_ca_issuing(ca));
    leaf->not_before_ms = (now_ms - backdate_ms) / 1000 * 1000;
    leaf->not_after_ms = (now_ms + validity_ms) / 1000 * 1000;
    if (leaf->not_after_ms > end_ms)
        leaf->not_after_ms = end_ms;
    return cvm_asn1_time_set(X509_getm_notBefore(certificate), leaf->not_before_ms) ||
                   cvm_asn1_time_set(X509_getm_notAfter(certificate), leaf->not_after_ms)
               ? -1
               : 0;
}

static int32_t set_names(const struct ca *ca, X509 *certificate, const char *common_name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
               (const unsigned char *)common_name, -1, -1, 0) &&
                   X509_set_issuer_name(
                       certificate, X509_get_subject_name(cvm_ca_issuing(ca)->certificate))
               ? 0
               : -1;
}

static int32_t set_extensions(const struct ca *ca, X509 *certificate)
{
    return X509_add_ext(certificate, ca->basic_constraints, -1) &&
                   X509_add_ext(certificate, ca->key_usage, -1) &&
                   X509_add_ext(certificate, ca->extended_key_usage, -1) &&
                   !set_subject_key_id(certificate) &&
                   X509_add_ext(certificate, ca->authority_key_id, -1) &&
                   (!ca->crl_distribution_points ||
                       X509_add_ext(certificate, ca->crl_distribution_points, -1))
               ? 0
               : -1;
}

static int32_t export_leaf(X509 *certificate, struct ca_leaf *leaf)
{
    uint8_t digest[32] = {0};
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && X509_digest(certificate, EVP_sha256(), digest, NULL) &&
        PEM_write_bio_X509(bio, certificate))
        leaf->pem = cvm_ca_text_of(bio);
    BIO_free(bio);
    if (!leaf->pem)
        return -1;
    cvm_hex(digest, sizeof digest, leaf->id);
    cvm_hex(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial), leaf->serial);
    return 0;
}

int32_t cvm_ca_sign_leaf(const struct ca *ca, const uint8_t *spki, size_t spki_length,
    const char *common_name, int64_t backdate_ms, int64_t validity_ms, struct ca_leaf *leaf)
{
    X509 *certificate = X509_new();
    memset(leaf, 0, sizeof *leaf);
    int32_t failed = !certificate || !X509_set_version(certificate, X509_VERSION_3) ||
                     cvm_ca_random_serial(X509_get_serialNumber(certificate)) ||
                     set_names(ca, certificate, common_name) ||
                     set_times(ca, certificate, backdate_ms, validity_ms, leaf) ||
                     set_spki(certificate, spki, spki_length) || set_extensions(ca, certificate) ||
                     !X509_sign(certificate, cvm_ca_issuing(ca)->key, EVP_sha256()) ||
                     export_leaf(certificate, leaf);
    X509_free(certificate);
    ERR_clear_error();
    return failed ? -1 : 0;
}
