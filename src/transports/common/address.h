/* Addresses: what to listen on, and who a peer is. */
#ifndef CVM_TRANSPORTS_ADDRESS_H
#define CVM_TRANSPORTS_ADDRESS_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/networks.h"
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

#endif
