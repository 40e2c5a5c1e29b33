/* Takes the URL apart, resolves it once, and makes the TLS context. */
#include "target.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

static bool copy_part(char *to, size_t size, const char *from, size_t length)
{
    if (length == 0 || length >= size)
        return false;
    memcpy(to, from, length);
    to[length] = '\0';
    return true;
}

/* HOST, HOST:PORT or [ADDRESS]:PORT, and what follows the host. */
static const char *split_host(struct target *target, const char *text)
{
    bool bracketed = *text == '[';
    size_t length = bracketed ? strcspn(++text, "]") : strcspn(text, ":/");

    if (!copy_part(target->host, sizeof target->host, text, length))
        return NULL;
    return text + length + (bracketed && text[length] == ']' ? 1 : 0);
}

static bool split_url(struct target *target, const char *url)
{
    bool tls = strncmp(url, "https", 5) == 0;
    const char *rest = split_host(target, strstr(url, "://") + 3);
    const char *port = tls ? "443" : "80";
    size_t port_length = strlen(port);

    if (!rest)
        return false;
    if (*rest == ':') {
        port = ++rest;
        port_length = strcspn(port, "/");
        rest += port_length;
    }
    target->path = *rest == '/' ? rest : "/";
    return copy_part(target->port, sizeof target->port, port, port_length);
}

static bool resolve(struct target *target)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    unsigned char bytes[sizeof(struct in6_addr)];

    if (getaddrinfo(target->host, target->port, &hints, &found) != 0)
        return false;
    memcpy(&target->address, found->ai_addr, found->ai_addrlen);
    target->address_length = found->ai_addrlen;
    freeaddrinfo(found);
    target->name_is_address = inet_pton(AF_INET, target->host, bytes) == 1 ||
                              inet_pton(AF_INET6, target->host, bytes) == 1;
    return true;
}

static int count_ticket(SSL *tls, SSL_SESSION *session)
{
    struct target *target = SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));

    target->tickets += (uint64_t)SSL_SESSION_has_ticket(session);
    return 0;
}

static bool set_verification(struct target *target, const struct options *options)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(target->tls);

    if (options->insecure)
        return true;
    SSL_CTX_set_verify(target->tls, SSL_VERIFY_PEER, NULL);
    return SSL_CTX_load_verify_file(target->tls, options->ca_file) == 1 &&
           (target->name_is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, target->host)
                                    : X509_VERIFY_PARAM_set1_host(param, target->host, 0)) == 1;
}

static bool init_tls(struct target *target, const struct options *options)
{
    int version = strcmp(options->tls_version, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;

    target->tls = SSL_CTX_new(TLS_client_method());
    if (!target->tls)
        return false;
    SSL_CTX_set_app_data(target->tls, target);
    SSL_CTX_set_mode(target->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(target->tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(target->tls, count_ticket);
    /* In 1.2, full handshakes without a ticket; 1.3 has no way to ask for none. */
    SSL_CTX_set_options(target->tls, SSL_OP_NO_TICKET);
    return SSL_CTX_set_min_proto_version(target->tls, version) == 1 &&
           SSL_CTX_set_max_proto_version(target->tls, version) == 1 &&
           set_verification(target, options);
}

bool target_init(struct target *target, const struct options *options)
{
    *target = (struct target){0};
    if (!split_url(target, options->url) || !resolve(target)) {
        (void)fprintf(stderr, "cvm-load: no address in %s\n", options->url);
        return false;
    }
    if (strncmp(options->url, "https", 5) == 0 && !init_tls(target, options)) {
        (void)fprintf(stderr, "cvm-load: TLS can't be set up: %s\n",
            ERR_reason_error_string(ERR_peek_last_error()));
        return false;
    }
    return true;
}

void target_free(struct target *target)
{
    SSL_CTX_free(target->tls);
    target->tls = NULL;
}

SSL *target_new_tls(const struct target *target)
{
    SSL *tls = SSL_new(target->tls);

    if (tls && !target->name_is_address && SSL_set_tlsext_host_name(tls, target->host) != 1) {
        SSL_free(tls);
        return NULL;
    }
    return tls;
}
