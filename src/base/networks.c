/* Prefixes of IPv6 addresses; an IPv4 address is a mapped one (RFC 4291 §2.5.5.2). */
#include "networks.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LONGEST_NETWORK 63

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

/* As cvm_networks_parse() answers. */
static int32_t add_network(struct cvm_networks *networks, char *text)
{
    struct cvm_network *more =
        realloc(networks->list, (networks->count + 1) * sizeof networks->list[0]);
    if (!more)
        return 1;
    networks->list = more;
    if (parse_network(text, &networks->list[networks->count]))
        return -1;
    networks->count++;
    return 0;
}

int32_t cvm_networks_parse(struct cvm_networks *networks, const char *text)
{
    static const char SEPARATORS[] = ", \t";
    int32_t failed = 0;
    *networks = (struct cvm_networks){NULL, 0};
    for (text += strspn(text, SEPARATORS); *text && !failed; text += strspn(text, SEPARATORS)) {
        char copy[LONGEST_NETWORK + 1];
        size_t length = strcspn(text, SEPARATORS);
        (void)snprintf(copy, sizeof copy, "%.*s", (int)length, text);
        failed = length > LONGEST_NETWORK ? -1 : add_network(networks, copy);
        text += length;
    }
    if (failed)
        cvm_networks_clear(networks);
    return failed;
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
