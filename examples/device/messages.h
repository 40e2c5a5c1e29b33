/* The registration's JSON: the request, and the answer taken apart. */
#ifndef CVM_DEVICE_MESSAGES_H
#define CVM_DEVICE_MESSAGES_H

#include "credentials.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <time.h>

enum { REQUEST_SIZE = 8192 };

struct answer {
    long status; /* the body's statusCode: where HTTP always says 200, this decides */
    const char *code;
    const char *message;
    bool retryable;
    const cJSON *payload;
    cJSON *json;
};

/* Renders the request; without a CSR (NULL) the server makes the key. False if it gets too long. */
bool request_render(const char *uid, const char *token, const char *csr, char text[REQUEST_SIZE]);

/* Reads an answer, success or error; false if it is none. Free it in either case. */
bool answer_parse(struct answer *answer, const char *text, size_t length);
void answer_free(struct answer *answer);

/* Takes credentials and time out of a successful answer. `own_key` is the key that was asked for,
 * NULL if the answer must bring one. Returns what is wrong, or NULL. */
const char *answer_credentials(const struct answer *answer, EVP_PKEY *own_key,
    struct credentials *credentials, time_t *server_time);

#endif
