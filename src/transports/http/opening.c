/* What comes before a connection's first request: the PROXY header of a trusted proxy, and the TLS
 * handshake. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/clock.h"
#include "connection.h"
#include "proxy.h"
#include "transports/common/tls_failure.h"

#define PRESSED_MS 5000 /* while there are many handshakes */
#define AGAIN_MS   1000 /* how often is looked whether there are */

/* --- The places of handshakes ----------------------------------------------------------------- */

/* What a flood of handshakes took is in pieces that malloc keeps for the next one; after a flood it
 * is given back at once, or the server would look for ever as large as it was. */
static void opening_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void cvm_opening_leave(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct cvm_handshake *handshake = connection->handshake;
    if (!handshake)
        return;
    connection->handshake = NULL;
    handshake->connection = NULL;
    if (cvm_handshakes_end(worker->server->handshakes, handshake))
        cvm_worker_hold(&worker->base); /* until opening_evicted() frees it */
    else
        free(handshake);
    if (cvm_handshakes_are_few_again(worker->server->handshakes))
        opening_trim();
}

/* In the worker's thread: somebody took the place of one of its handshakes, which may be over. */
static void opening_evicted(struct cvm_mail *mail)
{
    struct cvm_handshake *handshake = CVM_CONTAINER(mail, struct cvm_handshake, evict);
    struct connection *connection = handshake->connection;
    struct worker *worker = handshake->worker;
    free(handshake);
    if (connection) {
        connection->handshake = NULL;
        cvm_listener_report_handshake(
            &worker->server->listener, NULL, connection->client, CVM_TLS_EVICTED, NULL);
        cvm_connection_close(connection);
    } else {
        cvm_worker_release(&worker->base);
    }
}

/* Takes a place for the connection's handshake. 0, or -1 without memory. */
static int32_t opening_enter(struct connection *connection)
{
    struct cvm_handshakes *handshakes = connection->worker->server->handshakes;
    struct cvm_handshake *handshake = calloc(1, sizeof *handshake), *evicted;
    if (!handshake)
        return -1;
    handshake->worker = connection->worker;
    handshake->connection = connection;
    handshake->evict.open = opening_evicted;
    if (cvm_handshakes_begin(handshakes, handshake, connection->counted, &evicted)) {
        free(handshake);
        return -1;
    }
    connection->handshake = handshake;
    if (evicted)
        cvm_loop_post(evicted->worker->base.loop, &evicted->evict);
    return 0;
}

/* --- TLS -------------------------------------------------------------------------------------- */

/* Looks again whether there are many handshakes, until this one's time is over. */
static void opening_wait(struct connection *connection, uint64_t at_most_ms)
{
    uint64_t now_ms = cvm_monotonic_ms(), ends_ms = connection->handshake_ends_ms;
    uint64_t left_ms = ends_ms > now_ms ? ends_ms - now_ms : 0;
    cvm_timer_start(connection->deadline, left_ms < at_most_ms ? left_ms : at_most_ms);
}

static void opening_begin_tls(struct connection *connection)
{
    struct server *server = connection->worker->server;
    if (!server->tls.certificate) {
        cvm_connection_enter(connection, IDLE);
    } else if (opening_enter(connection)) {
        cvm_connection_close(connection);
    } else {
        cvm_connection_enter(connection, HANDSHAKE);
        connection->handshake_ends_ms = cvm_monotonic_ms() + server->timeouts.handshake_ms;
        opening_wait(connection, PRESSED_MS);
    }
}

/* With the first bytes: who says nothing costs no more than a connection. 0, or -1 without memory.
 */
static int32_t opening_start_tls(struct connection *connection)
{
    return connection->stream.ssl
               ? 0
               : cvm_stream_start_tls(&connection->stream, &connection->worker->server->tls);
}

/* Who speaks HTTP to a port for TLS is told so in words that HTTP clients show. */
static void opening_answer_http(struct connection *connection)
{
    cvm_stream_stop_tls(&connection->stream);
    cvm_opening_leave(connection);
    connection->must_close = 1;
    cvm_connection_answer_logged(connection, "invalid_request", "this port speaks TLS", NULL);
}

/* Who says nothing and goes did not begin a handshake: balancers look like that whether the port is
 * open. */
static void opening_fail_handshake(struct connection *connection)
{
    const struct cvm_stream *stream = &connection->stream;
    if (stream->hello.taken)
        cvm_listener_report_handshake(&connection->worker->server->listener,
            stream->is_http ? cvm_connection_request_id(connection) : NULL, connection->client,
            stream->failure, stream->detail);
    if (stream->is_http)
        opening_answer_http(connection);
    else
        cvm_connection_close(connection);
}

static void opening_shaken(struct connection *connection)
{
    cvm_opening_leave(connection);
    cvm_connection_serve(connection);
}

void cvm_opening_shake_hands(struct connection *connection)
{
    if (opening_start_tls(connection)) {
        cvm_connection_close(connection);
        return;
    }
    int32_t rc = cvm_stream_handshake(&connection->stream);
    if (rc == 1)
        opening_shaken(connection);
    else if (rc == STREAM_AGAIN)
        cvm_connection_wait_again(connection, connection->stream.wants);
    else
        opening_fail_handshake(connection);
}

void cvm_opening_late(struct connection *connection)
{
    struct server *server = connection->worker->server;
    if (connection->phase == HANDSHAKE && cvm_monotonic_ms() < connection->handshake_ends_ms &&
        !cvm_handshakes_are_many(server->handshakes)) {
        opening_wait(connection, AGAIN_MS);
        return;
    }
    if (connection->phase == HANDSHAKE)
        cvm_listener_report_handshake(
            &server->listener, NULL, connection->client, CVM_TLS_TIMEOUT, NULL);
    cvm_connection_close(connection);
}

/* --- A PROXY header --------------------------------------------------------------------------- */

static void opening_refuse_proxy(struct connection *connection, const char *why)
{
    cvm_listener_log_refusal(
        &connection->worker->server->listener, NULL, connection->client, "invalid_request", why);
    cvm_connection_close(connection);
}

/* Waits for more than was seen: what is only peeked at would wake it again and again. Not for more
 * than there is if that is all that comes. */
static void opening_wait_for_proxy(struct connection *connection, ssize_t length)
{
    int least = (int)length + 1;
    if (connection->worker->base.is_draining) {
        cvm_connection_close(connection);
        return;
    }
    if (connection->proxy_seen == length) {
        opening_refuse_proxy(connection, "the PROXY header is not finished");
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
    if (cvm_listener_trusts(&server->listener, told))
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
    if (length <= 0) { /* a look whether the port is open */
        cvm_connection_close(connection);
        return;
    }
    int32_t used = cvm_proxy_read(bytes, (size_t)length, told);
    if (used == PROXY_MORE)
        opening_wait_for_proxy(connection, length);
    else if (used == PROXY_BAD)
        opening_refuse_proxy(connection, "what it begins with is no PROXY header");
    else if (recv(connection->stream.fd, bytes, (size_t)used, 0) != used)
        cvm_connection_close(connection);
    else
        opening_leave_proxy(connection, told);
}

void cvm_opening_begin(struct connection *connection)
{
    if (connection->worker->server->proxy_protocol)
        cvm_connection_enter(connection, PROXY);
    else
        opening_begin_tls(connection);
}
