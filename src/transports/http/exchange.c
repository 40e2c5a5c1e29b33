/* How a connection's request becomes an exchange, and its answer the connection's. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "server.h"

static void answered(struct cvm_exchange *exchange)
{
    struct connection *connection = exchange->connection;
    const struct worker *worker = CVM_CONTAINER(exchange->worker, struct worker, base);
    char extra[40] = "";
    if (connection && exchange->bytes) {
        if (exchange->retry_after_s)
            (void)snprintf(extra, sizeof extra, "Retry-After: %u\r\n", exchange->retry_after_s);
        int32_t is_legacy = exchange->is_refusal && worker->server->legacy_status;
        cvm_connection_answer(connection, is_legacy ? 200 : exchange->status, exchange->answer_type,
            extra, (const char *)exchange->bytes, exchange->length);
    } else if (connection) { /* no memory for the answer, whatever it was */
        cvm_connection_answer_error(connection, "unknown", NULL, CVM_RETRY_LATER);
    }
}

/* 0, or -1 if the request was answered at once instead. */
static int32_t send_to_instance(
    struct connection *connection, void (*ask)(struct cvm_exchange *exchange))
{
    struct worker *worker = cvm_connection_worker(connection);
    struct cvm_parser *request = cvm_connection_request(connection);
    const char *why;
    struct cvm_exchange *exchange = cvm_exchange_new(
        &worker->server->listener, &worker->base, cvm_connection_client(connection), &why);
    if (!exchange) {
        cvm_connection_answer_error(connection, "overloaded", why, CVM_RETRY_LATER);
        return -1;
    }
    exchange->connection = connection;
    exchange->answered = answered;
    (void)snprintf(exchange->request_id, sizeof exchange->request_id, "%s",
        cvm_connection_request_id(connection));
    memcpy(exchange->media_type, request->media_type, sizeof exchange->media_type);
    memcpy(exchange->accept, request->accept, sizeof exchange->accept);
    exchange->bytes = request->body; /* moves */
    exchange->length = request->body_length;
    request->body = NULL;
    cvm_connection_wait(connection, exchange);
    ask(exchange);
    return 0;
}

void cvm_serve_registration(struct connection *connection)
{
    static const char *const OVERLOADED[] = {"error", "overloaded", "http"};
    cvm_t *cvm = cvm_connection_worker(connection)->server->listener.cvm;
    if (send_to_instance(connection, cvm_exchange_register))
        cvm_metrics_add(cvm_metrics_of(cvm), METRIC_REGISTRATIONS, OVERLOADED, 1);
}

void cvm_serve_ready(struct connection *connection)
{
    (void)send_to_instance(connection, cvm_exchange_ready);
}
