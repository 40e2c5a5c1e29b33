/* The bytes of a connection: a socket, plain or under TLS. Never raises SIGPIPE. */
#ifndef CVM_TRANSPORTS_STREAM_H
#define CVM_TRANSPORTS_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "transports/common/hello.h"
#include "transports/common/tls.h"

struct cvm_stream {
    int32_t fd;
    SSL *ssl;               /* NULL: plain */
    uint32_t wants;         /* CVM_READABLE or CVM_WRITABLE, after AGAIN */
    struct cvm_hello hello; /* what was received until the handshake is done */
    int32_t is_shaken;      /* it is */
    /* After a handshake that failed: why, as tls_failure.h says it and as OpenSSL does (NULL: it
     * does not), and whether it is since the peer speaks HTTP. */
    const char *failure, *detail;
    int32_t is_http;
};

/* Instead of a count of bytes: */
enum { STREAM_AGAIN = -1, STREAM_CLOSED = 0, STREAM_FAILED = -2 };

/* Puts TLS on a socket; the stream stays where it is from now on. 0, or -1 without memory. */
int32_t cvm_stream_start_tls(struct cvm_stream *stream, struct cvm_tls *tls);
/* 1 when the handshake is done, else STREAM_AGAIN or STREAM_FAILED and why. */
int32_t cvm_stream_handshake(struct cvm_stream *stream);
/* Takes TLS off again, after a handshake that failed. */
void cvm_stream_stop_tls(struct cvm_stream *stream);
/* A count of bytes, STREAM_CLOSED, STREAM_AGAIN or STREAM_FAILED. */
int32_t cvm_stream_read(struct cvm_stream *stream, void *bytes, size_t size);
int32_t cvm_stream_write(struct cvm_stream *stream, const void *bytes, size_t length);
/* Says that nothing more comes from here. */
void cvm_stream_shutdown(struct cvm_stream *stream);
/* Closes the socket. */
void cvm_stream_close(struct cvm_stream *stream);

#endif
