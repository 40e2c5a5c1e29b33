/*
 * `cvm ca rotate`: the next issuing CA beside the old one. It is made under a name of its own
 * (issuing-KEYID.pem and .key), so that its CRL can be out before it signs; then it takes the place
 * of issuing.pem, which alone says who signs: a key is found under either name. The old one stays
 * under its own name, and signs its CRL, until its last certificate has ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/files.h"
#include "base/hex.h"
#include "base/secret.h"
#include "ca.h"
#include "init.h"
#include "local.h"
#include "made.h"

#define LONGEST_PATH 4096

static void rotate_path(
    const char *folder, const char *key_id, const char *suffix, char path[LONGEST_PATH])
{
    char name[OTHER_NAME_SIZE];
    cvm_ca_other_name(key_id, suffix, name);
    (void)snprintf(path, LONGEST_PATH, "%s/%s", folder, name);
}

/* One that was made by a rotation that did not end: it outlives who signs now. */
static const struct ca_issuer *rotate_find_next(const struct ca *ca)
{
    for (uint32_t i = 1; i < ca->issuers.count; i++)
        if (cvm_issuer_end_ms(&ca->issuers.list[i]) > cvm_issuer_end_ms(cvm_ca_issuing(ca)))
            return &ca->issuers.list[i];
    return NULL;
}

static EVP_PKEY *rotate_root_key(
    const struct ca *ca, const struct cvm_local_rotation *rotation, char *error, size_t error_size)
{
    size_t length;
    char *pem = cvm_files_read(rotation->root_key, &length, error, error_size);
    BIO *bio = pem ? BIO_new_mem_buf(pem, (int)length) : NULL;
    /* Without a passphrase an empty one: OpenSSL would ask the terminal. */
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL,
                              (void *)(uintptr_t)(rotation->passphrase ? rotation->passphrase : ""))
                        : NULL;
    if (pem && !key)
        (void)snprintf(error, error_size, "%s: can't be read as a private key%s",
            rotation->root_key, rotation->passphrase ? "" : " (--root-passphrase-file?)");
    if (key && X509_check_private_key(ca->root, key) != 1) {
        (void)snprintf(error, error_size, "%s: is not the key of root.pem", rotation->root_key);
        EVP_PKEY_free(key);
        key = NULL;
    }
    BIO_free(bio);
    cvm_secret_free_text(pem);
    ERR_clear_error();
    return key;
}

/* The key first: a certificate without one is of no use. */
static int32_t rotate_write(const char *folder, X509 *certificate, EVP_PKEY *key,
    struct cvm_local_rotation *rotation, char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    char *key_pem = cvm_init_key_pem(key), *pem = cvm_ca_certificate_pem(certificate);
    int32_t failed = !key_pem || !pem || cvm_ca_key_id(certificate, rotation->key_id);
    if (failed)
        (void)snprintf(error, error_size, "out of memory");
    if (!failed) {
        rotate_path(folder, rotation->key_id, ".key", path);
        failed =
            cvm_files_replace(path, key_pem, strlen(key_pem), 0600, (gid_t)-1, error, error_size);
    }
    if (!failed) {
        rotate_path(folder, rotation->key_id, ".pem", path);
        failed = cvm_files_replace(path, pem, strlen(pem), 0644, (gid_t)-1, error, error_size);
    }
    cvm_secret_free_text(key_pem);
    free(pem);
    return failed ? -1 : 0;
}

/* Where the root's CRL is, as who signs now says; NULL: it says nothing. Freed by the caller. */
static char *rotate_crl_url(X509 *issuing)
{
    CRL_DIST_POINTS *points = X509_get_ext_d2i(issuing, NID_crl_distribution_points, NULL, NULL);
    const DIST_POINT *point = points ? sk_DIST_POINT_value(points, 0) : NULL;
    const GENERAL_NAME *name = point && point->distpoint && point->distpoint->type == 0
                                   ? sk_GENERAL_NAME_value(point->distpoint->name.fullname, 0)
                                   : NULL;
    char *url = NULL;
    if (name && name->type == GEN_URI)
        url = strndup((const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier),
            (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier));
    CRL_DIST_POINTS_free(points);
    return url;
}

static int32_t rotate_make(const struct ca *ca, const char *folder,
    struct cvm_local_rotation *rotation, char *error, size_t error_size)
{
    EVP_PKEY *root_key = rotate_root_key(ca, rotation, error, error_size);
    EVP_PKEY *key = root_key ? EVP_EC_gen("P-256") : NULL;
    char *url = rotate_crl_url(cvm_ca_issuing(ca)->certificate);
    char name[32], random[9];
    int32_t has_name = key && !cvm_random_hex(4, random); /* some brokers tell CAs by their names */
    (void)snprintf(name, sizeof name, "libcvm issuing CA %s", has_name ? random : "");
    X509 *certificate = has_name ? cvm_init_issuing(key, ca->root, root_key, name, url) : NULL;
    int32_t failed = -1;
    free(url);
    if (root_key && !certificate)
        (void)snprintf(error, error_size,
            "the next issuing CA can't be made: the clock lies outside the root's life, or no "
            "memory");
    else if (certificate)
        failed = cvm_made_verify(certificate, ca->root, NULL, 0, NULL, error, error_size) ||
                         rotate_write(folder, certificate, key, rotation, error, error_size)
                     ? -1
                     : 0;
    X509_free(certificate);
    EVP_PKEY_free(key);
    EVP_PKEY_free(root_key);
    return failed;
}

int32_t cvm_local_rotate_begin(
    const char *folder, struct cvm_local_rotation *rotation, char *error, size_t error_size)
{
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    if (!ca)
        return -1;
    const struct ca_issuer *next =
        ca->has_key_elsewhere ? cvm_ca_issuing(ca) : rotate_find_next(ca);
    int32_t failed = 0;
    if (next)
        (void)snprintf(rotation->key_id, sizeof rotation->key_id, "%s", next->key_id);
    else
        failed = rotate_make(ca, folder, rotation, error, error_size);
    if (!ca->has_key_elsewhere)
        (void)snprintf(rotation->before, sizeof rotation->before, "%s", cvm_ca_issuing(ca)->key_id);
    rotate_path(folder, rotation->key_id, ".pem", rotation->certificate);
    cvm_ca_free(ca);
    return failed;
}

/* Copies a file of the folder, with that mode. 0, or -1 and why. */
static int32_t rotate_copy(const char *folder, const char *from, const char *to, mode_t mode,
    char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    size_t length;
    (void)snprintf(path, sizeof path, "%s/%s", folder, from);
    char *text = cvm_files_read(path, &length, error, error_size);
    (void)snprintf(path, sizeof path, "%s/%s", folder, to);
    int32_t failed =
        !text || cvm_files_replace(path, text, length, mode, (gid_t)-1, error, error_size);
    cvm_secret_free(text, text ? length : 0);
    return failed ? -1 : 0;
}

/* In this order: whatever comes last, issuing.pem's key is there under one of its names. */
int32_t cvm_local_rotate_end(
    const char *folder, const struct cvm_local_rotation *rotation, char *error, size_t error_size)
{
    char old_key[OTHER_NAME_SIZE], old_pem[OTHER_NAME_SIZE];
    char new_key[OTHER_NAME_SIZE], new_pem[OTHER_NAME_SIZE];
    cvm_ca_other_name(rotation->before, ".key", old_key);
    cvm_ca_other_name(rotation->before, ".pem", old_pem);
    cvm_ca_other_name(rotation->key_id, ".key", new_key);
    cvm_ca_other_name(rotation->key_id, ".pem", new_pem);
    return (*rotation->before &&
               (rotate_copy(folder, "issuing.key", old_key, 0600, error, error_size) ||
                   rotate_copy(folder, "issuing.pem", old_pem, 0644, error, error_size))) ||
                   rotate_copy(folder, new_pem, "issuing.pem", 0644, error, error_size) ||
                   rotate_copy(folder, new_key, "issuing.key", 0600, error, error_size)
               ? -1
               : 0;
}
