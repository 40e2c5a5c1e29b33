/* Parsing and printing addresses; nothing here asks the DNS. */
#include "transports/common/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compat.h"
#include "core/error.h"

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
    int fd = cvm_socket(info->ai_family, SOCK_STREAM);
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
