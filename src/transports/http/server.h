/* The HTTP transport inside: a server has workers, a worker has connections, a connection has at
 * most one exchange with the instance at a time. */
#ifndef CVM_HTTP_SERVER_H
#define CVM_HTTP_SERVER_H

#include "core/log.h"
#include "core/loop.h"
#include "core/metrics.h"
#include "core/transport.h"
#include "forwarded.h"
#include "handshakes.h"
#include "parser.h"
#include "transports/common/exchange.h"
#include "transports/common/listener.h"
#include "transports/common/stream.h"
#include "transports/common/tls.h"
#include "transports/common/worker.h"

/* A header, where nobody knows better. */
#define CVM_RETRY_LATER "Retry-After: 5\r\n"
_Static_assert(CVM_EXCHANGE_RETRY_S == 5, "one answer to when to come again");

struct connection;
struct worker;

/* What a path does; one that ends with a slash is for all below it. */
struct route {
    const char *path;
    const char *methods[3]; /* ended by NULL */
    int32_t takes_payload;
    void (*serve)(struct connection *connection);
};

struct timeouts {
    uint64_t handshake_ms, request_ms, wait_ms, answer_ms, idle_ms;
};

struct server {
    struct cvm_transport base;
    struct cvm_listener listener;
    struct cvm_tls tls;
    const struct route *routes; /* ended by a path of NULL */
    struct timeouts timeouts;
    int32_t legacy_status, proxy_protocol;
    enum cvm_forwarded_header forwarded_header;
    struct cvm_limits *limits; /* of connections */
    struct cvm_handshakes *handshakes;
    struct worker *workers;
    struct cvm_workers running;
};

/* Each of its connections holds it. */
struct worker {
    struct cvm_worker base;
    struct server *server;
    struct cvm_watch *watches[CVM_MOST_ADDRESSES];
    struct cvm_timer *backoff; /* after EMFILE */
    struct connection *connections;
    int32_t is_starved;
    char scratch[16384]; /* what is read is parsed at once */
};

/* connection.c */
/* Takes an accepted socket over. */
void cvm_connection_accept(struct worker *worker, int fd, const struct sockaddr_storage *address);
/* Lets it finish what it does, then closes it. */
void cvm_connection_drain(struct connection *connection);
/* Answers the request and goes on. extra: more headers. */
void cvm_connection_answer(struct connection *connection, int32_t status, const char *media_type,
    const char *extra, const char *body, size_t length);
/* Answers with an error of the library's, and logs it. */
void cvm_connection_answer_error(
    struct connection *connection, const char *name, const char *message, const char *extra);
/* Waits for an exchange. */
void cvm_connection_wait(struct connection *connection, struct cvm_exchange *exchange);
struct connection *cvm_connection_next(const struct connection *connection);
struct worker *cvm_connection_worker(const struct connection *connection);
struct cvm_parser *cvm_connection_request(struct connection *connection);
/* The device's address: the peer's, or what a trusted proxy told. */
const char *cvm_connection_client(const struct connection *connection);
/* The id of the request that is being served, made when it is first asked for. */
const char *cvm_connection_request_id(struct connection *connection);

/* worker.c */
/* 0, or -1. */
int32_t cvm_http_worker_start(struct worker *worker, struct server *server);

/* exchange.c: what the paths that ask the instance do */
void cvm_serve_registration(struct connection *connection);
void cvm_serve_ready(struct connection *connection);

#endif
