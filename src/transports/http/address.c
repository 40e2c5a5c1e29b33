/* Parsing and printing addresses; nothing here asks the DNS. */
#include "address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"

/* --- Listening -------------------------------------------------------------------------------- */

static void print_bound(int fd, char bound[CVM_ADDRESS_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char text[CVM_ADDRESS_SIZE];
    in_port_t port;
    (void)getsockname(fd, (struct sockaddr *)&address, &size);
    cvm_address_text(&address, text);
    /* The port stands at the same place for both families. */
    memcpy(&port, (const char *)&address + offsetof(struct sockaddr_in, sin_port), sizeof port);
    (void)snprintf(
        bound, CVM_ADDRESS_SIZE, strchr(text, ':') ? "[%.45s]:%u" : "%.45s:%u", text, ntohs(port));
}

static int open_socket(const struct addrinfo *info)
{
    int on = 1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) || listen(fd, CVM_BACKLOG)) {
        int failure = errno;
        (void)close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

/* A kernel without IPv6 can't listen on all addresses of both families: IPv4's are what there is.
 */
static int open_without_ipv6(const struct addrinfo *info)
{
    const struct sockaddr_in6 *six = (const void *)info->ai_addr;
    if (info->ai_family != AF_INET6 || !IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr))
        return -1;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six->sin6_port};
    const struct addrinfo other = {
        .ai_family = AF_INET, .ai_addr = (void *)&four, .ai_addrlen = sizeof four};
    return open_socket(&other);
}

/* Cuts "[::1]:80" or "127.0.0.1:80" into host and port, in place. 0, or -1. */
static int32_t split(char *text, char **host, char **port)
{
    *port = strrchr(text, ':');
    if (!*port)
        return -1;
    *(*port)++ = 0;
    *host = text;
    size_t length = strlen(text);
    if (*text == '[' && length > 1 && text[length - 1] == ']') {
        text[length - 1] = 0;
        (*host)++;
        return 0;
    }
    return strchr(text, ':') ? -1 : 0;
}

int32_t cvm_address_listen(
    const char *text, size_t length, char bound[CVM_ADDRESS_SIZE], cvm_error_t **error)
{
    const struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *info = NULL;
    char copy[CVM_ADDRESS_SIZE], *host, *port;
    int fd = -1;
    (void)snprintf(copy, sizeof copy, "%.*s", (int)length, text);
    if (length >= sizeof copy || split(copy, &host, &port) ||
        getaddrinfo(host, port, &hints, &info)) {
        *error = cvm_error_new(REASON_configuration,
            "'%.*s' is no address to listen on; write 127.0.0.1:8443 or [::]:8443", (int)length,
            text);
        return -1;
    }
    fd = open_socket(info);
    if (fd < 0 && errno == EAFNOSUPPORT)
        fd = open_without_ipv6(info);
    freeaddrinfo(info);
    if (fd < 0)
        *error = cvm_error_new(
            REASON_unavailable, "can't listen on %.*s: %s", (int)length, text, strerror(errno));
    else
        print_bound(fd, bound);
    return fd;
}

void cvm_address_text(const struct sockaddr_storage *address, char text[CVM_ADDRESS_SIZE])
{
    const struct sockaddr_in *four = (const void *)address;
    const struct sockaddr_in6 *six = (const void *)address;
    *text = 0;
    if (address->ss_family == AF_INET)
        (void)inet_ntop(AF_INET, &four->sin_addr, text, CVM_ADDRESS_SIZE);
    else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        (void)inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], text, CVM_ADDRESS_SIZE);
    else if (address->ss_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &six->sin6_addr, text, CVM_ADDRESS_SIZE);
}

/* --- Networks --------------------------------------------------------------------------------- */

int32_t cvm_address_bytes(const char *text, uint8_t bytes[16])
{
    if (inet_pton(AF_INET6, text, bytes) == 1)
        return 0;
    memset(bytes, 0, 10);
    bytes[10] = bytes[11] = 0xff;
    return inet_pton(AF_INET, text, bytes + 12) == 1 ? 0 : -1;
}

/* "ADDRESS" or "ADDRESS/BITS". 0, or -1. */
static int32_t parse_network(char *text, struct cvm_network *network)
{
    char *slash = strchr(text, '/'), *end = NULL;
    if (slash)
        *slash = 0;
    if (cvm_address_bytes(text, network->address))
        return -1;
    uint32_t most = strchr(text, ':') ? 128 : 32;
    unsigned long bits = slash ? strtoul(slash + 1, &end, 10) : most;
    if (slash && (!isdigit((unsigned char)slash[1]) || *end || bits > most))
        return -1;
    network->bits = (uint32_t)bits + 128 - most;
    return 0;
}

static int32_t add_network(struct cvm_networks *networks, char *text)
{
    struct cvm_network *more =
        realloc(networks->list, (networks->count + 1) * sizeof networks->list[0]);
    if (!more)
        return -1;
    networks->list = more;
    return parse_network(text, &networks->list[networks->count]) ? -1 : (networks->count++, 0);
}

cvm_error_t *cvm_networks_parse(struct cvm_networks *networks, const char *text)
{
    static const char SEPARATORS[] = ", \t";
    cvm_error_t *error = NULL;
    *networks = (struct cvm_networks){NULL, 0};
    for (text += strspn(text, SEPARATORS); *text && !error; text += strspn(text, SEPARATORS)) {
        char copy[CVM_ADDRESS_SIZE];
        size_t length = strcspn(text, SEPARATORS);
        (void)snprintf(copy, sizeof copy, "%.*s", (int)length, text);
        if (length >= sizeof copy || add_network(networks, copy))
            error = cvm_error_new(REASON_configuration,
                "'%.*s' is no address or network (ADDRESS/BITS)", (int)length, text);
        text += length;
    }
    if (error)
        cvm_networks_clear(networks);
    return error;
}

void cvm_networks_clear(struct cvm_networks *networks)
{
    free(networks->list);
    *networks = (struct cvm_networks){NULL, 0};
}

static int32_t has_prefix(const uint8_t bytes[16], const struct cvm_network *network)
{
    uint32_t whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(bytes, network->address, whole) != 0)
        return 0;
    uint32_t mask = 0xff00u >> rest;
    return !rest || ((bytes[whole] ^ network->address[whole]) & mask & 0xff) == 0;
}

int32_t cvm_networks_hold(const struct cvm_networks *networks, const char *address)
{
    uint8_t bytes[16];
    if (cvm_address_bytes(address, bytes))
        return 0;
    for (uint32_t i = 0; i < networks->count; i++)
        if (has_prefix(bytes, &networks->list[i]))
            return 1;
    return 0;
}
