/* What comes before a connection's first request: the PROXY header of a trusted proxy, and the TLS
 * handshake. */
#include <errno.h>
#include <stdio.h>

#include "connection.h"
#include "proxy.h"
#include "tls_failure.h"

static void opening_begin_tls(struct connection *connection)
{
    struct server *server = connection->worker->server;
    if (!server->certificate) {
        cvm_connection_enter(connection, IDLE);
        return;
    }
    pthread_mutex_lock(&server->lock);
    int32_t failed = cvm_stream_start_tls(&connection->stream, server->context);
    pthread_mutex_unlock(&server->lock);
    if (failed)
        cvm_connection_close(connection);
    else
        cvm_connection_enter(connection, HANDSHAKE);
}

/* Waits for more than was seen: what is only peeked at would wake it again and again. Not for more
 * than there is if that is all that comes. */
static void opening_wait_for_proxy(struct connection *connection, ssize_t length)
{
    int least = (int)length + 1;
    if (connection->proxy_seen == length || connection->worker->is_draining) {
        cvm_connection_close(connection);
        return;
    }
    connection->proxy_seen = length;
    (void)setsockopt(connection->stream.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
}

/* Takes over the address that a PROXY header told; "" if it told none, then the connection is the
 * proxy's. Another proxy's connections are many devices' too. 0, or -1 if the address has all the
 * connections that it may have. */
static int32_t opening_take_told(struct connection *connection, const char *told)
{
    struct server *server = connection->worker->server;
    if (!*told)
        return 0;
    (void)snprintf(connection->client, sizeof connection->client, "%s", told);
    if (cvm_networks_hold(&server->trusted, told))
        return 0;
    if (cvm_limits_name(server->limits, told))
        return -1;
    (void)snprintf(connection->counted, sizeof connection->counted, "%s", told);
    return 0;
}

static void opening_leave_proxy(struct connection *connection, const char *told)
{
    int least = 1;
    (void)setsockopt(connection->stream.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
    if (opening_take_told(connection, told))
        cvm_connection_close(connection);
    else
        opening_begin_tls(connection);
}

/* The header is looked at first: what follows it is not to be read here. */
void cvm_opening_read_proxy(struct connection *connection)
{
    uint8_t bytes[CVM_LONGEST_PROXY];
    char told[CVM_ADDRESS_SIZE] = "";
    ssize_t length = recv(connection->stream.fd, bytes, sizeof bytes, MSG_PEEK);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
        cvm_connection_wait_again(connection, CVM_READABLE);
        return;
    }
    int32_t used = length > 0 ? cvm_proxy_read(bytes, (size_t)length, told) : PROXY_BAD;
    if (used == PROXY_MORE)
        opening_wait_for_proxy(connection, length);
    else if (used == PROXY_BAD || recv(connection->stream.fd, bytes, (size_t)used, 0) != used)
        cvm_connection_close(connection);
    else
        opening_leave_proxy(connection, told);
}

/* Who speaks HTTP to a port for TLS is told so in words that HTTP clients show. */
static void opening_answer_http(struct connection *connection)
{
    cvm_stream_stop_tls(&connection->stream);
    connection->must_close = 1;
    cvm_connection_answer_logged(connection, "invalid_request", "this port speaks TLS", NULL);
}

/* Who says nothing and goes did not begin a handshake: balancers look like that whether the port is
 * open. */
static void opening_fail_handshake(struct connection *connection)
{
    const struct cvm_stream *stream = &connection->stream;
    if (stream->hello.taken)
        cvm_server_report_handshake(connection->worker->server,
            stream->is_http ? cvm_connection_request_id(connection) : NULL, connection->client,
            stream->failure, stream->detail);
    if (stream->is_http)
        opening_answer_http(connection);
    else
        cvm_connection_close(connection);
}

void cvm_opening_shake_hands(struct connection *connection)
{
    int32_t rc = cvm_stream_handshake(&connection->stream);
    if (rc == 1)
        cvm_connection_serve(connection);
    else if (rc == STREAM_AGAIN)
        cvm_connection_wait_again(connection, connection->stream.wants);
    else
        opening_fail_handshake(connection);
}

void cvm_opening_end(struct connection *connection)
{
    if (connection->phase == HANDSHAKE)
        cvm_server_report_handshake(
            connection->worker->server, NULL, connection->client, CVM_TLS_TIMEOUT, NULL);
    cvm_connection_close(connection);
}

void cvm_opening_begin(struct connection *connection)
{
    if (connection->worker->server->proxy_protocol)
        cvm_connection_enter(connection, PROXY);
    else
        opening_begin_tls(connection);
}
