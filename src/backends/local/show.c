/* `cvm ca show`: what the CA in a folder is. */
#include <stdio.h>

#include <openssl/x509.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "ca.h"
#include "crl_file.h"
#include "local.h"

#define LONGEST_PATH 4096

static void print_certificate(FILE *out, const char *role, X509 *certificate, int32_t json)
{
    char name[128] = "", before[CVM_RFC3339_SIZE], after[CVM_RFC3339_SIZE], fingerprint[65];
    uint8_t digest[32] = {0};
    (void)X509_NAME_get_text_by_NID(
        X509_get_subject_name(certificate), NID_commonName, name, sizeof name);
    (void)X509_digest(certificate, EVP_sha256(), digest, NULL);
    for (size_t i = 0; i < sizeof digest; i++)
        (void)snprintf(fingerprint + 2 * i, 3, "%02x", digest[i]);
    (void)cvm_rfc3339(cvm_asn1_time_ms(X509_get0_notBefore(certificate)), before);
    (void)cvm_rfc3339(cvm_asn1_time_ms(X509_get0_notAfter(certificate)), after);
    (void)fprintf(out,
        json ? "{\"role\":\"%s\",\"name\":\"%s\",\"not_before\":\"%s\",\"not_after\":\"%s\","
               "\"sha256\":\"%s\"}\n"
             : "%-8s %s, from %s to %s\n         SHA-256 %s\n",
        role, name, before, after, fingerprint);
}

/* crl.pem's CRL of who signs new certificates, for whoever frees the file; NULL and why. */
static const struct crl *show_read(
    const struct ca *ca, const char *folder, struct crl_file *file, char *error, size_t error_size)
{
    cvm_crl_file_read(ca, &ca->issuers, folder, file);
    if (!file->is_whole || !file->crls[0])
        (void)snprintf(error, error_size,
            "%s/crl.pem is missing or broken: `cvm ca crl` makes it anew", folder);
    return file->is_whole ? file->crls[0] : NULL;
}

int32_t cvm_local_show(const char *folder, int32_t json, FILE *out, char *error, size_t error_size)
{
    char next_update[CVM_RFC3339_SIZE];
    struct crl_file file;
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    if (!ca)
        return -1;
    print_certificate(out, "root", ca->root, json);
    for (uint32_t i = 0; i < ca->issuers.count; i++)
        print_certificate(out, "issuing", ca->issuers.list[i].certificate, json);
    const struct crl *crl = show_read(ca, folder, &file, error, error_size);
    if (crl)
        (void)fprintf(out,
            json ? "{\"role\":\"crl\",\"number\":%lld,\"next_update\":\"%s\"}\n"
                 : "crl      number %lld, next update %s\n",
            (long long)crl->number, cvm_rfc3339(crl->next_update_ms, next_update));
    int32_t failed = crl ? 0 : -1;
    cvm_crl_file_clear(&file);
    cvm_ca_free(ca);
    return failed;
}

static void show_fill(
    const struct ca_issuer *issuer, const struct crl_entry *entry, struct cvm_listed *listed)
{
    cvm_hex(entry->serial, entry->length, listed->serial);
    (void)snprintf(listed->issuer, sizeof listed->issuer, "%s", issuer->key_id);
    (void)snprintf(listed->reason, sizeof listed->reason, "%s", cvm_crl_entry_reason(entry));
    listed->revoked_at_ms = entry->revoked_at_ms;
    listed->not_after_ms = cvm_issuer_end_ms(issuer);
}

/* 0, or -1 if one of the calls failed, or the CRL can't be had. */
static int32_t show_each(const struct ca_issuer *issuer, const struct crl *crl,
    int32_t (*listed)(void *argument, const struct cvm_listed *entry), void *argument)
{
    struct crl_list list = {0};
    int32_t failed = crl ? cvm_crl_entries(crl, &list) : -1;
    for (size_t i = 0; !failed && i < list.count; i++) {
        struct cvm_listed entry;
        show_fill(issuer, &list.entries[i], &entry);
        failed = listed(argument, &entry);
    }
    cvm_crl_list_clear(&list);
    return failed;
}

int32_t cvm_local_crl_listed(const char *folder,
    int32_t (*listed)(void *argument, const struct cvm_listed *entry), void *argument, char *error,
    size_t error_size)
{
    char path[LONGEST_PATH];
    struct crl_file file;
    (void)snprintf(path, sizeof path, "%s/crl.pem", folder);
    if (!cvm_files_exists(path))
        return 0;
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    if (!ca)
        return -1;
    cvm_crl_file_read(ca, &ca->issuers, folder, &file);
    int32_t failed = file.is_whole ? 0 : -1;
    for (uint32_t i = 0; !failed && i < ca->issuers.count; i++)
        failed = show_each(&ca->issuers.list[i], file.crls[i], listed, argument);
    if (failed)
        cvm_files_explain(error, error_size, path, "can't be read, or is not this CA's");
    cvm_crl_file_clear(&file);
    cvm_ca_free(ca);
    return failed;
}

int64_t cvm_local_crl_number(const char *folder)
{
    char error[160];
    struct crl_file file;
    int64_t number = 0;
    struct ca *ca = cvm_ca_load(folder, error, sizeof error);
    if (!ca)
        return 0;
    const struct crl *crl = show_read(ca, folder, &file, error, sizeof error);
    if (crl)
        number = crl->number;
    cvm_crl_file_clear(&file);
    cvm_ca_free(ca);
    return number;
}
