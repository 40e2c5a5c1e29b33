/* What a trusted proxy says of the peer behind it before all else: a PROXY header. */
#ifndef CVM_HTTP_PROXY_H
#define CVM_HTTP_PROXY_H

#include "transports/common/address.h"

#define CVM_LONGEST_PROXY 536 /* v1: 107 bytes; v2: 16 and what its addresses and TLVs need */

enum { PROXY_MORE = 0, PROXY_BAD = -1 };

/* Reads a PROXY header (v1 or v2, haproxy's proxy-protocol.txt) at the beginning of bytes. Returns
 * its length and the client's address (which stays as it is if it names none), PROXY_MORE or
 * PROXY_BAD. */
int32_t cvm_proxy_read(const uint8_t *bytes, size_t length, char client[CVM_ADDRESS_SIZE]);

#endif
