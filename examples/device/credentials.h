/* What a device needs to connect: from a registration's answer, or from disk. */
#ifndef CVM_DEVICE_CREDENTIALS_H
#define CVM_DEVICE_CREDENTIALS_H

#include "endpoint.h"
#include "pem.h"

#include <openssl/evp.h>
#include <time.h>

enum { THING_NAME_SIZE = 129, CERTIFICATE_ID_SIZE = 65 };

struct credentials {
    char endpoint[ENDPOINT_SIZE];
    char thing_name[THING_NAME_SIZE];
    EVP_PKEY *key;
    cert_stack *chain; /* the device's certificate, then its issuers, without the root */
    cert_stack *roots; /* whom to trust at the endpoint */
};

void credentials_free(struct credentials *credentials);

/* What is wrong with complete credentials at the time `now`; NULL if nothing is. */
const char *credentials_problem(const struct credentials *credentials, time_t now);

/* Lower-case hex SHA-256 of the certificate's DER: its name on every platform. */
void certificate_id(const struct credentials *credentials, char id[CERTIFICATE_ID_SIZE]);

/* `size` bytes as lower-case hex and NUL. */
void to_hex(const unsigned char *bytes, size_t size, char *hex);

#endif
