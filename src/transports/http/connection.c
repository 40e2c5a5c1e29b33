/*
 * A connection goes from phase to phase; PHASES says what each does when its socket is ready and
 * how long it may take. Deadlines are by phase, not by activity: a byte a second gains nothing.
 *
 *   PROXY → HANDSHAKE → IDLE → REQUEST → WAIT → ANSWER → IDLE …
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
#include "head.h"
#include "proxy.h"
#include "server.h"

#define LINGER_MS    2000
#define LINGER_BYTES 65536
#define HEAD_SIZE    512
#define ERROR_SIZE   768

enum phase { PROXY, HANDSHAKE, IDLE, REQUEST, WAIT, ANSWER, LINGER, PHASE_COUNT };

struct connection {
    struct worker *worker;
    struct connection *next, **link;
    struct cvm_stream stream;
    struct cvm_watch *watch;
    struct cvm_timer *deadline;
    enum phase phase;
    char peer[CVM_ADDRESS_SIZE], client[CVM_ADDRESS_SIZE];
    char request_id[CVM_HTTP_REQUEST_ID_SIZE]; /* "": none yet */
    char counted[CVM_ADDRESS_SIZE]; /* the address that it counts for; "": in the total alone */
    int32_t is_trusted, must_close;
    struct cvm_parser parser;
    const struct route *route;
    struct exchange *exchange;
    char *unread; /* what came behind a request */
    size_t unread_length;
    char *out;
    size_t out_length, out_sent;
    ssize_t proxy_seen; /* bytes of a PROXY header that isn't complete */
    size_t lingered;
};

static void happened(void *argument, uint32_t events);
static void enter(struct connection *connection, enum phase phase);
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

static void connection_close(struct connection *connection)
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
    cvm_parser_clear(&connection->parser);
    forget_unread(connection);
    wipe_out(connection);
    cvm_limits_leave(server->limits, connection->counted);
    cvm_metrics_add(cvm_metrics_of(server->cvm), METRIC_CONNECTIONS, &server->label, -1);
    free(connection);
    cvm_worker_left(worker);
}

/* The flow has a deadline of its own, which comes first; but a store's probe has none. */
static void give_up_waiting(struct connection *connection)
{
    cvm_exchange_abandon(connection->exchange);
    cvm_connection_answer_error(connection, "unknown", NULL, "Retry-After: 5\r\n");
}

static void deadline_over(void *argument)
{
    struct connection *connection = argument;
    connection->must_close = 1;
    if (connection->phase == REQUEST)
        cvm_connection_answer_error(connection, "request_timeout", NULL, NULL);
    else if (connection->phase == WAIT)
        give_up_waiting(connection);
    else
        connection_close(connection);
}

/* --- Phases ----------------------------------------------------------------------------------- */

/* Nothing more to read or write for now. A worker that drains does not wait for a request. */
static void wait_again(struct connection *connection, uint32_t events)
{
    if (connection->worker->is_draining && connection->phase <= IDLE)
        connection_close(connection);
    else
        cvm_watch_set(connection->watch, events);
}

static void leave_handshake(struct connection *connection)
{
    enter(connection, IDLE);
    happened(connection, CVM_READABLE); /* bytes may have come along */
}

static void begin_tls(struct connection *connection)
{
    struct server *server = connection->worker->server;
    if (!server->certificate) {
        enter(connection, IDLE);
        return;
    }
    pthread_mutex_lock(&server->lock);
    int32_t failed = cvm_stream_start_tls(&connection->stream, server->context);
    pthread_mutex_unlock(&server->lock);
    if (failed)
        connection_close(connection);
    else
        enter(connection, HANDSHAKE);
}

/* Waits for more than was seen: what is only peeked at would wake it again and again. Not for more
 * than there is if that is all that comes. */
static void wait_for_proxy(struct connection *connection, ssize_t length)
{
    int least = (int)length + 1;
    if (connection->proxy_seen == length || connection->worker->is_draining) {
        connection_close(connection);
        return;
    }
    connection->proxy_seen = length;
    (void)setsockopt(connection->stream.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
}

/* Takes over the address that a PROXY header told; "" if it told none, then the connection is the
 * proxy's. Another proxy's connections are many devices' too. 0, or -1 if the address has all the
 * connections that it may have. */
static int32_t take_told(struct connection *connection, const char *told)
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

static void leave_proxy(struct connection *connection, const char *told)
{
    int least = 1;
    (void)setsockopt(connection->stream.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
    if (take_told(connection, told))
        connection_close(connection);
    else
        begin_tls(connection);
}

/* The header is looked at first: what follows it is not to be read here. */
static void read_proxy(struct connection *connection)
{
    uint8_t bytes[CVM_LONGEST_PROXY];
    char told[CVM_ADDRESS_SIZE] = "";
    ssize_t length = recv(connection->stream.fd, bytes, sizeof bytes, MSG_PEEK);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
        wait_again(connection, CVM_READABLE);
        return;
    }
    int32_t used = length > 0 ? cvm_proxy_read(bytes, (size_t)length, told) : PROXY_BAD;
    if (used == PROXY_MORE)
        wait_for_proxy(connection, length);
    else if (used == PROXY_BAD || recv(connection->stream.fd, bytes, (size_t)used, 0) != used)
        connection_close(connection);
    else
        leave_proxy(connection, told);
}

static void shake_hands(struct connection *connection)
{
    int32_t rc = cvm_stream_handshake(&connection->stream);
    if (rc == 1)
        leave_handshake(connection);
    else if (rc == STREAM_AGAIN)
        wait_again(connection, connection->stream.wants);
    else
        connection_close(connection);
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
        wait_again(connection, connection->stream.wants);
    } else if (count <= 0) {
        connection_close(connection);
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
            connection_close(connection);
            return;
        }
        connection->out_sent += (size_t)count;
    }
    wipe_out(connection);
    if (connection->must_close) {
        cvm_stream_shutdown(&connection->stream);
        enter(connection, LINGER);
    } else {
        cvm_parser_next(&connection->parser);
        connection->route = NULL;
        connection->request_id[0] = 0;
        enter(connection, IDLE);
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
        connection_close(connection);
    else /* anew: libuv stops a watch whose socket has an error pending, such as a reset */
        cvm_watch_set(connection->watch, CVM_READABLE);
}

static const struct {
    void (*ready)(struct connection *connection);
    uint32_t events;
    size_t timeout; /* which of struct timeouts */
} PHASES[PHASE_COUNT] = {
    [PROXY] = {read_proxy, CVM_READABLE, offsetof(struct timeouts, handshake_ms)},
    [HANDSHAKE] = {shake_hands, CVM_READABLE, offsetof(struct timeouts, handshake_ms)},
    [IDLE] = {read_request, CVM_READABLE, offsetof(struct timeouts, idle_ms)},
    [REQUEST] = {read_request, CVM_READABLE, offsetof(struct timeouts, request_ms)},
    [WAIT] = {NULL, 0, offsetof(struct timeouts, wait_ms)},
    [ANSWER] = {write_answer, CVM_WRITABLE, offsetof(struct timeouts, answer_ms)},
    [LINGER] = {linger, CVM_READABLE, 0},
};

static void enter(struct connection *connection, enum phase phase)
{
    uint64_t delay_ms = LINGER_MS;
    uint32_t events = PHASES[phase].events;
    connection->phase = phase;
    if (PHASES[phase].timeout || phase != LINGER)
        memcpy(&delay_ms,
            (const char *)&connection->worker->server->timeouts + PHASES[phase].timeout,
            sizeof delay_ms);
    cvm_timer_start(connection->deadline, delay_ms);
    if (connection->worker->is_draining && phase <= IDLE)
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

static int32_t takes_method(const struct route *route, const char *method)
{
    for (size_t i = 0; route->methods[i]; i++)
        if (strcmp(route->methods[i], method) == 0)
            return 1;
    return 0;
}

static int32_t is_json(const char *media_type)
{
    size_t length = strcspn(media_type, "; \t");
    return !*media_type || (length == strlen("application/json") &&
                               strncasecmp(media_type, "application/json", length) == 0);
}

static void send_continue(struct connection *connection)
{
    static const char CONTINUE[] = "HTTP/1.1 100 Continue\r\n\r\n";
    /* It fits into an empty socket buffer; who does not get it sends the body after a while. */
    (void)cvm_stream_write(&connection->stream, CONTINUE, sizeof CONTINUE - 1);
}

/* As soon as the head is there: who is refused need not send a body. */
static void check_route(struct cvm_parser *parser)
{
    struct connection *connection = parser->owner;
    const struct route *route = connection->worker->server->routes;
    while (route->path && strcmp(route->path, parser->path) != 0)
        route++;
    connection->route = route;
    if (!route->path)
        parser->refusal = "not_found";
    else if (!takes_method(route, parser->method))
        parser->refusal = "method_not_allowed";
    else if (route->takes_json && !is_json(parser->media_type))
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
        cvm_proxy_forwarded_for(
            connection->parser.forwarded_for, &server->trusted, connection->client);
    connection->must_close = !connection->parser.keep_alive || connection->worker->is_draining;
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
        enter(connection, REQUEST);
    switch (cvm_parser_feed(&connection->parser, bytes, length, &used)) {
    case PARSED_MORE:
        forget_unread(connection);
        cvm_watch_set(connection->watch, CVM_READABLE);
        break;
    case PARSED_REFUSED:
        refuse(connection);
        break;
    case PARSED_REQUEST:
        if (keep_unread(connection, bytes + used, length - used))
            connection_close(connection);
        else
            serve(connection);
        break;
    }
}

/* --- Answers ---------------------------------------------------------------------------------- */

/* Nothing was sent of an answer whose head does not fit: a part of it could be read as another. */
static void fail_head(struct connection *connection)
{
    cvm_log_message(cvm_log_of(connection->worker->server->cvm), LOG_ERROR,
        "internal: the head of an answer does not fit; the connection is closed");
    connection_close(connection);
}

void cvm_connection_answer(struct connection *connection, int32_t status, const char *media_type,
    const char *extra, const char *body, size_t length)
{
    char text[HEAD_SIZE];
    connection->exchange = NULL;
    if (connection->worker->is_draining)
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
        connection_close(connection);
        return;
    }
    memcpy(connection->out, text, head_length);
    memcpy(connection->out + head_length, body, body_sent);
    enter(connection, ANSWER);
    write_answer(connection);
}

void cvm_connection_answer_error(
    struct connection *connection, const char *name, const char *message, const char *extra)
{
    char body[ERROR_SIZE];
    const char *request_id = cvm_connection_request_id(connection);
    int32_t status = cvm_error_render(name, message, request_id, body, sizeof body);
    cvm_server_log_refusal(connection->worker->server, request_id, connection->client, name);
    cvm_connection_answer(connection, connection->worker->server->legacy_status ? 200 : status,
        "application/json", extra, body, strlen(body));
}

void cvm_connection_wait(struct connection *connection, struct exchange *exchange)
{
    connection->exchange = exchange;
    enter(connection, WAIT);
}

/* --- Accepting and draining ------------------------------------------------------------------- */

void cvm_connection_accept(struct worker *worker, int fd, const struct sockaddr_storage *address)
{
    struct server *server = worker->server;
    char peer[CVM_ADDRESS_SIZE];
    cvm_address_text(address, peer);
    int32_t is_trusted = cvm_networks_hold(&server->trusted, peer);
    const char *counted = is_trusted ? "" : peer; /* a proxy's connections are many devices' */
    int32_t must_refuse = server->proxy_protocol && !is_trusted;
    struct connection *connection = NULL;
    if (must_refuse || cvm_limits_enter(server->limits, counted)) {
        (void)close(fd);
        return;
    }
    connection = calloc(1, sizeof *connection);
    if (connection) {
        connection->stream.fd = fd;
        connection->watch = cvm_watch_new(worker->loop, fd, happened, connection);
        connection->deadline = cvm_timer_new(worker->loop, deadline_over, connection);
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
    cvm_parser_init(&connection->parser, check_route, connection);
    connection->next = worker->connections;
    connection->link = &worker->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    worker->connections = connection;
    cvm_metrics_add(cvm_metrics_of(server->cvm), METRIC_CONNECTIONS, &server->label, 1);
    if (server->proxy_protocol)
        enter(connection, PROXY);
    else
        begin_tls(connection);
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
        (void)cvm_random_hex((CVM_HTTP_REQUEST_ID_SIZE - 1) / 2, connection->request_id);
    return connection->request_id;
}
