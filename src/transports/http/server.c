/* The two HTTP listeners: what they serve, how they open, reload, drain and close. */
#include "server.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf.h"
#include "core/error.h"
#include "core/instance/documents.h"
#include "http.h"

#define ANSWER_SLACK_MS 5000 /* the flow's deadline comes first, so that its answer can leave */
#define OPS_CONNECTIONS 64

/* --- Routes ----------------------------------------------------------------------------------- */

static void serve_live(struct connection *connection)
{
    static const char LIVE[] = "{\"live\":true}\n";
    cvm_connection_answer(connection, 200, "application/json", NULL, LIVE, sizeof LIVE - 1);
}

static void serve_metrics(struct connection *connection)
{
    size_t length;
    char *text = cvm_metrics_render(
        cvm_metrics_of(cvm_connection_worker(connection)->server->listener.cvm), &length);
    if (text)
        cvm_connection_answer(connection, 200, "text/plain; version=0.0.4", NULL, text, length);
    else
        cvm_connection_answer_error(connection, "internal", NULL, NULL);
    free(text);
}

static void serve_document(struct connection *connection)
{
    cvm_t *cvm = cvm_connection_worker(connection)->server->listener.cvm;
    const struct cvm_document *document =
        cvm_documents_get(cvm_documents_of(cvm), cvm_connection_request(connection)->path);
    if (document)
        cvm_connection_answer(
            connection, 200, document->media_type, NULL, document->bytes, document->length);
    else
        cvm_connection_answer_error(connection, "not_found", NULL, NULL);
    cvm_documents_let_go(cvm_documents_of(cvm), document);
}

#define CA_ROUTE                                                                                   \
    {                                                                                              \
        "/ca/", {"GET", "HEAD", NULL}, 0, serve_document                                           \
    }

static const struct route REGISTRATION_ROUTES[] = {
    {"/registration", {"POST", NULL}, 1, cvm_serve_registration}, CA_ROUTE,
    {NULL, {NULL}, 0, NULL}};

static const struct route CA_ROUTES[] = {CA_ROUTE, {NULL, {NULL}, 0, NULL}};

static const struct route OPS_ROUTES[] = {{"/livez", {"GET", "HEAD", NULL}, 0, serve_live},
    {"/readyz", {"GET", "HEAD", NULL}, 0, cvm_serve_ready},
    {"/metrics", {"GET", "HEAD", NULL}, 0, serve_metrics}, {NULL, {NULL}, 0, NULL}};

/* --- TLS -------------------------------------------------------------------------------------- */

/* Registers HTTP/1.1 where a client asks by ALPN; others go on without. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_length,
    const unsigned char *offered, unsigned int offered_length, void *argument)
{
    static const unsigned char HTTP_1_1[] = "\x08http/1.1";
    unsigned char *protocol;
    (void)ssl;
    (void)argument;
    if (SSL_select_next_proto(&protocol, chosen_length, HTTP_1_1, sizeof HTTP_1_1 - 1, offered,
            offered_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *chosen = protocol;
    return SSL_TLSEXT_ERR_OK;
}

static void offer_http(SSL_CTX *context)
{
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
}

static cvm_error_t *configure_tls(struct server *server, const cvm_conf_t *conf)
{
    server->tls.configure = offer_http;
    cvm_error_t *error = cvm_tls_set(&server->tls, cvm_conf_own(conf, "http.tls_certificate"),
        cvm_conf_own(conf, "http.tls_private_key"), "http.tls_certificate", "http.tls_private_key");
    if (error || !server->tls.certificate)
        return error;
    server->handshakes = cvm_handshakes_new((uint32_t)cvm_conf_own_number(conf, "limit.handshakes"),
        (uint32_t)cvm_conf_own_number(conf, "limit.handshakes_per_address"));
    return server->handshakes ? cvm_tls_load(&server->tls, server->listener.cvm)
                              : cvm_error_out_of_memory();
}

/* --- Opening ---------------------------------------------------------------------------------- */

static cvm_error_t *configure_proxies(struct server *server, const cvm_conf_t *conf)
{
    server->proxy_protocol = (int32_t)cvm_conf_own_number(conf, "http.proxy_protocol");
    server->forwarded_header =
        (enum cvm_forwarded_header)cvm_conf_own_number(conf, "http.forwarded_header");
    if (cvm_networks_parse(&server->listener.trusted, cvm_conf_own(conf, "http.trusted_proxies")))
        return cvm_error_out_of_memory(); /* its form was checked when it was set */
    if (server->proxy_protocol && !server->listener.trusted.count)
        return cvm_error_configuration("http.trusted_proxies",
            "http.proxy_protocol is on, but http.trusted_proxies names no "
            "proxy: everybody would be refused");
    return NULL;
}

static void server_free(struct server *server)
{
    cvm_listener_clear(&server->listener);
    cvm_tls_clear(&server->tls);
    cvm_limits_free(server->limits);
    cvm_handshakes_free(server->handshakes);
    free(server->workers);
    free(server);
}

static cvm_error_t *start_workers(struct server *server, uint32_t count)
{
    server->workers = calloc(count, sizeof *server->workers);
    if (!server->workers)
        return cvm_error_out_of_memory();
    server->running.cvm = server->listener.cvm;
    for (uint32_t i = 0; i < count; i++)
        if (cvm_http_worker_start(&server->workers[i], server))
            break;
    /* Fewer than wanted serve as well; none does not. */
    return server->running.count ? NULL
                                 : cvm_error_new(REASON_unavailable, "no thread for connections");
}

static struct server *server_new(cvm_t *cvm, const cvm_conf_t *conf,
    const struct cvm_transport_ops *ops, const struct route *routes, const char *label)
{
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->base.ops = ops;
    server->listener.cvm = cvm;
    server->listener.label = label;
    server->routes = routes;
    cvm_tls_init(&server->tls);
    server->timeouts = (struct timeouts){
        .handshake_ms = (uint64_t)cvm_conf_own_number(conf, "http.handshake_timeout"),
        .request_ms = (uint64_t)cvm_conf_own_number(conf, "http.request_timeout"),
        .wait_ms = (uint64_t)cvm_conf_own_number(conf, "request.deadline") + ANSWER_SLACK_MS,
        .answer_ms = (uint64_t)cvm_conf_own_number(conf, "http.answer_timeout"),
        .idle_ms = (uint64_t)cvm_conf_own_number(conf, "http.idle_timeout"),
    };
    return server;
}

/* Puts the parts together; the server is freed on failure. */
static cvm_error_t *finish_open(struct server *server, const cvm_conf_t *conf, uint32_t total,
    uint32_t per_address, uint32_t workers, cvm_error_t *error, struct cvm_transport **transport)
{
    const char *property = server->base.ops->property;
    server->limits = cvm_limits_new(total, per_address);
    server->listener.requests =
        cvm_limits_new(UINT32_MAX, per_address); /* limit.requests is their total */
    if (!error && (!server->limits || !server->listener.requests))
        error = cvm_error_out_of_memory();
    if (!error)
        error = cvm_listener_open(&server->listener, property, cvm_conf_own(conf, property),
            server->tls.certificate ? "https" : server->listener.label);
    if (!error)
        error = start_workers(server, workers);
    if (error) {
        server_free(server);
        return error;
    }
    *transport = &server->base;
    return NULL;
}

static cvm_error_t *open_registration(
    cvm_t *cvm, const cvm_conf_t *conf, struct cvm_transport **transport)
{
    struct server *server = server_new(cvm, conf, &CVM_HTTP_TRANSPORT, REGISTRATION_ROUTES, "http");
    if (!server)
        return cvm_error_out_of_memory();
    server->legacy_status = (int32_t)cvm_conf_own_number(conf, "http.legacy_status");
    cvm_error_t *error = configure_proxies(server, conf);
    if (!error)
        error = configure_tls(server, conf);
    return finish_open(server, conf, (uint32_t)cvm_conf_own_number(conf, "limit.connections"),
        (uint32_t)cvm_conf_own_number(conf, "limit.connections_per_address"),
        (uint32_t)cvm_conf_own_number(conf, "workers"), error, transport);
}

/* Whoever asks may be anybody, as at http.listen. */
static cvm_error_t *open_ca(cvm_t *cvm, const cvm_conf_t *conf, struct cvm_transport **transport)
{
    struct server *server = server_new(cvm, conf, &CVM_CA_TRANSPORT, CA_ROUTES, "ca");
    if (!server)
        return cvm_error_out_of_memory();
    return finish_open(server, conf, (uint32_t)cvm_conf_own_number(conf, "limit.connections"),
        (uint32_t)cvm_conf_own_number(conf, "limit.connections_per_address"), 1, NULL, transport);
}

static cvm_error_t *open_ops(cvm_t *cvm, const cvm_conf_t *conf, struct cvm_transport **transport)
{
    struct server *server = server_new(cvm, conf, &CVM_OPS_TRANSPORT, OPS_ROUTES, "ops");
    if (!server)
        return cvm_error_out_of_memory();
    return finish_open(server, conf, OPS_CONNECTIONS, OPS_CONNECTIONS, 1, NULL, transport);
}

/* --- The transport's other verbs -------------------------------------------------------------- */

static struct server *server_of(struct cvm_transport *transport)
{
    return CVM_CONTAINER(transport, struct server, base);
}

static const char *listener(const struct cvm_transport *transport, uint32_t i)
{
    const struct server *server = (const struct server *)(const void *)transport;
    return i < server->listener.fd_count ? server->listener.names[i] : NULL;
}

static cvm_error_t *reload(struct cvm_transport *transport)
{
    struct server *server = server_of(transport);
    return cvm_tls_load(&server->tls, server->listener.cvm);
}

static void drain(struct cvm_transport *transport, void (*drained)(void *argument), void *argument)
{
    cvm_workers_drain(&server_of(transport)->running, drained, argument);
}

static void close_server(struct cvm_transport *transport)
{
    server_free(server_of(transport));
}

const struct cvm_transport_ops CVM_HTTP_TRANSPORT = {
    "http.listen", open_registration, listener, reload, drain, close_server};
const struct cvm_transport_ops CVM_CA_TRANSPORT = {
    "ca.listen", open_ca, listener, reload, drain, close_server};
const struct cvm_transport_ops CVM_OPS_TRANSPORT = {
    "ops.listen", open_ops, listener, reload, drain, close_server};
