/* TLS 1.2 or later; a chain to one of the given anchors; the host's name; signatures and purpose,
 * as OpenSSL checks them. Of a certificate's times only the end is judged, against a lower bound of
 * the time (clock.c): a certificate that is "not valid yet" is no proof of anything but a slow
 * clock. */
#include "trust.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

/* Tolerates one error and only that one; OpenSSL still judges notAfter, and all else, afterwards.
 */
static int verify(int preverified, X509_STORE_CTX *context)
{
    if (preverified == 0 && X509_STORE_CTX_get_error(context) == X509_V_ERR_CERT_NOT_YET_VALID) {
        X509_STORE_CTX_set_error(context, X509_V_OK);
        return 1;
    }
    return preverified;
}

static X509_STORE *store_of(const cert_stack *anchors)
{
    X509_STORE *store = X509_STORE_new();
    for (int i = 0; store != NULL && i < sk_X509_num(anchors); i++) {
        if (X509_STORE_add_cert(store, sk_X509_value(anchors, i)) != 1) {
            X509_STORE_free(store);
            store = NULL;
        }
    }
    return store;
}

static bool insist_on_host(X509_VERIFY_PARAM *parameters, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1) {
        return X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1;
    }
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(parameters, host, 0) == 1;
}

bool trust_apply(SSL_CTX *context, const struct trust *trust)
{
    X509_STORE *store = store_of(trust->anchors);
    if (store == NULL) {
        return false;
    }
    SSL_CTX_set_cert_store(context, store);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, verify);

    X509_VERIFY_PARAM *parameters = SSL_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(parameters, trust->now);
    /* An anchor is trusted as it stands, also one that is no root. */
    return X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
           insist_on_host(parameters, trust->host) &&
           SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1;
}
