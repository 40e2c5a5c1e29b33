/* Exchanges: a request goes to the instance's loop by its mailbox and comes back as an answer by
 * its transport's. It outlives what it came by. */
#ifndef CVM_TRANSPORTS_EXCHANGE_H
#define CVM_TRANSPORTS_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"
#include "transports/common/listener.h"
#include "transports/common/worker.h"

#define CVM_REQUEST_ID_SIZE     17
#define CVM_EXCHANGE_RETRY_S    5                  /* where nobody knows better */
#define CVM_EXCHANGE_ERROR_SIZE 768                /* of an error's body, at most */
#define CVM_EXCHANGE_MEDIA_TYPE "application/json" /* what the operator is told in */

struct cvm_exchange {
    struct cvm_mail mail;
    const struct cvm_listener *listener;
    struct cvm_worker *worker; /* on whose loop it is answered; it holds that */
    void *connection; /* the transport's: who waits, on that loop only; NULL: nobody any more */
    /* On that loop, once. It is freed afterwards. */
    void (*answered)(struct cvm_exchange *exchange);
    char request_id[CVM_REQUEST_ID_SIZE];
    char client[CVM_ADDRESS_SIZE];  /* the device's address */
    char counted[CVM_ADDRESS_SIZE]; /* the address that it counts for; "": none */
    char media_type[128], accept[128];
    uint8_t *bytes; /* the request's, then the answer's; NULL then: no memory for it */
    size_t length;
    /* The answer. */
    const char *answer_type;    /* static */
    int32_t status, is_refusal; /* a refusal's status is not yet what http.legacy_status asks for */
    uint32_t retry_after_s;
};

/* On the worker's loop: an exchange that has a place among those of the client's address. The
 * caller fills in what it asks: request_id, media_type, accept and bytes, which the exchange then
 * owns. NULL: there is no place, or no memory (then *why is NULL). */
struct cvm_exchange *cvm_exchange_new(
    struct cvm_listener *listener, struct cvm_worker *worker, const char *client, const char **why);
/* Both: answered and connection are set. Until it is answered, the exchange is the instance's. */
void cvm_exchange_register(struct cvm_exchange *exchange);
void cvm_exchange_ready(struct cvm_exchange *exchange);
/* On the worker's loop: nobody waits for the answer any more. */
void cvm_exchange_abandon(struct cvm_exchange *exchange);

#endif
