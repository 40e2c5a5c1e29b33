/* OpenSSL over a BIO of ours: OpenSSL's own socket BIO uses write(), which kills a program that
 * leaves SIGPIPE as it is. */
#include "stream.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>

#include "core/error.h"
#include "core/loop.h"
#include "tls_failure.h"

#define LONGEST_CIPHERS 8192 /* a hundred names of at most 40 characters */

/* --- The BIO ---------------------------------------------------------------------------------- */

static int would_block(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static struct cvm_stream *stream_of(BIO *bio)
{
    return BIO_get_data(bio);
}

static int bio_write(BIO *bio, const char *bytes, int length)
{
    ssize_t sent = send(stream_of(bio)->fd, bytes, (size_t)length, MSG_NOSIGNAL);
    BIO_clear_retry_flags(bio);
    if (sent < 0 && would_block())
        BIO_set_retry_write(bio);
    return (int)sent;
}

/* Before the handshake is done a stranger may not make OpenSSL take more than one needs. */
static int bio_read(BIO *bio, char *bytes, int size)
{
    struct cvm_stream *stream = stream_of(bio);
    ssize_t received = recv(stream->fd, bytes, (size_t)size, 0);
    BIO_clear_retry_flags(bio);
    if (received < 0 && would_block())
        BIO_set_retry_read(bio);
    if (received > 0 && !stream->is_shaken &&
        cvm_hello_take(&stream->hello, (const uint8_t *)bytes, (size_t)received)) {
        ERR_raise(ERR_LIB_SSL, SSL_R_EXCESSIVE_MESSAGE_SIZE);
        return -1;
    }
    return (int)received;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
    if (method && (!BIO_meth_set_write(method, bio_write) || !BIO_meth_set_read(method, bio_read) ||
                      !BIO_meth_set_ctrl(method, bio_control))) {
        BIO_meth_free(method);
        method = NULL;
    }
}

/* --- The context ------------------------------------------------------------------------------ */

/* Registers HTTP/1.1 where a client asks by ALPN; others go on without. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_length,
    const unsigned char *offered, unsigned int offered_length, void *argument)
{
    static const unsigned char HTTP_1_1[] = "\x08http/1.1";
    unsigned char *protocol;
    (void)ssl;
    (void)argument;
    if (SSL_select_next_proto(&protocol, chosen_length, HTTP_1_1, sizeof HTTP_1_1 - 1, offered,
            offered_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *chosen = protocol;
    return SSL_TLSEXT_ERR_OK;
}

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
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
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

SSL_CTX *cvm_stream_context(const char *certificate, const char *key, cvm_error_t **error)
{
    ERR_clear_error();
    (void)pthread_once(&method_once, make_method);
    SSL_CTX *context = method ? SSL_CTX_new(TLS_server_method()) : NULL;
    if (!context) {
        *error = cvm_error_out_of_memory();
        return NULL;
    }
    configure(context);
    const char *bad = load_files(context, certificate, key);
    if (bad) {
        *error = explain_file(bad);
        SSL_CTX_free(context);
        context = NULL;
    }
    ERR_clear_error();
    return context;
}

/* --- The stream ------------------------------------------------------------------------------- */

int32_t cvm_stream_start_tls(struct cvm_stream *stream, SSL_CTX *context)
{
    BIO *bio = BIO_new(method);
    stream->ssl = bio ? SSL_new(context) : NULL;
    if (!stream->ssl) {
        BIO_free(bio);
        return -1;
    }
    BIO_set_data(bio, stream);
    BIO_set_init(bio, 1);
    SSL_set_bio(stream->ssl, bio, bio);
    SSL_set_accept_state(stream->ssl);
    return 0;
}

/* What a call of OpenSSL's that did not succeed means. */
static int32_t judge(struct cvm_stream *stream, int rc)
{
    switch (SSL_get_error(stream->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        stream->wants = CVM_READABLE;
        return STREAM_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        stream->wants = CVM_WRITABLE;
        return STREAM_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return STREAM_CLOSED;
    default:
        ERR_clear_error();
        return STREAM_FAILED;
    }
}

int32_t cvm_stream_handshake(struct cvm_stream *stream)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(stream->ssl);
    stream->is_shaken = rc == 1;
    if (stream->is_shaken)
        return 1;
    unsigned long error = ERR_peek_error(); /* the first: what follows from it comes later */
    if (judge(stream, rc) == STREAM_AGAIN)
        return STREAM_AGAIN;
    stream->failure = cvm_tls_failure(error);
    stream->detail = ERR_reason_error_string(error);
    stream->is_http =
        ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST;
    return STREAM_FAILED;
}

void cvm_stream_stop_tls(struct cvm_stream *stream)
{
    SSL_free(stream->ssl);
    stream->ssl = NULL;
}

static int32_t plain_result(struct cvm_stream *stream, ssize_t count, uint32_t wants)
{
    if (count >= 0)
        return (int32_t)count;
    stream->wants = wants;
    return would_block() ? STREAM_AGAIN : STREAM_FAILED;
}

int32_t cvm_stream_read(struct cvm_stream *stream, void *bytes, size_t size)
{
    if (!stream->ssl)
        return plain_result(stream, recv(stream->fd, bytes, size, 0), CVM_READABLE);
    ERR_clear_error();
    int rc = SSL_read(stream->ssl, bytes, (int)size);
    return rc > 0 ? rc : judge(stream, rc);
}

int32_t cvm_stream_write(struct cvm_stream *stream, const void *bytes, size_t length)
{
    if (!stream->ssl)
        return plain_result(stream, send(stream->fd, bytes, length, MSG_NOSIGNAL), CVM_WRITABLE);
    ERR_clear_error();
    int rc = SSL_write(stream->ssl, bytes, length > INT_MAX ? INT_MAX : (int)length);
    return rc > 0 ? rc : judge(stream, rc);
}

void cvm_stream_shutdown(struct cvm_stream *stream)
{
    if (stream->ssl && SSL_is_init_finished(stream->ssl)) {
        ERR_clear_error();
        (void)SSL_shutdown(stream->ssl);
        ERR_clear_error();
    }
    (void)shutdown(stream->fd, SHUT_WR);
}

void cvm_stream_close(struct cvm_stream *stream)
{
    cvm_stream_stop_tls(stream);
    (void)close(stream->fd);
}
