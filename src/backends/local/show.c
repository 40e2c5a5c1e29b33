/* `cvm ca show`: what the CA in a folder is. */
#include <stdio.h>
#include <stdlib.h>

#include <openssl/x509.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/files.h"
#include "ca.h"
#include "crl.h"
#include "local.h"

#define LONGEST_PATH 4096

static void print_certificate(FILE *out, const char *role, X509 *certificate, int32_t json)
{
    char name[128] = "", before[32], after[32], fingerprint[65];
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

int32_t cvm_local_show(const char *folder, int32_t json, FILE *out, char *error, size_t error_size)
{
    int64_t this_update_ms, next_update_ms, number;
    char next_update[32];
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    if (!ca)
        return -1;
    print_certificate(out, "root", ca->root, json);
    print_certificate(out, "issuing", ca->issuing, json);
    number = cvm_crl_read(ca, folder, &this_update_ms, &next_update_ms);
    cvm_ca_free(ca);
    (void)cvm_rfc3339(next_update_ms, next_update);
    if (!number) {
        (void)snprintf(error, error_size,
            "%s/crl.pem is missing or broken: `cvm ca crl` makes it anew", folder);
        return -1;
    }
    (void)fprintf(out,
        json ? "{\"role\":\"crl\",\"number\":%lld,\"next_update\":\"%s\"}\n"
             : "crl      number %lld, next update %s\n",
        (long long)number, next_update);
    return 0;
}

int32_t cvm_local_crl_listed(const char *folder, int64_t *number,
    int32_t (*listed)(void *argument, const struct cvm_listed *entry), void *argument, char *error,
    size_t error_size)
{
    char path[LONGEST_PATH];
    int64_t this_update_ms, next_update_ms;
    *number = 0;
    (void)snprintf(path, sizeof path, "%s/crl.pem", folder);
    if (!cvm_files_exists(path))
        return 0;
    struct ca *ca = cvm_ca_load(folder, error, error_size);
    if (!ca)
        return -1;
    *number = cvm_crl_read(ca, folder, &this_update_ms, &next_update_ms);
    int32_t failed = cvm_crl_each(ca, folder, listed, argument);
    if (failed)
        cvm_files_explain(error, error_size, path, "can't be read, or is not this CA's");
    cvm_ca_free(ca);
    return failed;
}

int64_t cvm_local_crl_number(const char *folder)
{
    char error[160];
    int64_t this_update_ms, next_update_ms, number = 0;
    struct ca *ca = cvm_ca_load(folder, error, sizeof error);
    if (ca)
        number = cvm_crl_read(ca, folder, &this_update_ms, &next_update_ms);
    cvm_ca_free(ca);
    return number;
}
