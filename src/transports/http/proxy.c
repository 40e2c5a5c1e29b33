/* PROXY protocol v1 and v2. */
#include "proxy.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST_V1 107
#define V2_HEAD    16

static const uint8_t V2_SIGNATURE[12] = {
    0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

static int32_t is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits && digits <= 5 && !text[digits] && strtol(text, NULL, 10) <= UINT16_MAX;
}

/* In the one form that an address is written in. 0, or -1 if it is none. */
static int32_t print_address(const char *text, char client[CVM_ADDRESS_SIZE])
{
    struct sockaddr_storage found = {.ss_family = AF_INET6};
    struct sockaddr_in6 *six = (void *)&found;
    if (cvm_address_bytes(text, six->sin6_addr.s6_addr))
        return -1;
    cvm_address_text(&found, client);
    return 0;
}

/* "TCP4 source destination port port", one space between: as strict as the protocol asks for (a
 * line that sscanf takes may be another's). Cuts the line up. 0, or -1. */
static int32_t read_v1_addresses(char *line, char client[CVM_ADDRESS_SIZE])
{
    char *fields[5];
    uint8_t bytes[sizeof(struct in6_addr)];
    for (size_t i = 0; i < 5; i++)
        if (!(fields[i] = strsep(&line, " ")))
            return -1;
    int32_t is_four = strcmp(fields[0], "TCP4") == 0;
    int family = is_four ? AF_INET : AF_INET6;
    if (line || (!is_four && strcmp(fields[0], "TCP6") != 0) ||
        inet_pton(family, fields[1], bytes) != 1 || inet_pton(family, fields[2], bytes) != 1 ||
        !is_port(fields[3]) || !is_port(fields[4]))
        return -1;
    return print_address(fields[1], client);
}

/* "PROXY TCP4 source destination port port\r\n", or "PROXY UNKNOWN ...\r\n". */
static int32_t read_v1(const uint8_t *bytes, size_t length, char client[CVM_ADDRESS_SIZE])
{
    char line[LONGEST_V1 + 1];
    size_t seen = length < LONGEST_V1 ? length : LONGEST_V1;
    const uint8_t *end = memmem(bytes, seen, "\r\n", 2);
    if (!end)
        return length >= LONGEST_V1 ? PROXY_BAD : PROXY_MORE;
    memcpy(line, bytes, (size_t)(end - bytes));
    line[end - bytes] = 0;
    int32_t used = (int32_t)(end - bytes) + 2;
    if (strncmp(line, "PROXY UNKNOWN", 13) == 0)
        return !line[13] || line[13] == ' ' ? used : PROXY_BAD;
    if (strlen(line) != (size_t)(end - bytes)) /* a NUL */
        return PROXY_BAD;
    return read_v1_addresses(line + strlen("PROXY "), client) ? PROXY_BAD : used;
}

static int32_t read_v2(const uint8_t *bytes, size_t length, char client[CVM_ADDRESS_SIZE])
{
    if (length < V2_HEAD)
        return PROXY_MORE;
    size_t total = V2_HEAD + (size_t)(bytes[14] << 8 | bytes[15]);
    uint32_t version = bytes[12] >> 4, command = bytes[12] & 15, family = bytes[13];
    if (version != 2 || command > 1 || total > CVM_LONGEST_PROXY)
        return PROXY_BAD;
    if (length < total)
        return PROXY_MORE;
    if (command == 0) /* LOCAL: the proxy's own health check */
        return (int32_t)total;
    if (family == 0x11 && total >= V2_HEAD + 12)
        (void)inet_ntop(AF_INET, bytes + V2_HEAD, client, CVM_ADDRESS_SIZE);
    else if (family == 0x21 && total >= V2_HEAD + 36)
        (void)inet_ntop(AF_INET6, bytes + V2_HEAD, client, CVM_ADDRESS_SIZE);
    if (*client)
        (void)print_address(client, client);
    return (int32_t)total;
}

int32_t cvm_proxy_read(const uint8_t *bytes, size_t length, char client[CVM_ADDRESS_SIZE])
{
    size_t v1 = length < 6 ? length : 6, v2 = length < 12 ? length : 12;
    if (memcmp(bytes, "PROXY ", v1) == 0)
        return length < 6 ? PROXY_MORE : read_v1(bytes, length, client);
    if (memcmp(bytes, V2_SIGNATURE, v2) == 0)
        return length < 12 ? PROXY_MORE : read_v2(bytes, length, client);
    return PROXY_BAD;
}
