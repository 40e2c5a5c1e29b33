/* Whom the device believes: the rules for a server's certificate, the same for HTTPS and MQTT. */
#ifndef CVM_DEVICE_TRUST_H
#define CVM_DEVICE_TRUST_H

#include "pem.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <time.h>

struct trust {
    const cert_stack *anchors; /* these and no others */
    time_t now;                /* from clock_now */
    const char *host;          /* name or address to insist on */
};

/* Sets up a client's context; false if it can't be done. */
bool trust_apply(SSL_CTX *context, const struct trust *trust);

#endif
