/* Credentials in memory, and the checks that they must pass wherever they come from. The device's
 * chain need not lead to `roots`: those vouch for the broker, which may be under another CA. */
#include "credentials.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void credentials_free(struct credentials *credentials)
{
    EVP_PKEY_free(credentials->key);
    sk_X509_pop_free(credentials->chain, X509_free);
    sk_X509_pop_free(credentials->roots, X509_free);
    *credentials = (struct credentials){0};
}

/* A thing's name becomes part of topics and of the client id: no wildcard, no slash. */
static bool is_thing_name(const char *name)
{
    static const char ALLOWED[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-";
    return name[0] != '\0' && name[strspn(name, ALLOWED)] == '\0';
}

/* TLS sends the chain as it stands: each certificate must be issued by the next (RFC 5246 §7.4.2).
 */
static bool is_ordered(const cert_stack *chain)
{
    for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
        X509 *certificate = sk_X509_value(chain, i);
        X509 *issuer = sk_X509_value(chain, i + 1);
        if (X509_check_issued(issuer, certificate) != X509_V_OK ||
            X509_verify(certificate, X509_get0_pubkey(issuer)) != 1) {
            return false;
        }
    }
    return true;
}

const char *credentials_problem(const struct credentials *credentials, time_t now)
{
    struct endpoint endpoint;
    X509 *leaf = sk_X509_value(credentials->chain, 0);
    const char *problem = NULL;
    if (!endpoint_parse(credentials->endpoint, &endpoint)) {
        problem = "the endpoint is no HOST[:PORT]";
    } else if (!is_thing_name(credentials->thing_name)) {
        problem = "the thing's name has other characters than A-Z a-z 0-9 : _ -";
    } else if (X509_check_private_key(leaf, credentials->key) != 1) {
        problem = "the certificate is for another key than the device's";
    } else if (!is_ordered(credentials->chain)) {
        problem = "the certificate's chain is broken or out of order";
    } else if (X509_cmp_time(X509_get0_notAfter(leaf), &now) < 0) {
        problem = "the device's certificate has expired";
    }
    ERR_clear_error();
    return problem;
}

void to_hex(const unsigned char *bytes, size_t size, char *hex)
{
    for (size_t i = 0; i < size; i++) {
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    }
}

void certificate_id(const struct credentials *credentials, char id[CERTIFICATE_ID_SIZE])
{
    unsigned char digest[SHA256_DIGEST_LENGTH] = {0};
    X509_digest(sk_X509_value(credentials->chain, 0), EVP_sha256(), digest, NULL);
    to_hex(digest, sizeof digest, id);
}
