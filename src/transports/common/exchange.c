/* Both ways between a transport's loop and the instance's. */
#include "transports/common/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "core/error.h"
#include "core/formats/format.h"
#include "core/transport.h"

/* --- On the transport's loop ------------------------------------------------------------------ */

static void exchange_free(struct cvm_exchange *exchange)
{
    cvm_limits_leave(exchange->listener->requests, exchange->counted);
    cvm_secret_free(exchange->bytes, exchange->length);
    free(exchange);
}

static void come_back(struct cvm_mail *mail)
{
    struct cvm_exchange *exchange = CVM_CONTAINER(mail, struct cvm_exchange, mail);
    struct cvm_worker *worker = exchange->worker;
    exchange->answered(exchange);
    exchange_free(exchange);
    cvm_worker_release(worker);
}

/* A proxy that tells no address of a device is many devices. */
struct cvm_exchange *cvm_exchange_new(
    struct cvm_listener *listener, struct cvm_worker *worker, const char *client, const char **why)
{
    const char *counted = cvm_listener_trusts(listener, client) ? "" : client;
    *why = "too many requests from this address are under way";
    if (cvm_limits_enter(listener->requests, counted))
        return NULL;
    struct cvm_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange) {
        cvm_limits_leave(listener->requests, counted);
        *why = NULL;
        return NULL;
    }
    exchange->listener = listener;
    exchange->worker = worker;
    cvm_worker_hold(worker);
    (void)snprintf(exchange->client, sizeof exchange->client, "%s", client);
    (void)snprintf(exchange->counted, sizeof exchange->counted, "%s", counted);
    return exchange;
}

void cvm_exchange_abandon(struct cvm_exchange *exchange)
{
    exchange->connection = NULL;
}

/* --- On the instance's loop ------------------------------------------------------------------- */

static void forget_request(struct cvm_exchange *exchange)
{
    cvm_secret_free(exchange->bytes, exchange->length);
    exchange->bytes = NULL;
    exchange->length = 0;
}

static void send_back(struct cvm_exchange *exchange)
{
    exchange->mail.open = come_back;
    cvm_loop_post(exchange->worker->loop, &exchange->mail);
}

static void take_answer(
    struct cvm_exchange *exchange, const char *media_type, const char *body, size_t length)
{
    forget_request(exchange);
    exchange->answer_type = media_type;
    exchange->bytes = malloc(length ? length : 1);
    if (exchange->bytes) {
        memcpy(exchange->bytes, body, length);
        exchange->length = length;
    }
}

/* An error from a call that was refused. */
static void take_error(struct cvm_exchange *exchange, const cvm_error_t *error)
{
    const struct cvm_format *format = cvm_format_answered(exchange->media_type, exchange->accept);
    struct cvm_buffer body = {.most = CVM_EXCHANGE_ERROR_SIZE};
    cvm_format_render_error(format, error, exchange->request_id, &body);
    exchange->status = cvm_reason_http_status(error->reason);
    cvm_listener_log_refusal(exchange->listener, exchange->request_id, exchange->client,
        cvm_error_name(error), cvm_error_text(error));
    exchange->is_refusal = 1;
    exchange->retry_after_s = cvm_error_retryable(error) ? CVM_EXCHANGE_RETRY_S : 0;
    if (body.length)
        take_answer(exchange, format->error_type, body.text, body.length);
    else
        forget_request(exchange);
    cvm_buffer_free(&body);
}

static void registered(void *user_data, const cvm_result_t *result)
{
    struct cvm_exchange *exchange = user_data;
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
    struct cvm_exchange *exchange = CVM_CONTAINER(mail, struct cvm_exchange, mail);
    cvm_request_t *request = cvm_request_new();
    cvm_error_t *error = NULL;
    if (request) {
        cvm_error_free(cvm_request_set_peer(request, exchange->client)); /* it fits */
        cvm_error_free(cvm_request_set_transport(request, exchange->listener->label));
        cvm_error_free(cvm_request_set_id(request, exchange->request_id));
        cvm_error_free(cvm_request_set_accept(request, exchange->accept));
    }
    error = cvm_handle(exchange->listener->cvm, request, exchange->media_type,
        exchange->bytes ? (const char *)exchange->bytes : "", exchange->length, registered,
        exchange, NULL);
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
    struct cvm_exchange *exchange = user_data;
    exchange->status = 200;
    if (error)
        take_error(exchange, error);
    else
        take_answer(exchange, CVM_EXCHANGE_MEDIA_TYPE, READY, sizeof READY - 1);
    send_back(exchange);
}

static void check_instance(struct cvm_mail *mail)
{
    struct cvm_exchange *exchange = CVM_CONTAINER(mail, struct cvm_exchange, mail);
    cvm_error_t *error = cvm_check(exchange->listener->cvm, checked, exchange);
    if (error) {
        checked(exchange, error);
        cvm_error_free(error);
    }
}

/* --- To the instance -------------------------------------------------------------------------- */

static void post(struct cvm_exchange *exchange, void (*open)(struct cvm_mail *mail))
{
    exchange->mail.open = open;
    cvm_loop_post(cvm_loop_of(exchange->listener->cvm), &exchange->mail);
}

void cvm_exchange_register(struct cvm_exchange *exchange)
{
    post(exchange, register_device);
}

void cvm_exchange_ready(struct cvm_exchange *exchange)
{
    *exchange->media_type = *exchange->accept = 0; /* operators are told in JSON */
    post(exchange, check_instance);
}
