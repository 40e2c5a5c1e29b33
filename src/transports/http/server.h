/* The HTTP transport inside: a server has workers, a worker has connections, a connection has at
 * most one exchange with the instance at a time. */
#ifndef CVM_HTTP_SERVER_H
#define CVM_HTTP_SERVER_H

#include <pthread.h>

#include "address.h"
#include "connection_limits.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/metrics.h"
#include "core/transport.h"
#include "forwarded.h"
#include "handshakes.h"
#include "parser.h"
#include "stream.h"

#define CVM_MOST_ADDRESSES       8
#define CVM_HTTP_REQUEST_ID_SIZE 17

struct connection;
struct exchange;
struct worker;

/* What a path does. */
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
    cvm_t *cvm;
    const char *label;          /* cvm_connections' */
    const struct route *routes; /* ended by a path of NULL */
    struct timeouts timeouts;
    int32_t legacy_status, proxy_protocol;
    enum cvm_forwarded_header forwarded_header;
    struct cvm_networks trusted;
    struct cvm_limits *limits; /* of connections */
    struct cvm_handshakes *handshakes;
    struct cvm_limits *requests; /* of those in flight, by the device's address */
    char *certificate, *key;     /* paths; NULL: plain */
    pthread_mutex_t lock;        /* of context */
    SSL_CTX *context;
    int32_t fds[CVM_MOST_ADDRESSES];
    char names[CVM_MOST_ADDRESSES][CVM_ADDRESS_SIZE + 8];
    uint32_t fd_count;
    struct worker *workers;
    uint32_t worker_count, running;
    void (*drained)(void *argument);
    void *drained_argument;
};

struct worker {
    struct server *server;
    struct cvm_loop *loop;
    pthread_t thread;
    struct cvm_watch *watches[CVM_MOST_ADDRESSES];
    struct cvm_timer *backoff; /* after EMFILE */
    struct connection *connections;
    int32_t is_draining, is_closing, is_starved;
    uint32_t exchanges; /* that have not come back */
    uint32_t evictions; /* of handshakes that are over, of which it has yet to hear */
    struct cvm_mail drain, ended;
    char scratch[16384]; /* what is read is parsed at once */
};

/* connection.c */
/* Takes an accepted socket over. */
void cvm_connection_accept(struct worker *worker, int fd, const struct sockaddr_storage *address);
/* Lets it finish what it does, then closes it. */
void cvm_connection_drain(struct connection *connection);
/* Answers the request and goes on. name: an error's, for the Allow of a 405; extra: more headers.
 */
void cvm_connection_answer(struct connection *connection, int32_t status, const char *media_type,
    const char *extra, const char *body, size_t length);
/* Answers with an error of the library's, and logs it. */
void cvm_connection_answer_error(
    struct connection *connection, const char *name, const char *message, const char *extra);
/* Waits for an exchange. */
void cvm_connection_wait(struct connection *connection, struct exchange *exchange);
struct connection *cvm_connection_next(const struct connection *connection);
struct worker *cvm_connection_worker(const struct connection *connection);
struct cvm_parser *cvm_connection_request(struct connection *connection);
/* The device's address: the peer's, or what a trusted proxy told. */
const char *cvm_connection_client(const struct connection *connection);
/* The id of the request that is being served, made when it is first asked for. */
const char *cvm_connection_request_id(struct connection *connection);

/* server.c */
/* Any thread: the log's line for a request that did not reach the instance. request_id and detail,
 * which is one of a few texts, may be NULL. */
void cvm_server_log_refusal(struct server *server, const char *request_id, const char *peer,
    const char *code, const char *detail);
/* Any thread: counts a TLS handshake that failed, and logs it. request_id and detail may be NULL.
 */
void cvm_server_report_handshake(struct server *server, const char *request_id, const char *peer,
    const char *reason, const char *detail);

/* worker.c */
/* 0, or -1. */
int32_t cvm_worker_start(struct worker *worker, struct server *server);
/* Any thread: takes no more connections, and ends when it has none left. */
void cvm_worker_drain(struct worker *worker);
/* A connection or an exchange is gone. */
void cvm_worker_left(struct worker *worker);

/* exchange.c */
void cvm_exchange_register(struct connection *connection);
void cvm_exchange_ready(struct connection *connection);
/* The connection is gone before the answer came. */
void cvm_exchange_abandon(struct exchange *exchange);

#endif
