/* OpenSSL over a BIO of ours: OpenSSL's own socket BIO uses write(), which kills a program that
 * leaves SIGPIPE as it is. */
#include "transports/common/stream.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>

#include "core/loop.h"
#include "transports/common/tls_failure.h"

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

/* --- The stream ------------------------------------------------------------------------------- */

int32_t cvm_stream_start_tls(struct cvm_stream *stream, struct cvm_tls *tls)
{
    (void)pthread_once(&method_once, make_method);
    BIO *bio = method ? BIO_new(method) : NULL;
    stream->ssl = bio ? cvm_tls_connection(tls) : NULL;
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
