/* What only the command does: a new CA, and certificates for servers. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/endpoint.h"
#include "base/files.h"
#include "base/secret.h"
#include "ca.h"
#include "crl.h"
#include "crl_file.h"
#include "init.h"
#include "local.h"
#include "made.h"

#define LONGEST_PATH  4096
#define ROOT_YEARS    30
#define ISSUING_YEARS 20
#define SERVER_DAYS   365
#define DAY_MS        (INT64_C(86400) * 1000)
#define YEAR_MS       (365 * DAY_MS)
#define LONGEST_NAMES 8192

/* --- Certificates of the CA's own ------------------------------------------------------------- */

struct profile {
    const char *common_name, *basic_constraints, *key_usage, *extended_key_usage, *names, *crl_url;
    int64_t lifetime_ms;
};

/* 1 January of last year: a device with a slow clock checks these. */
static int64_t beginning_ms(void)
{
    struct tm utc;
    cvm_utc(cvm_now_ms(), &utc);
    return cvm_utc_ms(&(struct tm){.tm_year = utc.tm_year - 1, .tm_mday = 1});
}

/* Does the clock lie within the issuer's life? Else what is made now is of no use, then or ever. */
static int32_t is_within(X509 *issuer)
{
    int64_t now_ms = cvm_now_ms();
    return !issuer || (now_ms >= cvm_asn1_time_ms(X509_get0_notBefore(issuer)) &&
                          now_ms < cvm_asn1_time_ms(X509_get0_notAfter(issuer)));
}

static int32_t set_validity(X509 *certificate, X509 *issuer, int64_t lifetime_ms)
{
    int64_t begin_ms = beginning_ms(), end_ms = cvm_now_ms() + lifetime_ms;
    if (issuer && end_ms > cvm_asn1_time_ms(X509_get0_notAfter(issuer)))
        end_ms = cvm_asn1_time_ms(X509_get0_notAfter(issuer));
    return !is_within(issuer) || cvm_asn1_time_set(X509_getm_notBefore(certificate), begin_ms) ||
                   cvm_asn1_time_set(X509_getm_notAfter(certificate), end_ms) ||
                   !cvm_made_lives(certificate, begin_ms, end_ms)
               ? -1
               : 0;
}

static int32_t add_profile(X509 *certificate, X509 *issuer, const struct profile *profile)
{
    if (cvm_ca_add_extension(
            certificate, issuer, NID_basic_constraints, profile->basic_constraints) ||
        cvm_ca_add_extension(certificate, issuer, NID_key_usage, profile->key_usage) ||
        cvm_ca_add_extension(certificate, issuer, NID_subject_key_identifier, "hash") ||
        cvm_ca_add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always"))
        return -1;
    if (profile->extended_key_usage &&
        cvm_ca_add_extension(certificate, issuer, NID_ext_key_usage, profile->extended_key_usage))
        return -1;
    if (profile->crl_url && cvm_ca_add_crl_url(certificate, profile->crl_url))
        return -1;
    return profile->names
               ? cvm_ca_add_extension(certificate, issuer, NID_subject_alt_name, profile->names)
               : 0;
}

/* A certificate for key; self-signed without an issuer. NULL on failure. */
static X509 *certify(
    EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, const struct profile *profile)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = certificate ? X509_get_subject_name(certificate) : NULL;
    if (!certificate || !X509_set_version(certificate, X509_VERSION_3) ||
        cvm_ca_random_serial(X509_get_serialNumber(certificate)) ||
        !X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
            (const unsigned char *)profile->common_name, -1, -1, 0) ||
        !X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject) ||
        set_validity(certificate, issuer, profile->lifetime_ms) ||
        !X509_set_pubkey(certificate, key) ||
        add_profile(certificate, issuer ? issuer : certificate, profile) ||
        !X509_sign(certificate, issuer_key, EVP_sha256())) {
        X509_free(certificate);
        return NULL;
    }
    return certificate;
}

static char *key_pem(EVP_PKEY *key, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    const EVP_CIPHER *cipher = passphrase ? EVP_aes_256_cbc() : NULL;
    int length = passphrase ? (int)strlen(passphrase) : 0;
    char *text = NULL;
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, passphrase, length, NULL, NULL))
        text = cvm_ca_text_of(bio);
    BIO_free(bio);
    return text;
}

char *cvm_init_key_pem(EVP_PKEY *key)
{
    return key_pem(key, NULL);
}

/* Two texts as one; NULL if either is missing. Freed by the caller. */
static char *joined(const char *a, const char *b)
{
    char *text = NULL;
    return a && b && asprintf(&text, "%s%s", a, b) >= 0 ? text : NULL;
}

static int32_t write_in(const char *folder, const char *name, const char *text, mode_t mode,
    char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    if (!text) {
        (void)snprintf(error, error_size, "%s could not be made: out of memory", name);
        return -1;
    }
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return cvm_files_replace(path, text, strlen(text), mode, (gid_t)-1, error, error_size);
}

/* --- A new CA --------------------------------------------------------------------------------- */

struct new_ca {
    EVP_PKEY *root_key, *issuing_key;
    X509 *root, *issuing;
};

X509 *cvm_init_issuing(
    EVP_PKEY *key, X509 *root, EVP_PKEY *root_key, const char *common_name, const char *crl_url)
{
    const struct profile profile = {common_name, "critical,CA:TRUE,pathlen:0",
        "critical,keyCertSign,cRLSign", NULL, NULL, crl_url, ISSUING_YEARS * YEAR_MS};
    return certify(key, root, root_key, &profile);
}

static int32_t make_ca(struct new_ca *ca, const char *crl_url)
{
    const struct profile root = {"libcvm root CA", "critical,CA:TRUE",
        "critical,keyCertSign,cRLSign", NULL, NULL, NULL, ROOT_YEARS * YEAR_MS};
    ca->root_key = EVP_EC_gen("P-256");
    ca->issuing_key = EVP_EC_gen("P-256");
    if (!ca->root_key || !ca->issuing_key)
        return -1;
    ca->root = certify(ca->root_key, NULL, ca->root_key, &root);
    if (ca->root)
        ca->issuing =
            cvm_init_issuing(ca->issuing_key, ca->root, ca->root_key, "libcvm issuing CA", crl_url);
    return ca->issuing ? 0 : -1;
}

/* The root's key first, the rest only once that is safe. */
static int32_t write_keys(const struct new_ca *ca, const char *folder, const char *root_key,
    const char *passphrase, char *error, size_t error_size)
{
    char *root_pem = key_pem(ca->root_key, passphrase),
         *issuing_pem = key_pem(ca->issuing_key, NULL);
    int32_t failed = -1;
    if (!root_pem || !issuing_pem)
        (void)snprintf(error, error_size, "the keys could not be written: out of memory");
    else if (!cvm_files_replace(
                 root_key, root_pem, strlen(root_pem), 0600, (gid_t)-1, error, error_size))
        failed = write_in(folder, "issuing.key", issuing_pem, 0600, error, error_size);
    cvm_secret_free_text(root_pem);
    cvm_secret_free_text(issuing_pem);
    return failed;
}

static int32_t write_certificates(
    const struct new_ca *ca, const char *folder, char *error, size_t error_size)
{
    char *root = cvm_ca_certificate_pem(ca->root), *issuing = cvm_ca_certificate_pem(ca->issuing);
    char *chain = joined(issuing, root), *crl = cvm_crl_of_root(ca->root, ca->root_key);
    int32_t failed = write_in(folder, "root.pem", root, 0644, error, error_size) ||
                     write_in(folder, "issuing.pem", issuing, 0644, error, error_size) ||
                     write_in(folder, "chain.pem", chain, 0644, error, error_size) ||
                     write_in(folder, "root.crl.pem", crl, 0644, error, error_size);
    free(root);
    free(issuing);
    free(chain);
    free(crl);
    return failed ? -1 : 0;
}

/* The first CRL, number 1, lists nothing. */
static int32_t write_first_crl(const char *folder, char *error, size_t error_size)
{
    const struct crl_list nothing = {0};
    struct crl *crls[MOST_ISSUERS] = {NULL};
    struct crl_file written = {0};
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    const struct ca_issuer *issuer = ca ? cvm_ca_issuing(ca) : NULL;
    int32_t failed = -1;
    if (ca)
        crls[0] =
            cvm_crl_make(issuer, FIRST_CRL, cvm_now_ms(), cvm_issuer_end_ms(issuer), &nothing);
    if (crls[0])
        failed = cvm_crl_file_write(ca, &ca->issuers, folder, crls, &written, error, error_size);
    else if (ca)
        (void)snprintf(error, error_size, "the first CRL could not be signed");
    cvm_crl_file_clear(&written);
    cvm_crl_free(crls[0]);
    cvm_ca_free(ca);
    return failed;
}

/* The chain with its CRLs, as they are on disk. */
static int32_t check_made(
    const struct new_ca *made, const char *folder, char *error, size_t error_size)
{
    char crls[LONGEST_PATH];
    (void)snprintf(crls, sizeof crls, "%s/crl.pem", folder);
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    int32_t failed = -1;
    if (ca && (X509_cmp(ca->root, made->root) ||
                  X509_cmp(cvm_ca_issuing(ca)->certificate, made->issuing)))
        (void)snprintf(error, error_size, "%s: holds another CA than was made", folder);
    else if (ca)
        failed = cvm_made_verify(
            cvm_ca_issuing(ca)->certificate, ca->root, NULL, 0, crls, error, error_size);
    cvm_ca_free(ca);
    return failed;
}

int32_t cvm_local_init(const char *folder, const char *root_key, const char *passphrase,
    const char *crl_url, char *error, size_t error_size)
{
    struct new_ca ca = {0};
    int32_t failed = make_ca(&ca, crl_url);
    if (failed)
        (void)snprintf(error, error_size, "the CA could not be made");
    else
        failed = write_keys(&ca, folder, root_key, passphrase, error, error_size) ||
                 write_certificates(&ca, folder, error, error_size) ||
                 write_first_crl(folder, error, error_size) ||
                 check_made(&ca, folder, error, error_size);
    X509_free(ca.root);
    X509_free(ca.issuing);
    EVP_PKEY_free(ca.root_key);
    EVP_PKEY_free(ca.issuing_key);
    ERR_clear_error();
    return failed ? -1 : 0;
}

/* --- Servers ---------------------------------------------------------------------------------- */

/* A certificate may be for all names in a domain (RFC 6125 §6.4.3). */
int32_t cvm_local_is_server_name(const char *name)
{
    static const char ALL[] = "*.";
    int32_t is_wildcard = strncmp(name, ALL, strlen(ALL)) == 0;
    return is_wildcard ? !cvm_is_address(name + strlen(ALL)) && cvm_is_host(name + strlen(ALL))
                       : cvm_is_host(name);
}

/* "DNS:a,IP:b". 0, or -1 and why. */
static int32_t list_names(
    const struct cvm_local_server *server, char *list, size_t size, char *error, size_t error_size)
{
    size_t used = 0;
    for (uint32_t i = 0; i < server->name_count; i++) {
        const char *name = server->names[i];
        if (!cvm_local_is_server_name(name)) {
            (void)snprintf(
                error, error_size, "'%.100s' is neither a DNS name nor an address", name);
            return -1;
        }
        int length = snprintf(list + used, size - used, "%s%s:%s", i ? "," : "",
            cvm_is_address(name) ? "IP" : "DNS", name);
        used += (size_t)length;
        if (used >= size) {
            (void)snprintf(error, error_size, "too many names");
            return -1;
        }
    }
    return 0;
}

/* The key at path, or a new one that is written there. NULL and why. */
static EVP_PKEY *server_key(const struct cvm_local_server *server, char *error, size_t error_size)
{
    EVP_PKEY *key = NULL;
    if (cvm_files_exists(server->key)) {
        BIO *bio = BIO_new_file(server->key, "re");
        key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
        BIO_free(bio);
        if (!key)
            (void)snprintf(error, error_size, "%s: can't be read as a private key", server->key);
        return key;
    }
    key = EVP_EC_gen("P-256");
    char *pem = key ? key_pem(key, NULL) : NULL;
    gid_t group = server->group < 0 ? (gid_t)-1 : (gid_t)server->group;
    if (!pem || cvm_files_replace(server->key, pem, strlen(pem), 0600, group, error, error_size)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    cvm_secret_free_text(pem);
    return key;
}

static int32_t write_server_certificate(const struct ca *ca, EVP_PKEY *key,
    const struct profile *profile, const char *path, char *error, size_t error_size)
{
    X509 *certificate =
        certify(key, cvm_ca_issuing(ca)->certificate, cvm_ca_issuing(ca)->key, profile);
    char *leaf = certificate ? cvm_ca_certificate_pem(certificate) : NULL;
    char *chain = joined(leaf, ca->chain_pem);
    int32_t failed = -1;
    if (chain)
        failed = cvm_made_verify(certificate, ca->root, cvm_ca_issuing(ca)->certificate,
                     X509_PURPOSE_SSL_SERVER, NULL, error, error_size) ||
                         cvm_files_replace(
                             path, chain, strlen(chain), 0644, (gid_t)-1, error, error_size)
                     ? -1
                     : 0;
    else
        (void)snprintf(error, error_size, "%s could not be signed%s", path,
            is_within(cvm_ca_issuing(ca)->certificate)
                ? ""
                : ": the clock lies outside the issuing CA's life");
    free(chain);
    free(leaf);
    X509_free(certificate);
    ERR_clear_error();
    return failed;
}

static int32_t certify_server(const struct ca *ca, EVP_PKEY *key, const char *common_name,
    const char *names, const char *path, char *error, size_t error_size)
{
    const struct profile profile = {common_name, "critical,CA:FALSE", "critical,digitalSignature",
        "serverAuth", names, NULL, SERVER_DAYS * DAY_MS};
    return write_server_certificate(ca, key, &profile, path, error, error_size);
}

int32_t cvm_local_server(
    const char *folder, const struct cvm_local_server *server, char *error, size_t error_size)
{
    char names[LONGEST_NAMES] = "";
    if (list_names(server, names, sizeof names, error, error_size))
        return -1;
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    EVP_PKEY *key = ca ? server_key(server, error, error_size) : NULL;
    int32_t failed = -1;
    if (key)
        failed =
            certify_server(ca, key, "libcvm server", names, server->certificate, error, error_size);
    EVP_PKEY_free(key);
    cvm_ca_free(ca);
    return failed;
}

/* The certificate's names as list_names writes them; NULL without any. */
static char *names_of(X509 *certificate)
{
    char *list = NULL;
    size_t length;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    FILE *out = names ? open_memstream(&list, &length) : NULL;
    for (int i = 0; out && i < sk_GENERAL_NAME_num(names); i++) {
        char text[INET6_ADDRSTRLEN] = "";
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const char *separator = i ? "," : "";
        if (name->type == GEN_DNS) {
            (void)fprintf(out, "%sDNS:%.*s", separator, ASN1_STRING_length(name->d.dNSName),
                (const char *)ASN1_STRING_get0_data(name->d.dNSName));
        } else if (name->type == GEN_IPADD) {
            int family = ASN1_STRING_length(name->d.iPAddress) == 4 ? AF_INET : AF_INET6;
            (void)inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text);
            (void)fprintf(out, "%sIP:%s", separator, text);
        }
    }
    if (out)
        (void)fclose(out);
    GENERAL_NAMES_free(names);
    return list;
}

/* It is not valid now (it is over, or from a clock that was ahead), or less than a third of its
 * time is left and a new one would last longer. */
static int32_t is_due(const struct ca *ca, X509 *certificate)
{
    int64_t begin_ms = cvm_asn1_time_ms(X509_get0_notBefore(certificate));
    int64_t end_ms = cvm_asn1_time_ms(X509_get0_notAfter(certificate));
    int64_t now_ms = cvm_now_ms(), lifetime_ms = SERVER_DAYS * DAY_MS;
    return begin_ms > now_ms || end_ms <= now_ms ||
           (end_ms < cvm_asn1_time_ms(X509_get0_notAfter(cvm_ca_issuing(ca)->certificate)) &&
               end_ms - now_ms < lifetime_ms / 3);
}

static int32_t must_renew(const struct ca *ca, X509 *certificate, int32_t now)
{
    return cvm_issuers_of(&ca->issuers, certificate) && (now || is_due(ca, certificate));
}

static X509 *read_certificate(const char *path)
{
    char why[200];
    size_t length;
    char *pem = cvm_files_read(path, &length, why, sizeof why);
    BIO *bio = pem ? BIO_new_mem_buf(pem, (int)length) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    free(pem);
    ERR_clear_error();
    return certificate;
}

int32_t cvm_local_server_is_due(const char *folder, const char *certificate)
{
    char why[200];
    struct ca *ca = cvm_ca_load(folder, why, sizeof why);
    X509 *found = ca ? read_certificate(certificate) : NULL;
    int32_t is_so = found && must_renew(ca, found, 0);
    X509_free(found);
    cvm_ca_free(ca);
    return is_so;
}

int32_t cvm_local_renew_server(const char *folder, const char *certificate, const char *key,
    int32_t now, char *error, size_t error_size)
{
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    X509 *old = read_certificate(certificate);
    char *names = old ? names_of(old) : NULL;
    int32_t renewed = 0;
    if (!ca) {
        renewed = -1;
    } else if (!old) {
        (void)snprintf(error, error_size, "it can't be read as a certificate");
        renewed = -1;
    } else if (names && must_renew(ca, old, now)) {
        const struct cvm_local_server server = {NULL, 0, certificate, key, -1};
        EVP_PKEY *pkey = server_key(&server, error, error_size);
        renewed = pkey && !certify_server(
                              ca, pkey, "libcvm server", names, certificate, error, error_size)
                      ? 1
                      : -1;
        EVP_PKEY_free(pkey);
    }
    free(names);
    X509_free(old);
    cvm_ca_free(ca);
    return renewed;
}
