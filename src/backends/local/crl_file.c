/* The file, and its lock: ca/.crl.lock is flock()ed, and holds the SHA-256 of the crl.pem that was
 * handed over last. */
#include "crl_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/clock.h"
#include "base/files.h"

#define LOCK_TRIES   3000 /* of 10 ms: 30 s */
#define LOCK_WAIT_US 10000
#define LONGEST_PATH 4096

/* --- Reading ---------------------------------------------------------------------------------- */

/* Puts it where it belongs. What no issuer of ours has signed is left out. */
static void file_take(const struct ca *ca, const struct ca_issuers *issuers, X509_CRL *x509,
    struct crl_file *file, int32_t *has_root)
{
    if (X509_NAME_cmp(X509_CRL_get_issuer(x509), X509_get_subject_name(ca->root)) == 0 &&
        X509_CRL_verify(x509, X509_get0_pubkey(ca->root)) == 1) {
        *has_root = 1;
        X509_CRL_free(x509);
        return;
    }
    for (uint32_t i = 0; i < issuers->count; i++) {
        if (file->crls[i] || !X509_CRL_up_ref(x509))
            continue;
        file->crls[i] = cvm_crl_of(x509, issuers->list[i].certificate);
        if (file->crls[i])
            break;
    }
    X509_CRL_free(x509);
}

static void file_parse(
    const struct ca *ca, const struct ca_issuers *issuers, BIO *bio, struct crl_file *file)
{
    X509_CRL *x509;
    int32_t has_root = 0;
    while (bio && (x509 = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)))
        file_take(ca, issuers, x509, file, &has_root);
    file->is_whole = bio && cvm_ca_is_at_end() && has_root;
    ERR_clear_error();
}

static void file_path(const char *folder, char path[LONGEST_PATH])
{
    (void)snprintf(path, LONGEST_PATH, "%s/crl.pem", folder);
}

char *cvm_crl_file_load(const char *folder, size_t *length, char sha256[CVM_SHA256_HEX_SIZE])
{
    char path[LONGEST_PATH], why[LONGEST_PATH];
    file_path(folder, path);
    char *pem = cvm_files_read_most(path, LARGEST_CRL_FILE, length, why, sizeof why);
    if (!pem || cvm_sha256_hex(pem, *length, sha256))
        *sha256 = 0;
    return pem;
}

void cvm_crl_file_read(const struct ca *ca, const struct ca_issuers *issuers, const char *folder,
    struct crl_file *file)
{
    size_t length;
    *file = (struct crl_file){0};
    char *pem = cvm_crl_file_load(folder, &length, file->sha256);
    BIO *bio = pem ? BIO_new_mem_buf(pem, (int)length) : NULL;
    if (bio)
        file_parse(ca, issuers, bio, file);
    BIO_free(bio);
    free(pem);
}

void cvm_crl_file_clear(struct crl_file *file)
{
    for (uint32_t i = 0; i < MOST_ISSUERS; i++)
        cvm_crl_free(file->crls[i]);
    *file = (struct crl_file){0};
}

/* --- Writing ---------------------------------------------------------------------------------- */

/* What is written; NULL without memory. */
static char *file_text(
    const struct ca *ca, const struct ca_issuers *issuers, struct crl *const *crls)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int32_t failed = !bio;
    for (uint32_t i = 0; !failed && i < issuers->count; i++)
        failed = crls[i] && !PEM_write_bio_X509_CRL(bio, crls[i]->x509);
    char *text = failed || BIO_puts(bio, ca->root_crl_pem) < 0 ? NULL : cvm_ca_text_of(bio);
    BIO_free(bio);
    return text;
}

/* mosquitto accepts revoked devices when it can't read the file: nothing less will do. file: what
 * the text says. */
static int32_t file_is_good(const struct ca *ca, const struct ca_issuers *issuers,
    struct crl *const *crls, const char *text, struct crl_file *file)
{
    BIO *bio = BIO_new_mem_buf(text, -1);
    file_parse(ca, issuers, bio, file);
    BIO_free(bio);
    int32_t is_good = file->is_whole && !cvm_sha256_hex(text, strlen(text), file->sha256);
    for (uint32_t i = 0; i < issuers->count; i++)
        is_good &= !crls[i] || (file->crls[i] && file->crls[i]->number == crls[i]->number);
    return is_good;
}

int32_t cvm_crl_file_write(const struct ca *ca, const struct ca_issuers *issuers,
    const char *folder, struct crl *const *crls, struct crl_file *written, char *error,
    size_t error_size)
{
    char path[LONGEST_PATH];
    int32_t failed = -1;
    char *text = file_text(ca, issuers, crls);
    *written = (struct crl_file){0};
    file_path(folder, path);
    if (!text)
        (void)snprintf(error, error_size, "out of memory");
    else if (!file_is_good(ca, issuers, crls, text, written))
        (void)snprintf(error, error_size,
            "what was made can't be verified (is root.crl.pem broken?); the old one stays");
    else
        failed = cvm_files_replace(path, text, strlen(text), 0644, (gid_t)-1, error, error_size);
    free(text);
    if (failed)
        cvm_crl_file_clear(written);
    return failed;
}

/* --- The lock --------------------------------------------------------------------------------- */

static int lock_open(const char *folder, char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    (void)snprintf(path, sizeof path, "%s/.crl.lock", folder);
    return cvm_files_open(path, O_RDWR | O_CREAT, 0600, error, error_size);
}

int cvm_crl_file_lock(const char *folder, atomic_int *must_end, char *error, size_t error_size)
{
    int fd = lock_open(folder, error, error_size);
    if (fd < 0)
        return -1;
    for (int i = 0; i < LOCK_TRIES && !atomic_load(must_end); i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return fd;
        cvm_sleep_us(LOCK_WAIT_US);
    }
    (void)close(fd);
    (void)snprintf(error, error_size, "another process does not let go of .crl.lock");
    return -1;
}

void cvm_crl_file_unlock(int lock)
{
    if (lock >= 0)
        (void)close(lock);
}

/* --- Handing over ----------------------------------------------------------------------------- */

int32_t cvm_crl_file_is_handed_over(const char *folder, const char *sha256)
{
    char found[CVM_SHA256_HEX_SIZE] = "", why[LONGEST_PATH];
    int fd = lock_open(folder, why, sizeof why);
    if (fd < 0)
        return 0;
    ssize_t length = pread(fd, found, sizeof found - 1, 0);
    (void)close(fd);
    return length == (ssize_t)sizeof found - 1 && strcmp(found, sha256) == 0;
}

/* Without it the command runs once more. */
void cvm_crl_file_set_handed_over(const char *folder, const char *sha256)
{
    char why[LONGEST_PATH];
    int fd = lock_open(folder, why, sizeof why);
    if (fd < 0)
        return;
    ssize_t written = pwrite(fd, sha256, strlen(sha256), 0);
    (void)written;
    (void)close(fd);
}
