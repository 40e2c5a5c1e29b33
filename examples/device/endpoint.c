/* Takes an endpoint apart. It comes from a server, so only what can be a name or an address is
 * taken for one. */
#include "endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { MQTT_OVER_TLS = 8883, HIGHEST_PORT = 65535 };

static bool parse_port(const char *text, int *port)
{
    int value = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9' && value <= HIGHEST_PORT; c++) {
        value = value * 10 + (*c - '0');
    }
    *port = value;
    return *c == '\0' && value >= 1 && value <= HIGHEST_PORT;
}

static bool is_host(const char *host, bool bracketed)
{
    if (bracketed) {
        unsigned char address[sizeof(struct in6_addr)];
        return inet_pton(AF_INET6, host, address) == 1;
    }
    static const char NAME[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return host[0] != '\0' && host[strspn(host, NAME)] == '\0';
}

bool endpoint_parse(const char *text, struct endpoint *endpoint)
{
    const bool bracketed = text[0] == '[';
    const char *host = bracketed ? text + 1 : text;
    const size_t length = strcspn(host, bracketed ? "]" : ":");
    if (length >= sizeof endpoint->host || (bracketed && host[length] != ']')) {
        return false;
    }
    memcpy(endpoint->host, host, length);
    endpoint->host[length] = '\0';

    const char *rest = host + length + (bracketed ? 1 : 0);
    endpoint->port = MQTT_OVER_TLS;
    if (*rest != '\0' && (*rest != ':' || !parse_port(rest + 1, &endpoint->port))) {
        return false;
    }
    return is_host(endpoint->host, bracketed);
}
