/* The broker's address as the registration answer gives it. */
#ifndef CVM_DEVICE_ENDPOINT_H
#define CVM_DEVICE_ENDPOINT_H

#include <stdbool.h>

enum { ENDPOINT_SIZE = 280 };

struct endpoint {
    char host[256]; /* a DNS name, or an address without brackets */
    int port;
};

/* HOST, HOST:PORT, [IPv6] or [IPv6]:PORT; the port is 8883 where none is given. */
bool endpoint_parse(const char *text, struct endpoint *endpoint);

#endif
