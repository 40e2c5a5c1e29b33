/* The two HTTP listeners: what they serve, how they open, reload, drain and close. */
#include "server.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "core/conf.h"
#include "core/error.h"
#include "core/health.h"
#include "core/throttle.h"
#include "http.h"

#define ANSWER_SLACK_MS       5000 /* the flow's deadline comes first, so that its answer can leave */
#define OPS_CONNECTIONS       64
#define CERTIFICATE_NOTICE_MS (INT64_C(14) * 24 * 3600 * 1000)

/* --- Routes ----------------------------------------------------------------------------------- */

static void serve_live(struct connection *connection)
{
    static const char LIVE[] = "{\"live\":true}\n";
    cvm_connection_answer(connection, 200, "application/json", NULL, LIVE, sizeof LIVE - 1);
}

static void serve_metrics(struct connection *connection)
{
    size_t length;
    char *text =
        cvm_metrics_render(cvm_metrics_of(cvm_connection_worker(connection)->server->cvm), &length);
    if (text)
        cvm_connection_answer(connection, 200, "text/plain; version=0.0.4", NULL, text, length);
    else
        cvm_connection_answer_error(connection, "internal", NULL, NULL);
    free(text);
}

static const struct route REGISTRATION_ROUTES[] = {
    {"/registration", {"POST", NULL}, 1, cvm_exchange_register}, {NULL, {NULL}, 0, NULL}};

static const struct route OPS_ROUTES[] = {{"/livez", {"GET", "HEAD", NULL}, 0, serve_live},
    {"/readyz", {"GET", "HEAD", NULL}, 0, cvm_exchange_ready},
    {"/metrics", {"GET", "HEAD", NULL}, 0, serve_metrics}, {NULL, {NULL}, 0, NULL}};

void cvm_server_log_refusal(struct server *server, const char *request_id, const char *peer,
    const char *code, const char *detail)
{
    const struct cvm_log_field fields[] = {{"request_id", request_id}, {"peer", peer},
        {"transport", server->label}, {"code", code}, {"detail", detail}};
    if (!cvm_throttle_takes(cvm_throttle_of(server->cvm), LOG_INFO, peer, code, ""))
        return;
    cvm_log_write(
        cvm_log_of(server->cvm), LOG_INFO, "refused", fields, sizeof fields / sizeof fields[0]);
}

void cvm_server_report_handshake(struct server *server, const char *request_id, const char *peer,
    const char *reason, const char *detail)
{
    char kind[48];
    const struct cvm_log_field fields[] = {{"request_id", request_id}, {"peer", peer},
        {"transport", server->label}, {"reason", reason}, {"detail", detail}};
    cvm_metrics_add(cvm_metrics_of(server->cvm), METRIC_TLS_FAILURES, &reason, 1);
    (void)snprintf(kind, sizeof kind, "TLS handshake: %s", reason);
    if (cvm_throttle_takes(cvm_throttle_of(server->cvm), LOG_INFO, peer, kind, ""))
        cvm_log_write(cvm_log_of(server->cvm), LOG_INFO, "TLS handshake failed", fields,
            sizeof fields / sizeof fields[0]);
}

/* --- TLS -------------------------------------------------------------------------------------- */

/* No device registers with a server whose certificate is over; it may be one that nobody here
 * renews. */
static void report_certificate(const struct server *server, const X509 *certificate)
{
    int64_t ends_ms = cvm_asn1_time_ms(X509_get0_notAfter(certificate)), ends_s = ends_ms / 1000;
    const char *file = server->certificate;
    cvm_metrics_set(cvm_metrics_of(server->cvm), METRIC_CERTIFICATE_EXPIRY, &file, (double)ends_s);
    cvm_health_set(server->cvm, file, NULL, cvm_asn1_time_ms(X509_get0_notBefore(certificate)),
        ends_ms, CERTIFICATE_NOTICE_MS);
}

static cvm_error_t *load_tls(struct server *server)
{
    cvm_error_t *error = NULL;
    if (!server->certificate)
        return NULL;
    SSL_CTX *context = cvm_stream_context(server->certificate, server->key, &error);
    if (!context)
        return error;
    report_certificate(server, SSL_CTX_get0_certificate(context));
    pthread_mutex_lock(&server->lock);
    SSL_CTX *before = server->context; /* connections hold on to what they began with */
    server->context = context;
    pthread_mutex_unlock(&server->lock);
    SSL_CTX_free(before);
    return NULL;
}

static cvm_error_t *configure_tls(struct server *server, const cvm_conf_t *conf)
{
    const char *certificate = cvm_conf_own(conf, "http.tls_certificate");
    const char *key = cvm_conf_own(conf, "http.tls_private_key");
    if (!*certificate && !*key)
        return NULL;
    if (!*certificate || !*key)
        return cvm_error_configuration(
            *certificate ? "http.tls_private_key" : "http.tls_certificate",
            "http.tls_certificate and http.tls_private_key belong together");
    server->certificate = strdup(certificate);
    server->key = strdup(key);
    server->handshakes = cvm_handshakes_new((uint32_t)cvm_conf_own_number(conf, "limit.handshakes"),
        (uint32_t)cvm_conf_own_number(conf, "limit.handshakes_per_address"));
    return server->certificate && server->key && server->handshakes ? load_tls(server)
                                                                    : cvm_error_out_of_memory();
}

/* --- Opening ---------------------------------------------------------------------------------- */

static cvm_error_t *configure_proxies(struct server *server, const cvm_conf_t *conf)
{
    server->proxy_protocol = (int32_t)cvm_conf_own_number(conf, "http.proxy_protocol");
    server->forwarded_header =
        (enum cvm_forwarded_header)cvm_conf_own_number(conf, "http.forwarded_header");
    if (cvm_networks_parse(&server->trusted, cvm_conf_own(conf, "http.trusted_proxies")))
        return cvm_error_out_of_memory(); /* its form was checked when it was set */
    if (server->proxy_protocol && !server->trusted.count)
        return cvm_error_configuration("http.trusted_proxies",
            "http.proxy_protocol is on, but http.trusted_proxies names no "
            "proxy: everybody would be refused");
    return NULL;
}

static void server_free(struct server *server)
{
    for (uint32_t i = 0; i < server->fd_count; i++)
        (void)close(server->fds[i]);
    SSL_CTX_free(server->context);
    cvm_limits_free(server->limits);
    cvm_limits_free(server->requests);
    cvm_handshakes_free(server->handshakes);
    cvm_networks_clear(&server->trusted);
    pthread_mutex_destroy(&server->lock);
    free(server->certificate);
    free(server->key);
    free(server->workers);
    free(server);
}

static cvm_error_t *listen_on_all(struct server *server, const char *addresses, const char *scheme)
{
    cvm_error_t *error = NULL;
    for (const char *at = addresses + strspn(addresses, ", "); *at && !error;
         at += strspn(at, ", ")) {
        size_t length = strcspn(at, ", ");
        char bound[CVM_ADDRESS_SIZE];
        if (server->fd_count == CVM_MOST_ADDRESSES)
            return cvm_error_configuration(
                server->base.ops->property, "too many addresses to listen on");
        int fd = cvm_address_listen(at, length, bound, &error);
        if (fd >= 0 && *at == '[' && *bound != '[')
            cvm_log_message(cvm_log_of(server->cvm), LOG_WARNING,
                "there is no IPv6 here: listening on %s instead of %.*s", bound, (int)length, at);
        if (fd >= 0) {
            uint32_t i = server->fd_count++;
            server->fds[i] = fd;
            (void)snprintf(server->names[i], sizeof server->names[i], "%s %s", scheme, bound);
        }
        at += length;
    }
    if (!error && !server->fd_count)
        error =
            cvm_error_new(REASON_configuration, "no address to listen on; \"off\" turns it off");
    return cvm_error_about(error, server->base.ops->property);
}

static cvm_error_t *start_workers(struct server *server, uint32_t count)
{
    server->workers = calloc(count, sizeof *server->workers);
    if (!server->workers)
        return cvm_error_out_of_memory();
    while (server->worker_count < count &&
           !cvm_worker_start(&server->workers[server->worker_count], server))
        server->worker_count++;
    server->running = server->worker_count;
    /* Fewer than wanted serve as well; none does not. */
    return server->running ? NULL : cvm_error_new(REASON_unavailable, "no thread for connections");
}

static struct server *server_new(cvm_t *cvm, const cvm_conf_t *conf,
    const struct cvm_transport_ops *ops, const struct route *routes, const char *label)
{
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->base.ops = ops;
    server->cvm = cvm;
    server->label = label;
    server->routes = routes;
    (void)pthread_mutex_init(&server->lock, NULL); /* can't fail with default attributes */
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
    server->limits = cvm_limits_new(total, per_address);
    server->requests = cvm_limits_new(UINT32_MAX, per_address); /* limit.requests is their total */
    if (!error && (!server->limits || !server->requests))
        error = cvm_error_out_of_memory();
    if (!error)
        error = listen_on_all(server, cvm_conf_own(conf, server->base.ops->property),
            server->certificate ? "https" : server->label);
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
    return i < server->fd_count ? server->names[i] : NULL;
}

static cvm_error_t *reload(struct cvm_transport *transport)
{
    return load_tls(server_of(transport));
}

static void drain(struct cvm_transport *transport, void (*drained)(void *argument), void *argument)
{
    struct server *server = server_of(transport);
    server->drained = drained;
    server->drained_argument = argument;
    for (uint32_t i = 0; i < server->worker_count; i++)
        cvm_worker_drain(&server->workers[i]);
}

static void close_server(struct cvm_transport *transport)
{
    server_free(server_of(transport));
}

const struct cvm_transport_ops CVM_HTTP_TRANSPORT = {
    "http.listen", open_registration, listener, reload, drain, close_server};
const struct cvm_transport_ops CVM_OPS_TRANSPORT = {
    "ops.listen", open_ops, listener, reload, drain, close_server};
