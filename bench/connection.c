/* The life of a connection: one small function a state, dispatched by a table. Which requests are
 * sent and what is counted stands in runner.c. */
#include "connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <unistd.h>

enum step { STEP_AGAIN, STEP_WAIT, STEP_DONE, STEP_FAILED, STEP_IDLE_CLOSED };

/* Results of reading and writing besides a count of bytes. */
enum { IO_WAIT = -1, IO_END = -2 };

static enum step fail(struct connection *connection, enum failure failure)
{
    connection->failure = failure;
    return STEP_FAILED;
}

static int tls_result(struct connection *connection, int result)
{
    int error = 0;

    if (result > 0)
        return result;
    error = SSL_get_error(connection->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? IO_WAIT : IO_END;
}

static int plain_result(ssize_t result)
{
    if (result > 0)
        return (int)result;
    return result < 0 && (errno == EAGAIN || errno == EINTR) ? IO_WAIT : IO_END;
}

static int write_some(struct connection *connection, const char *bytes, size_t length)
{
    ERR_clear_error();
    if (connection->tls)
        return tls_result(connection, SSL_write(connection->tls, bytes, (int)length));
    return plain_result(send(connection->fd, bytes, length, MSG_NOSIGNAL));
}

static int read_some(struct connection *connection, char *bytes, size_t size)
{
    ERR_clear_error();
    if (connection->tls)
        return tls_result(connection, SSL_read(connection->tls, bytes, (int)size));
    return plain_result(recv(connection->fd, bytes, size, 0));
}

static enum step step_closed(struct connection *connection)
{
    (void)connection;
    return STEP_WAIT;
}

static enum step connected(struct connection *connection)
{
    connection->state = connection->request_length > 0 ? CONNECTION_SENDING : CONNECTION_IDLE;
    return connection->request_length > 0 ? STEP_AGAIN : STEP_DONE;
}

static enum step step_connecting(struct connection *connection)
{
    struct sockaddr_storage peer;
    socklen_t peer_length = sizeof peer;
    int error = 0;
    socklen_t error_length = sizeof error;

    (void)getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &error_length);
    if (error != 0)
        return fail(connection, FAILURE_CONNECT);
    if (getpeername(connection->fd, (struct sockaddr *)&peer, &peer_length) != 0)
        return STEP_WAIT;
    if (!connection->tls)
        return connected(connection);
    connection->state = CONNECTION_HANDSHAKING;
    return STEP_AGAIN;
}

static enum step step_handshaking(struct connection *connection)
{
    int result = 0;

    ERR_clear_error();
    result = tls_result(connection, SSL_do_handshake(connection->tls));
    if (result == IO_WAIT)
        return STEP_WAIT;
    return result == IO_END ? fail(connection, FAILURE_TLS) : connected(connection);
}

static enum step step_sending(struct connection *connection)
{
    int result = write_some(connection, connection->request + connection->sent,
        connection->request_length - connection->sent);

    if (result == IO_WAIT)
        return STEP_WAIT;
    if (result == IO_END)
        return fail(connection, FAILURE_CLOSED);
    connection->sent += (size_t)result;
    if (connection->sent == connection->request_length)
        connection->state = CONNECTION_RECEIVING;
    return STEP_AGAIN;
}

static enum step step_receiving(struct connection *connection)
{
    struct answer *answer = &connection->answer;
    int result = read_some(connection, answer->data + answer->length, ANSWER_MAX - answer->length);

    if (result == IO_WAIT)
        return STEP_WAIT;
    if (result == IO_END)
        return fail(connection, FAILURE_CLOSED);
    answer->length += (size_t)result;
    switch (answer_check(answer)) {
    case ANSWER_INCOMPLETE:
        return STEP_AGAIN;
    case ANSWER_COMPLETE:
        connection->state = CONNECTION_IDLE;
        return STEP_DONE;
    case ANSWER_BAD:
        break;
    }
    return fail(connection, FAILURE_BAD_ANSWER);
}

/* Takes in session tickets, and notices that the server closes. */
static enum step step_idle(struct connection *connection)
{
    char byte = 0;

    return read_some(connection, &byte, 1) == IO_WAIT ? STEP_WAIT : STEP_IDLE_CLOSED;
}

static enum step (*const STEPS[])(struct connection *) = {
    [CONNECTION_CLOSED] = step_closed,
    [CONNECTION_CONNECTING] = step_connecting,
    [CONNECTION_HANDSHAKING] = step_handshaking,
    [CONNECTION_SENDING] = step_sending,
    [CONNECTION_RECEIVING] = step_receiving,
    [CONNECTION_IDLE] = step_idle,
};

enum progress connection_advance(struct connection *connection)
{
    for (;;) {
        switch (STEPS[connection->state](connection)) {
        case STEP_AGAIN:
            continue;
        case STEP_WAIT:
            return PROGRESS_WAIT;
        case STEP_DONE:
            return PROGRESS_DONE;
        case STEP_FAILED:
            return PROGRESS_FAILED;
        case STEP_IDLE_CLOSED:
            return PROGRESS_IDLE_CLOSED;
        }
    }
}

static bool attach_tls(struct connection *connection, const struct target *target)
{
    if (!target->tls)
        return true;
    connection->tls = target_new_tls(target);
    if (!connection->tls || SSL_set_fd(connection->tls, connection->fd) != 1)
        return false;
    SSL_set_connect_state(connection->tls);
    return true;
}

static bool watch(struct connection *connection, int epoll)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.ptr = connection,
    };

    return epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) == 0;
}

static bool begin_connect(struct connection *connection, const struct target *target)
{
    int on = 1;

    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return connect(connection->fd, (const struct sockaddr *)&target->address,
               target->address_length) == 0 ||
           errno == EINPROGRESS;
}

enum progress connection_open(struct connection *connection, const struct target *target, int epoll)
{
    connection->failure = FAILURE_CONNECT;
    connection->fd =
        socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        return PROGRESS_FAILED;
    connection->state = CONNECTION_CONNECTING;
    connection->sent = 0;
    answer_reset(&connection->answer);
    if (!attach_tls(connection, target) || !begin_connect(connection, target) ||
        !watch(connection, epoll))
        return PROGRESS_FAILED;
    connection->failure = FAILURE_NONE;
    return PROGRESS_WAIT;
}

enum progress connection_send(struct connection *connection)
{
    connection->state = CONNECTION_SENDING;
    connection->sent = 0;
    answer_reset(&connection->answer);
    return connection_advance(connection);
}

void connection_close(struct connection *connection)
{
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->tls && connection->state == CONNECTION_IDLE)
        (void)SSL_shutdown(connection->tls);
    SSL_free(connection->tls);
    connection->tls = NULL;
    (void)close(connection->fd);
    connection->state = CONNECTION_CLOSED;
}
