/* Addresses as keys of tables. */
#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

uint64_t cvm_peer_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The IPv4 address in an IPv6 one, as inet_pton() would give it. */
static uint32_t mapped_address(const struct in6_addr *six)
{
    uint32_t four;
    memcpy(&four, six->s6_addr + 12, sizeof four);
    return four;
}

uint64_t cvm_peer_key(uint64_t seed, const char *address)
{
    struct in6_addr six;
    struct in_addr four;
    uint64_t value = UINT64_MAX;
    if (inet_pton(AF_INET, address, &four) == 1)
        value = four.s_addr;
    else if (inet_pton(AF_INET6, address, &six) == 1 && IN6_IS_ADDR_V4MAPPED(&six))
        value = mapped_address(&six);
    else if (inet_pton(AF_INET6, address, &six) == 1)
        memcpy(&value, &six, sizeof value);
    return cvm_peer_mix(cvm_peer_mix(value ^ seed) + seed) | 1;
}
