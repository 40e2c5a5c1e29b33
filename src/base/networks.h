/* Networks of addresses, such as those of proxies that are trusted. */
#ifndef CVM_BASE_NETWORKS_H
#define CVM_BASE_NETWORKS_H

#include <stdint.h>

struct cvm_network {
    uint8_t address[16]; /* IPv4 as IPv6-mapped */
    uint32_t bits;
};

struct cvm_networks {
    struct cvm_network *list;
    uint32_t count;
};

/* Reads "10.0.0.0/8, ::1". 0; -1 if something in it is no network, 1 without memory: then there is
 * nothing to clear. */
int32_t cvm_networks_parse(struct cvm_networks *networks, const char *text);
void cvm_networks_clear(struct cvm_networks *networks);
/* 1 if the address (text) lies in one of them. */
int32_t cvm_networks_hold(const struct cvm_networks *networks, const char *address);
/* Sixteen bytes for an address as text, IPv4 as IPv6-mapped. 0, or -1 if it is none. */
int32_t cvm_address_bytes(const char *text, uint8_t bytes[16]);

#endif
