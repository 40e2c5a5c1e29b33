/* The TLS handshakes that are under way, of all workers: how many there may be, in total and from
 * one address, and which of them has to go when one too many begins. */
#ifndef CVM_HTTP_HANDSHAKES_H
#define CVM_HTTP_HANDSHAKES_H

#include <stdint.h>

#include "core/loop.h"

struct connection;
struct cvm_handshakes;
struct worker;

/* One of them. The first three are its owner's. */
struct cvm_handshake {
    struct worker *worker;
    struct connection *connection; /* the worker's thread only; NULL once the handshake is over */
    struct cvm_mail evict;         /* to the worker, from whoever begins one too many */
    struct cvm_handshake *newer;   /* of its address */
    struct cvm_handshake **link;   /* what points to it: an older one's newer, or the oldest */
    struct handshakes_address *address;
    uint64_t number; /* by age */
    int32_t is_evicted;
};

struct cvm_handshakes *cvm_handshakes_new(uint32_t total, uint32_t per_address);
void cvm_handshakes_free(struct cvm_handshakes *handshakes);
/* All that follow: any thread. Counts one that begins; for address "" in the total alone. It is
 * never refused: if there are too many, the oldest of its address, or else of the address that has
 * most, becomes *evicted (else NULL). That one does not count any more, and the caller posts its
 * mail to its worker. 0, or -1 without memory. */
int32_t cvm_handshakes_begin(struct cvm_handshakes *handshakes, struct cvm_handshake *handshake,
    const char *address, struct cvm_handshake **evicted);
/* Counts its end. Returns 1 if it was evicted in the meantime: then its mail is on its way, and it
 * has to live until that is opened. */
int32_t cvm_handshakes_end(struct cvm_handshakes *handshakes, struct cvm_handshake *handshake);
/* 1 while half of the places, or more, are taken. */
int32_t cvm_handshakes_are_many(struct cvm_handshakes *handshakes);
/* 1, once, when there are few of them again after there were many. */
int32_t cvm_handshakes_are_few_again(struct cvm_handshakes *handshakes);

#endif
