/* Who a peer is to what counts by address. */
#ifndef CVM_BASE_PEER_H
#define CVM_BASE_PEER_H

#include <stdint.h>

/* A number for an address (text without port), never 0, that nobody can aim at without the seed.
 * One /64 is one peer: a host has 2^64 addresses in it. A mapped IPv4 address (RFC 4291 §2.5.5.2)
 * is the IPv4 address, and all texts that are no address are one peer. */
uint64_t cvm_peer_key(uint64_t seed, const char *address);
/* Mixes the bits of x: each bit of the result depends on all of them. */
uint64_t cvm_peer_mix(uint64_t x);

#endif
