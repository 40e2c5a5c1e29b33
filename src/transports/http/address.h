/* Addresses: what to listen on, who a peer is, and networks that are trusted. */
#ifndef CVM_HTTP_ADDRESS_H
#define CVM_HTTP_ADDRESS_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "cvm/cvm.h"

#define CVM_ADDRESS_SIZE 64   /* an address, or [address]:port, as text */
#define CVM_BACKLOG      1024 /* connections that wait to be accepted */

/* Opens a listening socket for "127.0.0.1:8443" or "[::]:8443" (of length bytes). Returns the
 * descriptor and sets bound to "ADDRESS:PORT" as it really is: for "[::]" of IPv4 alone where the
 * kernel has no IPv6. -1 and error. */
int32_t cvm_address_listen(
    const char *text, size_t length, char bound[CVM_ADDRESS_SIZE], cvm_error_t **error);
/* The address without port, IPv4 also where it came as an IPv6-mapped one. */
void cvm_address_text(const struct sockaddr_storage *address, char text[CVM_ADDRESS_SIZE]);

struct cvm_network {
    uint8_t address[16]; /* IPv4 as IPv6-mapped */
    uint32_t bits;
};

struct cvm_networks {
    struct cvm_network *list;
    uint32_t count;
};

/* Parses "10.0.0.0/8, ::1". NULL, or what is wrong with it. */
cvm_error_t *cvm_networks_parse(struct cvm_networks *networks, const char *text);
void cvm_networks_clear(struct cvm_networks *networks);
/* 1 if the address (text) lies in one of them. */
int32_t cvm_networks_hold(const struct cvm_networks *networks, const char *address);
/* Sixteen bytes for an address as text, IPv4 as IPv6-mapped. 0, or -1 if it is none. */
int32_t cvm_address_bytes(const char *text, uint8_t bytes[16]);

#endif
