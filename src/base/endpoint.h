/* Names of hosts, and hosts with a port, as people write them and as devices are told them. */
#ifndef CVM_BASE_ENDPOINT_H
#define CVM_BASE_ENDPOINT_H

#include <stdint.h>

#define CVM_LONGEST_HOST  253
#define CVM_ENDPOINT_SIZE (CVM_LONGEST_HOST + sizeof "[]:65535")

/* 1 if it is an IPv4 or IPv6 address, without brackets. */
int32_t cvm_is_address(const char *text);
/* 1 if it is an address, or a DNS name: labels of letters, digits, "-" and "_", the last of which
 * is no number (1.2.3.999 is a mistyped address). */
int32_t cvm_is_host(const char *text);

struct cvm_endpoint {
    char host[CVM_LONGEST_HOST + 1]; /* without brackets */
    uint16_t port;
};

/* Reads HOST or HOST:PORT; an IPv6 address with a port stands in brackets. 0, or -1. */
int32_t cvm_endpoint_parse(const char *text, uint16_t usual_port, struct cvm_endpoint *endpoint);
/* Writes it: an IPv6 address in brackets, the port only where it is not the usual one. */
void cvm_endpoint_print(
    const struct cvm_endpoint *endpoint, uint16_t usual_port, char text[CVM_ENDPOINT_SIZE]);

#endif
