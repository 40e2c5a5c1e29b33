/*
 * A connection goes from phase to phase; PHASES says what each does when its socket is ready and
 * how long it may take. Deadlines are by phase, not by activity: a byte a second gains nothing.
 *
 *   PROXY → HANDSHAKE (both in opening.c) → IDLE → REQUEST → WAIT → ANSWER → IDLE …
 *   any → LINGER (the answer has left; what the peer still sends is thrown away) → closed
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/hex.h"
#include "base/secret.h"
#include "connection.h"
#include "core/error.h"
#include "core/formats/format.h"
#include "head.h"

#define LINGER_MS    2000
#define LINGER_BYTES 65536
#define HEAD_SIZE    512

static void happened(void *argument, uint32_t events);
static void take_bytes(struct connection *connection, const char *bytes, size_t length);

/* --- Life ------------------------------------------------------------------------------------- */

static void wipe_out(struct connection *connection)
{
    cvm_secret_free(connection->out, connection->out_length);
    connection->out = NULL;
}

static void forget_unread(struct connection *connection)
{
    cvm_secret_free(connection->unread, connection->unread_length);
    connection->unread = NULL;
    connection->unread_length = 0;
}

void cvm_connection_close(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct server *server = worker->server;
    if (connection->exchange)
        cvm_exchange_abandon(connection->exchange);
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    cvm_watch_free(connection->watch);
    cvm_timer_free(connection->deadline);
    cvm_stream_close(&connection->stream);
    cvm_opening_leave(connection);
    cvm_parser_clear(&connection->parser);
    forget_unread(connection);
    wipe_out(connection);
    cvm_limits_leave(server->limits, connection->counted);
    cvm_metrics_add(
        cvm_metrics_of(server->listener.cvm), METRIC_CONNECTIONS, &server->listener.label, -1);
    free(connection);
    cvm_worker_release(&worker->base);
}

/* The flow has a deadline of its own, which comes first; but a store's probe has none. */
static void give_up_waiting(struct connection *connection)
{
    cvm_exchange_abandon(connection->exchange);
    cvm_connection_answer_error(connection, "unknown", NULL, CVM_RETRY_LATER);
}

static void deadline_over(void *argument)
{
    struct connection *connection = argument;
    connection->must_close = 1;
    if (connection->phase == REQUEST)
        cvm_connection_answer_error(connection, "request_timeout", NULL, NULL);
    else if (connection->phase == WAIT)
        give_up_waiting(connection);
    else if (connection->phase <= HANDSHAKE)
        cvm_opening_late(connection);
    else
        cvm_connection_close(connection);
}

/* --- Phases ----------------------------------------------------------------------------------- */

void cvm_connection_wait_again(struct connection *connection, uint32_t events)
{
    if (connection->worker->base.is_draining && connection->phase <= IDLE)
        cvm_connection_close(connection);
    else
        cvm_watch_set(connection->watch, events);
}

static void read_request(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->unread_length) {
        take_bytes(connection, NULL, 0);
        return;
    }
    int32_t count = cvm_stream_read(&connection->stream, worker->scratch, sizeof worker->scratch);
    if (count == STREAM_AGAIN) {
        cvm_connection_wait_again(connection, connection->stream.wants);
    } else if (count <= 0) {
        cvm_connection_close(connection);
    } else {
        take_bytes(connection, worker->scratch, (size_t)count);
        OPENSSL_cleanse(worker->scratch, (size_t)count);
    }
}

static void write_answer(struct connection *connection)
{
    while (connection->out_sent < connection->out_length) {
        int32_t count = cvm_stream_write(&connection->stream,
            connection->out + connection->out_sent, connection->out_length - connection->out_sent);
        if (count == STREAM_AGAIN) {
            cvm_watch_set(connection->watch, connection->stream.wants);
            return;
        }
        if (count <= 0) {
            cvm_connection_close(connection);
            return;
        }
        connection->out_sent += (size_t)count;
    }
    wipe_out(connection);
    if (connection->must_close) {
        cvm_stream_shutdown(&connection->stream);
        cvm_connection_enter(connection, LINGER);
    } else {
        cvm_parser_next(&connection->parser);
        connection->route = NULL;
        connection->request_id[0] = 0;
        cvm_connection_enter(connection, IDLE);
        if (connection->unread_length) /* at the loop's next turn: others are served in between */
            cvm_watch_set(connection->watch, CVM_WRITABLE);
    }
}

/* A reset that follows unread bytes would take the answer away from the peer (RFC 9112 §9.6). */
static void linger(struct connection *connection)
{
    struct worker *worker = connection->worker;
    ssize_t count = recv(connection->stream.fd, worker->scratch, sizeof worker->scratch, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    connection->lingered += count > 0 ? (size_t)count : 0;
    if (count <= 0 || connection->lingered > LINGER_BYTES)
        cvm_connection_close(connection);
    else /* anew: libuv stops a watch whose socket has an error pending, such as a reset */
        cvm_watch_set(connection->watch, CVM_READABLE);
}

static const struct {
    void (*ready)(struct connection *connection);
    uint32_t events;
    size_t timeout; /* which of struct timeouts */
} PHASES[PHASE_COUNT] = {
    [PROXY] = {cvm_opening_read_proxy, CVM_READABLE, offsetof(struct timeouts, handshake_ms)},
    [HANDSHAKE] = {cvm_opening_shake_hands, CVM_READABLE, offsetof(struct timeouts, handshake_ms)},
    [IDLE] = {read_request, CVM_READABLE, offsetof(struct timeouts, idle_ms)},
    [REQUEST] = {read_request, CVM_READABLE, offsetof(struct timeouts, request_ms)},
    [WAIT] = {NULL, 0, offsetof(struct timeouts, wait_ms)},
    [ANSWER] = {write_answer, CVM_WRITABLE, offsetof(struct timeouts, answer_ms)},
    [LINGER] = {linger, CVM_READABLE, 0},
};

void cvm_connection_enter(struct connection *connection, enum phase phase)
{
    uint64_t delay_ms = LINGER_MS;
    uint32_t events = PHASES[phase].events;
    connection->phase = phase;
    if (PHASES[phase].timeout || phase != LINGER)
        memcpy(&delay_ms,
            (const char *)&connection->worker->server->timeouts + PHASES[phase].timeout,
            sizeof delay_ms);
    cvm_timer_start(connection->deadline, delay_ms);
    if (connection->worker->base.is_draining && phase <= IDLE)
        events |= CVM_WRITABLE; /* what is there is read once more; if nothing is, it closes */
    cvm_watch_set(connection->watch, events);
}

static void happened(void *argument, uint32_t events)
{
    struct connection *connection = argument;
    (void)events;
    if (PHASES[connection->phase].ready)
        PHASES[connection->phase].ready(connection);
}

/* --- Requests --------------------------------------------------------------------------------- */

void cvm_connection_serve(struct connection *connection)
{
    cvm_connection_enter(connection, IDLE);
    happened(connection, CVM_READABLE);
}

static int32_t takes_method(const struct route *route, const char *method)
{
    for (size_t i = 0; route->methods[i]; i++)
        if (strcmp(route->methods[i], method) == 0)
            return 1;
    return 0;
}

static void send_continue(struct connection *connection)
{
    static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
    /* It fits into an empty socket buffer; who does not get it sends the body after a while. */
    (void)cvm_stream_write(&connection->stream, CONTINUE, sizeof CONTINUE - 1);
}

static int32_t is_routed(const char *route, const char *path)
{
    size_t length = strlen(route);
    return route[length - 1] == '/' ? strncmp(route, path, length) == 0 : strcmp(route, path) == 0;
}

/* As soon as the head is there: who is refused need not send a body. */
static void check_route(struct cvm_parser *parser)
{
    struct connection *connection = parser->owner;
    const struct route *route = connection->worker->server->routes;
    while (route->path && !is_routed(route->path, parser->path))
        route++;
    connection->route = route;
    if (!route->path)
        parser->refusal = "not_found";
    else if (!takes_method(route, parser->method))
        parser->refusal = "method_not_allowed";
    else if (route->takes_payload && !cvm_format_of(parser->media_type))
        parser->refusal = "unsupported_media_type";
    else if (parser->expects_continue && parser->has_body)
        send_continue(connection);
}

static void refuse(struct connection *connection)
{
    const struct cvm_parser *parser = &connection->parser;
    const struct route *route = connection->route;
    char allow[64] = "";
    if (strcmp(parser->refusal, "method_not_allowed") == 0 && route && route->path)
        (void)snprintf(allow, sizeof allow, "Allow: %s%s%s\r\n", route->methods[0],
            route->methods[1] ? ", " : "", route->methods[1] ? route->methods[1] : "");
    connection->must_close = 1;
    cvm_connection_answer_error(connection, parser->refusal, parser->message, allow);
}

static void serve(struct connection *connection)
{
    struct server *server = connection->worker->server;
    if (!server->proxy_protocol)
        memcpy(connection->client, connection->peer, sizeof connection->client);
    if (!server->proxy_protocol && connection->is_trusted)
        cvm_forwarded_client(server->forwarded_header, connection->parser.forwarded,
            &server->listener.trusted, connection->client);
    connection->must_close = !connection->parser.keep_alive || connection->worker->base.is_draining;
    connection->route->serve(connection);
}

/* Keeps what came behind a request until that is answered. 0, or -1 without memory. */
static int32_t keep_unread(struct connection *connection, const char *bytes, size_t length)
{
    char *copy = NULL;
    if (length && !(copy = malloc(length)))
        return -1;
    if (copy)
        memcpy(copy, bytes, length);
    forget_unread(connection);
    connection->unread = copy;
    connection->unread_length = length;
    return 0;
}

/* Parses bytes, or what was kept when bytes is NULL. */
static void take_bytes(struct connection *connection, const char *bytes, size_t length)
{
    size_t used;
    if (!bytes) {
        bytes = connection->unread;
        length = connection->unread_length;
    }
    if (connection->phase == IDLE)
        cvm_connection_enter(connection, REQUEST);
    switch (cvm_parser_feed(&connection->parser, bytes, length, &used)) {
    case PARSED_MORE:
        forget_unread(connection);
        break;
    case PARSED_REFUSED:
        refuse(connection);
        break;
    case PARSED_REQUEST:
        if (keep_unread(connection, bytes + used, length - used))
            cvm_connection_close(connection);
        else
            serve(connection);
        break;
    }
}

/* --- Answers ---------------------------------------------------------------------------------- */

/* Nothing was sent of an answer whose head does not fit: a part of it could be read as another. */
static void fail_head(struct connection *connection)
{
    cvm_log_message(cvm_log_of(connection->worker->server->listener.cvm), LOG_ERROR,
        "internal: the head of an answer does not fit; the connection is closed");
    cvm_connection_close(connection);
}

void cvm_connection_answer(struct connection *connection, int32_t status, const char *media_type,
    const char *extra, const char *body, size_t length)
{
    char text[HEAD_SIZE];
    connection->exchange = NULL;
    if (connection->worker->base.is_draining)
        connection->must_close = 1;
    const struct cvm_head head = {status, connection->must_close, media_type, extra, length};
    size_t head_length = cvm_head_print(&head, text, sizeof text);
    if (!head_length) {
        fail_head(connection);
        return;
    }
    size_t body_sent = connection->parser.is_head ? 0 : length;
    connection->out_length = head_length + body_sent;
    connection->out_sent = 0;
    connection->out = malloc(connection->out_length);
    if (!connection->out) {
        cvm_connection_close(connection);
        return;
    }
    memcpy(connection->out, text, head_length);
    memcpy(connection->out + head_length, body, body_sent);
    cvm_connection_enter(connection, ANSWER);
    write_answer(connection);
}

void cvm_connection_answer_logged(
    struct connection *connection, const char *name, const char *message, const char *extra)
{
    const struct cvm_format *format =
        cvm_format_answered(connection->parser.media_type, connection->parser.accept);
    struct cvm_buffer body = {.most = CVM_EXCHANGE_ERROR_SIZE};
    cvm_error_t error;
    cvm_format_name_error(&error, name, message);
    cvm_format_render_error(format, &error, cvm_connection_request_id(connection), &body);
    cvm_connection_answer(connection,
        connection->worker->server->legacy_status ? 200 : cvm_reason_http_status(error.reason),
        format->error_type, extra, body.text ? body.text : "", body.length);
    cvm_buffer_free(&body);
}

void cvm_connection_answer_error(
    struct connection *connection, const char *name, const char *message, const char *extra)
{
    cvm_listener_log_refusal(&connection->worker->server->listener,
        cvm_connection_request_id(connection), connection->client, name, message);
    cvm_connection_answer_logged(connection, name, message, extra);
}

void cvm_connection_wait(struct connection *connection, struct cvm_exchange *exchange)
{
    connection->exchange = exchange;
    cvm_connection_enter(connection, WAIT);
}

/* --- Accepting and draining ------------------------------------------------------------------- */

void cvm_connection_accept(struct worker *worker, int fd, const struct sockaddr_storage *address)
{
    struct server *server = worker->server;
    char peer[CVM_ADDRESS_SIZE];
    cvm_address_text(address, peer);
    int32_t is_trusted = cvm_listener_trusts(&server->listener, peer);
    const char *counted = is_trusted ? "" : peer; /* a proxy's connections are many devices' */
    struct connection *connection = NULL;
    if (server->proxy_protocol && !is_trusted) {
        cvm_listener_log_refusal(
            &server->listener, NULL, peer, "invalid_request", "not a trusted proxy");
        (void)close(fd);
        return;
    }
    if (cvm_limits_enter(server->limits, counted)) {
        (void)close(fd);
        return;
    }
    connection = calloc(1, sizeof *connection);
    if (connection) {
        connection->stream.fd = fd;
        connection->watch = cvm_watch_new(worker->base.loop, fd, happened, connection);
        connection->deadline = cvm_timer_new(worker->base.loop, deadline_over, connection);
    }
    if (!connection || !connection->watch || !connection->deadline) {
        if (connection) {
            cvm_watch_free(connection->watch);
            cvm_timer_free(connection->deadline);
        }
        free(connection);
        (void)close(fd);
        cvm_limits_leave(server->limits, counted);
        return;
    }
    connection->worker = worker;
    connection->is_trusted = is_trusted;
    (void)snprintf(connection->counted, sizeof connection->counted, "%s", counted);
    memcpy(connection->peer, peer, sizeof peer);
    memcpy(connection->client, peer, sizeof peer);
    cvm_parser_init(
        &connection->parser, cvm_forwarded_name(server->forwarded_header), check_route, connection);
    connection->next = worker->connections;
    connection->link = &worker->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    worker->connections = connection;
    cvm_worker_hold(&worker->base);
    cvm_metrics_add(
        cvm_metrics_of(server->listener.cvm), METRIC_CONNECTIONS, &server->listener.label, 1);
    cvm_opening_begin(connection);
}

/* A request may be there that was not read yet: it is served, like those that were. */
void cvm_connection_drain(struct connection *connection)
{
    if (connection->phase <= IDLE)
        happened(connection, CVM_READABLE);
}

struct connection *cvm_connection_next(const struct connection *connection)
{
    return connection->next;
}

struct worker *cvm_connection_worker(const struct connection *connection)
{
    return connection->worker;
}

struct cvm_parser *cvm_connection_request(struct connection *connection)
{
    return &connection->parser;
}

const char *cvm_connection_client(const struct connection *connection)
{
    return connection->client;
}

const char *cvm_connection_request_id(struct connection *connection)
{
    if (!connection->request_id[0]) /* without randomness it stays empty */
        (void)cvm_random_hex((CVM_REQUEST_ID_SIZE - 1) / 2, connection->request_id);
    return connection->request_id;
}
