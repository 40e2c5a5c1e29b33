/* A TLS handshake's failure is told by what OpenSSL said of it, whatever was said in this thread
 * before. */
#include "support/test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "transports/http/stream.h"

/* A server that has a certificate; nobody gets to look at it. */
static SSL_CTX *server_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    assert_true(X509_set_pubkey(certificate, key) &&
                X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
                X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) &&
                X509_sign(certificate, key, EVP_sha256()));
    assert_true(
        SSL_CTX_use_certificate(context, certificate) && SSL_CTX_use_PrivateKey(context, key));
    X509_free(certificate);
    EVP_PKEY_free(key);
    return context;
}

/* What a handshake with these bytes fails with, when something else has failed in this thread
 * before. */
static void fail_with(const char *bytes, size_t length, char failure[64], char detail[128])
{
    int ends[2];
    SSL_CTX *context = server_context();
    struct cvm_stream stream = {.fd = -1};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    stream.fd = ends[0];
    assert_int_equal(cvm_stream_start_tls(&stream, context), 0);
    assert_int_equal(write(ends[1], bytes, length), length);
    ERR_raise(ERR_LIB_X509, X509_R_CERT_ALREADY_IN_HASH_TABLE); /* somebody's, and left behind */
    assert_int_equal(cvm_stream_handshake(&stream), STREAM_FAILED);
    (void)snprintf(failure, 64, "%s", stream.failure ? stream.failure : "");
    (void)snprintf(detail, 128, "%s", stream.detail ? stream.detail : "");
    assert_int_equal(ERR_peek_error(), 0); /* and nothing is left for the next one */
    cvm_stream_close(&stream);
    (void)close(ends[1]);
    SSL_CTX_free(context);
}

static void a_failure_is_the_handshakes_own(void **state)
{
    static const char JUNK[] = "this is no TLS record at all, and longer than one's head";
    char failure[64], detail[128];
    (void)state;
    fail_with(JUNK, sizeof JUNK, failure, detail);
    assert_true(*failure);
    assert_null(strstr(detail, "hash table"));
    assert_non_null(strstr(detail, "wrong version number"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_failure_is_the_handshakes_own)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
