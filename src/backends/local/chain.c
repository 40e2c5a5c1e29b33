/* Issuing CAs that have ended have no devices any more, and are left out; who signs now is not. */
#include "chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/files.h"

#define LONGEST_PATH 4096

static void chain_path(const char *folder, char path[LONGEST_PATH])
{
    (void)snprintf(path, LONGEST_PATH, "%s/chain.pem", folder);
}

/* Notes which issuers are in it. 0, or -1 if there is something else than certificates. */
static int32_t chain_read(
    const struct ca_issuers *issuers, const char *folder, int32_t is_there[MOST_ISSUERS])
{
    char path[LONGEST_PATH], why[LONGEST_PATH];
    size_t length;
    X509 *certificate;
    chain_path(folder, path);
    char *pem = cvm_files_read(path, &length, why, sizeof why);
    BIO *bio = pem ? BIO_new_mem_buf(pem, (int)length) : NULL;
    while (bio && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        for (uint32_t i = 0; i < issuers->count; i++)
            is_there[i] |= X509_cmp(issuers->list[i].certificate, certificate) == 0;
        X509_free(certificate);
    }
    int32_t is_good = bio && cvm_ca_is_at_end();
    ERR_clear_error();
    BIO_free(bio);
    free(pem);
    return is_good ? 0 : -1;
}

int32_t cvm_chain_lacks(const struct ca_issuers *issuers, const char *folder)
{
    int32_t is_there[MOST_ISSUERS] = {0}, lacks = 0;
    if (chain_read(issuers, folder, is_there) || !is_there[0])
        return 0;
    for (uint32_t i = 0; i < issuers->count; i++)
        lacks |= !is_there[i] && cvm_issuers_counts(issuers, i);
    return lacks;
}

int32_t cvm_chain_write(const struct ca *ca, const struct ca_issuers *issuers, const char *folder,
    char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    BIO *bio = BIO_new(BIO_s_mem());
    int32_t failed = !bio;
    for (uint32_t i = 0; !failed && i < issuers->count; i++)
        failed = cvm_issuers_counts(issuers, i) &&
                 !PEM_write_bio_X509(bio, issuers->list[i].certificate);
    char *text = failed || BIO_puts(bio, ca->root_pem) < 0 ? NULL : cvm_ca_text_of(bio);
    BIO_free(bio);
    chain_path(folder, path);
    if (!text)
        (void)snprintf(error, error_size, "out of memory");
    failed =
        !text || cvm_files_replace(path, text, strlen(text), 0644, (gid_t)-1, error, error_size);
    free(text);
    return failed ? -1 : 0;
}
