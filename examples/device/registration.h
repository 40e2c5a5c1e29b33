/* Registering: asking the server until it answers for good. */
#ifndef CVM_DEVICE_REGISTRATION_H
#define CVM_DEVICE_REGISTRATION_H

#include "credentials.h"
#include "http.h"
#include "retry.h"

struct registration {
    const char *uid;
    const char *token;
    EVP_PKEY *key;            /* NULL: the server is to make it */
    struct http_request http; /* its body is filled in here */
    struct retry retry;
};

/* Registers. 0, or an exit status, reported; the credentials are the caller's to free either way.
 */
int registration_run(
    struct registration *registration, struct credentials *credentials, time_t *server_time);

#endif
