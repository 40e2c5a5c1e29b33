/* One connection to the server and the request under way on it, driven by readiness events. */
#ifndef CVM_BENCH_CONNECTION_H
#define CVM_BENCH_CONNECTION_H

#include "answer.h"
#include "target.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#define REQUEST_MAX 8192

/* Why a request got no answer. */
/* clang-format off */
#define FAILURES(X)         \
    X(NONE, "none")         \
    X(CONNECT, "connect")   \
    X(TLS, "tls")           \
    X(CLOSED, "closed")     \
    X(TIMEOUT, "timeout")   \
    X(BAD_ANSWER, "bad_answer")
/* clang-format on */
#define FAILURE_ENUM(name, text) FAILURE_##name,
enum failure { FAILURES(FAILURE_ENUM) FAILURE_COUNT };

enum connection_state {
    CONNECTION_CLOSED,
    CONNECTION_CONNECTING,  /* to HANDSHAKING, or SENDING without TLS */
    CONNECTION_HANDSHAKING, /* to SENDING, or IDLE when there is no request */
    CONNECTION_SENDING,     /* to RECEIVING */
    CONNECTION_RECEIVING,   /* to IDLE when the answer is whole */
    CONNECTION_IDLE,        /* to CLOSED when the server closes, to SENDING by connection_send */
};

struct connection {
    enum connection_state state;
    enum failure failure;
    bool busy; /* a request, or a handshake to hold, is under way */
    int fd;
    SSL *tls;
    uint64_t started_ns;
    size_t request_length;
    size_t sent;
    char request[REQUEST_MAX];
    struct answer answer;
};

/* What came of an event: more events are needed, what was under way is done, it failed (see
 * `failure`), or the server closed an idle connection. */
enum progress { PROGRESS_WAIT, PROGRESS_DONE, PROGRESS_FAILED, PROGRESS_IDLE_CLOSED };

/* Begins to connect and watches the socket on `epoll` with the connection as its data. What stands
 * in `request`, if anything, is sent once connected. */
enum progress connection_open(
    struct connection *connection, const struct target *target, int epoll);

/* Sends what stands in `request` on an idle connection. */
enum progress connection_send(struct connection *connection);

/* Goes as far as the socket lets it; the socket is watched by edges. */
enum progress connection_advance(struct connection *connection);

/* Also for one that is closed already. */
void connection_close(struct connection *connection);

#endif
