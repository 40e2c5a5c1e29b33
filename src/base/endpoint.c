/* Reading and writing of hosts; nothing here asks the DNS. */
#include "endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LONGEST_LABEL 63 /* RFC 1035 §2.3.4 */
#define DIGITS        "0123456789"
#define LABEL         DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

static int32_t is_ipv6(const char *text)
{
    uint8_t address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET6, text, address) == 1;
}

int32_t cvm_is_address(const char *text)
{
    uint8_t address[sizeof(struct in_addr)];
    return inet_pton(AF_INET, text, address) == 1 || is_ipv6(text);
}

static int32_t is_dns_name(const char *text)
{
    size_t length;
    if (strlen(text) > CVM_LONGEST_HOST)
        return 0;
    for (;; text += length + 1) {
        length = strspn(text, LABEL);
        if (!length || length > LONGEST_LABEL || *text == '-' || text[length - 1] == '-')
            return 0;
        if (!text[length])
            return strspn(text, DIGITS) < length;
        if (text[length] != '.')
            return 0;
    }
}

int32_t cvm_is_host(const char *text)
{
    return cvm_is_address(text) || is_dns_name(text);
}

/* A port as text, to its end. 0, or -1. */
static int32_t parse_port(const char *text, uint16_t *port)
{
    size_t digits = strspn(text, DIGITS);
    long number = digits && digits <= 5 && !text[digits] ? strtol(text, NULL, 10) : 0;
    if (number < 1 || number > UINT16_MAX)
        return -1;
    *port = (uint16_t)number;
    return 0;
}

int32_t cvm_endpoint_parse(const char *text, uint16_t usual_port, struct cvm_endpoint *endpoint)
{
    const char *end = text + strlen(text), *colon = is_ipv6(text) ? NULL : strrchr(text, ':');
    int32_t has_brackets;
    endpoint->port = usual_port;
    if (colon && colon > text && !strchr(colon, ']')) {
        if (parse_port(colon + 1, &endpoint->port))
            return -1;
        end = colon;
    }
    has_brackets = end - text >= 2 && *text == '[' && end[-1] == ']';
    size_t length = (size_t)(end - text) - (has_brackets ? 2 : 0);
    if (length > CVM_LONGEST_HOST)
        return -1;
    memcpy(endpoint->host, text + has_brackets, length);
    endpoint->host[length] = 0;
    if (is_ipv6(endpoint->host))
        return has_brackets || !*end ? 0 : -1;
    return !has_brackets && cvm_is_host(endpoint->host) ? 0 : -1;
}

void cvm_endpoint_print(
    const struct cvm_endpoint *endpoint, uint16_t usual_port, char text[CVM_ENDPOINT_SIZE])
{
    int32_t is_six = strchr(endpoint->host, ':') != NULL;
    int length = snprintf(text, CVM_ENDPOINT_SIZE, is_six ? "[%s]" : "%s", endpoint->host);
    if (endpoint->port != usual_port)
        (void)snprintf(
            text + length, CVM_ENDPOINT_SIZE - (size_t)length, ":%u", (unsigned)endpoint->port);
}
