/* The context, what it asks of a client, and the files that it is made of. */
#include "transports/common/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>

#include "base/crypto.h"
#include "core/error.h"
#include "core/health.h"
#include "core/metrics.h"

#define LONGEST_CIPHERS       8192 /* a hundred names of at most 40 characters */
#define CERTIFICATE_NOTICE_MS (INT64_C(14) * 24 * 3600 * 1000)

/* --- The context ------------------------------------------------------------------------------ */

/* Else OpenSSL asks for one on the terminal. */
static int no_passphrase(char *text, int size, int is_write, void *argument)
{
    (void)text;
    (void)size;
    (void)is_write;
    (void)argument;
    return -1;
}

/* Appends a name to a list of ciphers. */
static void append_cipher(char list[LONGEST_CIPHERS], const char *name)
{
    size_t used = strlen(list);
    (void)snprintf(list + used, LONGEST_CIPHERS - used, "%s%s", used ? ":" : "", name);
}

/* Puts AES-128-CCM, which constrained stacks offer alone, behind what this machine's OpenSSL is
 * configured to use. What can't be changed stays. */
static void offer_ccm(SSL_CTX *context)
{
    char old[LONGEST_CIPHERS] = "", newer[LONGEST_CIPHERS] = ""; /* TLS 1.2's, 1.3's */
    const STACK_OF(SSL_CIPHER) *ciphers = SSL_CTX_get_ciphers(context);
    for (int i = 0; i < sk_SSL_CIPHER_num(ciphers); i++) {
        const char *name = SSL_CIPHER_get_name(sk_SSL_CIPHER_value(ciphers, i));
        append_cipher(strncmp(name, "TLS_", 4) == 0 ? newer : old, name);
    }
    append_cipher(old, "ECDHE-ECDSA-AES128-CCM");
    append_cipher(newer, "TLS_AES_128_CCM_SHA256");
    (void)SSL_CTX_set_cipher_list(context, old);
    (void)SSL_CTX_set_ciphersuites(context, newer);
}

/* A device registers once: tickets and a session cache would only cost. What was read is wiped
 * where OpenSSL decrypted it: a token. */
static void configure(SSL_CTX *context)
{
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                           SSL_OP_CLEANSE_PLAINTEXT);
    (void)SSL_CTX_set_num_tickets(context, 0);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    offer_ccm(context);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
}

/* Opening a pipe would wait for who writes to it. */
static int32_t is_irregular(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

/* Which of the two can't be used; NULL if both are. */
static const char *load_files(SSL_CTX *context, const char *certificate, const char *key)
{
    if (is_irregular(certificate) || SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        return certificate;
    return is_irregular(key) || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1 ||
                   SSL_CTX_check_private_key(context) != 1
               ? key
               : NULL;
}

static cvm_error_t *explain_file(const char *path)
{
    const char *advice = "", *reason = "is no regular file";
    if (access(path, R_OK)) { /* OpenSSL says "system lib" */
        reason = strerror(errno);
        if (errno == ENOENT)
            advice = "; `cvm ca server NAME... --out DIR` makes a certificate and its key";
    } else if (!is_irregular(path)) {
        reason = ERR_reason_error_string(ERR_peek_last_error());
    }
    return cvm_error_configuration(
        path, "%.120s: can't be used for TLS: %s%s", path, reason ? reason : "unknown", advice);
}

static SSL_CTX *make_context(const struct cvm_tls *tls, cvm_error_t **error)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) {
        *error = cvm_error_out_of_memory();
        return NULL;
    }
    configure(context);
    if (tls->configure)
        tls->configure(context);
    const char *bad = load_files(context, tls->certificate, tls->key);
    if (bad) {
        *error = explain_file(bad);
        SSL_CTX_free(context);
        context = NULL;
    }
    ERR_clear_error();
    return context;
}

/* --- Loading ---------------------------------------------------------------------------------- */

/* No device registers with a server whose certificate is over; it may be one that nobody here
 * renews. */
static void report_certificate(const struct cvm_tls *tls, cvm_t *cvm, const X509 *certificate)
{
    int64_t ends_ms = cvm_asn1_time_ms(X509_get0_notAfter(certificate)), ends_s = ends_ms / 1000;
    const char *file = tls->certificate;
    cvm_metrics_set(cvm_metrics_of(cvm), METRIC_CERTIFICATE_EXPIRY, &file, (double)ends_s);
    cvm_health_set(cvm, file, NULL, cvm_asn1_time_ms(X509_get0_notBefore(certificate)), ends_ms,
        CERTIFICATE_NOTICE_MS);
}

void cvm_tls_init(struct cvm_tls *tls)
{
    (void)pthread_mutex_init(&tls->lock, NULL); /* can't fail with default attributes */
}

cvm_error_t *cvm_tls_set(struct cvm_tls *tls, const char *certificate, const char *key,
    const char *certificate_property, const char *key_property)
{
    if (!*certificate && !*key)
        return NULL;
    if (!*certificate || !*key)
        return cvm_error_configuration(*certificate ? key_property : certificate_property,
            "%s and %s belong together", certificate_property, key_property);
    tls->certificate = strdup(certificate);
    tls->key = strdup(key);
    return tls->certificate && tls->key ? NULL : cvm_error_out_of_memory();
}

void cvm_tls_clear(struct cvm_tls *tls)
{
    SSL_CTX_free(tls->context);
    pthread_mutex_destroy(&tls->lock);
    free(tls->certificate);
    free(tls->key);
}

cvm_error_t *cvm_tls_load(struct cvm_tls *tls, cvm_t *cvm)
{
    cvm_error_t *error = NULL;
    if (!tls->certificate)
        return NULL;
    SSL_CTX *context = make_context(tls, &error);
    if (!context)
        return error;
    report_certificate(tls, cvm, SSL_CTX_get0_certificate(context));
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *before = tls->context; /* connections hold on to what they began with */
    tls->context = context;
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(before);
    return NULL;
}

SSL *cvm_tls_connection(struct cvm_tls *tls)
{
    pthread_mutex_lock(&tls->lock);
    SSL *ssl = SSL_new(tls->context);
    pthread_mutex_unlock(&tls->lock);
    return ssl;
}
