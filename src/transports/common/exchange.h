/* Exchanges: a request goes to the instance's loop by its mailbox and comes back as an answer by
 * its transport's. It outlives what it came by. */
#ifndef CVM_TRANSPORTS_EXCHANGE_H
#define CVM_TRANSPORTS_EXCHANGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"
#include "transports/common/listener.h"

#define CVM_REQUEST_ID_SIZE     17
#define CVM_EXCHANGE_RETRY_S    5                  /* where nobody knows better */
#define CVM_EXCHANGE_MEDIA_TYPE "application/json" /* what errors and the operator are told in */

struct cvm_exchange {
    struct cvm_mail mail;
    const struct cvm_listener *listener;
    struct cvm_loop *loop; /* the transport's, on which it is answered */
    void *worker;          /* the transport's own */
    void *connection; /* likewise: who waits for the answer, on loop only; NULL: nobody any more */
    /* On loop, once. It is freed afterwards. */
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

/* An exchange that has a place among those of the client's address. The caller fills in what it
 * asks: request_id, media_type, accept and bytes, which the exchange then owns. NULL: there is no
 * place, or no memory (then *why is NULL). */
struct cvm_exchange *cvm_exchange_new(
    struct cvm_listener *listener, const char *client, const char **why);
/* Both: loop, answered and connection are set. The exchange is the instance's until it is answered.
 */
void cvm_exchange_register(struct cvm_exchange *exchange);
void cvm_exchange_ready(struct cvm_exchange *exchange);
/* Nobody waits for the answer any more. On loop. */
void cvm_exchange_abandon(struct cvm_exchange *exchange);

#endif
