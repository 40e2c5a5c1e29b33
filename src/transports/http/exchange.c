/* Exchanges: a request goes to the instance's loop by its mailbox and comes back as an answer by
 * the worker's. It outlives its connection. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "server.h"

#define ERROR_SIZE  768
#define RETRY_LATER "Retry-After: 5\r\n"
#define JSON        "application/json" /* what errors and the operator are told in */

struct exchange {
    struct cvm_mail mail;
    struct worker *worker;
    struct connection *connection; /* the worker's thread only; NULL once it is gone */
    char request_id[CVM_HTTP_REQUEST_ID_SIZE], client[CVM_ADDRESS_SIZE], media_type[128];
    char counted[CVM_ADDRESS_SIZE]; /* the address that it counts for; "": none */
    uint8_t *body;                  /* the request's, then the answer's */
    size_t length;
    const char *answer_type; /* static */
    int32_t status;
    uint32_t retry_after_s;
};

static void exchange_free(struct exchange *exchange)
{
    cvm_limits_leave(exchange->worker->server->requests, exchange->counted);
    cvm_secret_free(exchange->body, exchange->length);
    free(exchange);
}

/* --- In the worker's thread ------------------------------------------------------------------- */

static void come_back(struct cvm_mail *mail)
{
    struct exchange *exchange = CVM_CONTAINER(mail, struct exchange, mail);
    char extra[40] = "";
    if (exchange->connection) {
        if (exchange->retry_after_s)
            (void)snprintf(extra, sizeof extra, "Retry-After: %u\r\n", exchange->retry_after_s);
        if (exchange->body)
            cvm_connection_answer(exchange->connection, exchange->status, exchange->answer_type,
                extra, (const char *)exchange->body, exchange->length);
        else /* no memory for the answer, whatever it was */
            cvm_connection_answer_error(exchange->connection, "unknown", NULL, RETRY_LATER);
    }
    struct worker *worker = exchange->worker;
    exchange_free(exchange);
    worker->exchanges--;
    cvm_worker_left(worker);
}

/* An exchange that has a place among those of the device's address. NULL, and the request is
 * answered. A proxy that tells no address of a device is many devices. */
static struct exchange *exchange_new(struct connection *connection)
{
    struct server *server = cvm_connection_worker(connection)->server;
    const char *client = cvm_connection_client(connection);
    const char *counted = cvm_networks_hold(&server->trusted, client) ? "" : client;
    if (cvm_limits_enter(server->requests, counted)) {
        cvm_connection_answer_error(connection, "overloaded",
            "too many requests from this address are under way", RETRY_LATER);
        return NULL;
    }
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange) {
        cvm_limits_leave(server->requests, counted);
        cvm_connection_answer_error(connection, "overloaded", NULL, RETRY_LATER);
        return NULL;
    }
    exchange->worker = cvm_connection_worker(connection);
    (void)snprintf(exchange->client, sizeof exchange->client, "%s", client);
    (void)snprintf(exchange->counted, sizeof exchange->counted, "%s", counted);
    return exchange;
}

/* 0, or -1 if the request was answered at once instead. */
static int32_t send_to_instance(struct connection *connection, void (*open)(struct cvm_mail *mail))
{
    struct cvm_parser *request = cvm_connection_request(connection);
    struct exchange *exchange = exchange_new(connection);
    if (!exchange)
        return -1;
    exchange->connection = connection;
    exchange->mail.open = open;
    exchange->worker->exchanges++;
    (void)snprintf(exchange->request_id, sizeof exchange->request_id, "%s",
        cvm_connection_request_id(connection));
    memcpy(exchange->media_type, request->media_type, sizeof exchange->media_type);
    exchange->body = request->body; /* moves */
    exchange->length = request->body_length;
    request->body = NULL;
    cvm_connection_wait(connection, exchange);
    cvm_loop_post(cvm_loop_of(exchange->worker->server->cvm), &exchange->mail);
    return 0;
}

void cvm_exchange_abandon(struct exchange *exchange)
{
    exchange->connection = NULL;
}

/* --- On the instance's loop ------------------------------------------------------------------- */

static void forget_request(struct exchange *exchange)
{
    cvm_secret_free(exchange->body, exchange->length);
    exchange->body = NULL;
    exchange->length = 0;
}

static void send_back(struct exchange *exchange)
{
    exchange->mail.open = come_back;
    cvm_loop_post(exchange->worker->loop, &exchange->mail);
}

static void take_answer(
    struct exchange *exchange, const char *media_type, const char *body, size_t length)
{
    forget_request(exchange);
    exchange->answer_type = media_type;
    exchange->body = malloc(length ? length : 1);
    if (exchange->body) {
        memcpy(exchange->body, body, length);
        exchange->length = length;
    }
}

/* An error from a call that was refused. */
static void take_error(struct exchange *exchange, const cvm_error_t *error)
{
    char body[ERROR_SIZE];
    exchange->status = cvm_error_render(
        cvm_error_name(error), cvm_error_text(error), exchange->request_id, body, sizeof body);
    cvm_server_log_refusal(exchange->worker->server, exchange->request_id, exchange->client,
        cvm_error_name(error), cvm_error_text(error));
    if (exchange->worker->server->legacy_status)
        exchange->status = 200;
    exchange->retry_after_s = cvm_error_retryable(error) ? 5 : 0;
    take_answer(exchange, JSON, body, strlen(body));
}

static void registered(void *user_data, const cvm_result_t *result)
{
    struct exchange *exchange = user_data;
    size_t length;
    const char *body = cvm_result_body(result, &length);
    exchange->status = cvm_result_http_status(result);
    exchange->retry_after_s = cvm_error_retry_after_s(cvm_result_error(result));
    if (body)
        take_answer(exchange, cvm_result_media_type(result), body, length);
    else
        forget_request(exchange);
    send_back(exchange);
}

static void register_device(struct cvm_mail *mail)
{
    struct exchange *exchange = CVM_CONTAINER(mail, struct exchange, mail);
    cvm_request_t *request = cvm_request_new();
    cvm_error_t *error = NULL;
    if (request) {
        cvm_error_free(cvm_request_set_peer(request, exchange->client)); /* it fits */
        cvm_error_free(cvm_request_set_transport(request, "http"));
        cvm_error_free(cvm_request_set_id(request, exchange->request_id));
    }
    error = cvm_handle(exchange->worker->server->cvm, request, exchange->media_type,
        exchange->body ? (const char *)exchange->body : "", exchange->length, registered, exchange,
        NULL);
    cvm_request_free(request);
    if (error) {
        take_error(exchange, error);
        cvm_error_free(error);
        send_back(exchange);
    }
}

static void checked(void *user_data, const cvm_error_t *error)
{
    static const char READY[] = "{\"ready\":true}\n";
    struct exchange *exchange = user_data;
    exchange->status = 200;
    if (error)
        take_error(exchange, error);
    else
        take_answer(exchange, JSON, READY, sizeof READY - 1);
    send_back(exchange);
}

static void check_instance(struct cvm_mail *mail)
{
    struct exchange *exchange = CVM_CONTAINER(mail, struct exchange, mail);
    cvm_error_t *error = cvm_check(exchange->worker->server->cvm, checked, exchange);
    if (error) {
        checked(exchange, error);
        cvm_error_free(error);
    }
}

/* --- Routes ----------------------------------------------------------------------------------- */

void cvm_exchange_register(struct connection *connection)
{
    static const char *const OVERLOADED[] = {"error", "overloaded", "http"};
    cvm_t *cvm = cvm_connection_worker(connection)->server->cvm;
    if (send_to_instance(connection, register_device))
        cvm_metrics_add(cvm_metrics_of(cvm), METRIC_REGISTRATIONS, OVERLOADED, 1);
}

void cvm_exchange_ready(struct connection *connection)
{
    (void)send_to_instance(connection, check_instance);
}
