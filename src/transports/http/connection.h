/* A connection inside, for the two files that are about it: connection.c has its life and its
 * requests, opening.c what comes before the first of them. */
#ifndef CVM_HTTP_CONNECTION_H
#define CVM_HTTP_CONNECTION_H

#include <sys/types.h>

#include "server.h"

enum phase { PROXY, HANDSHAKE, IDLE, REQUEST, WAIT, ANSWER, LINGER, PHASE_COUNT };

struct connection {
    struct worker *worker;
    struct connection *next, **link;
    struct cvm_stream stream;
    struct cvm_watch *watch;
    struct cvm_timer *deadline;
    enum phase phase;
    char peer[CVM_ADDRESS_SIZE], client[CVM_ADDRESS_SIZE];
    char request_id[CVM_REQUEST_ID_SIZE]; /* "": none yet */
    char counted[CVM_ADDRESS_SIZE]; /* the address that it counts for; "": in the total alone */
    int32_t is_trusted, must_close;
    struct cvm_parser parser;
    const struct route *route;
    struct cvm_exchange *exchange;
    char *unread; /* what came behind a request */
    size_t unread_length;
    char *out;
    size_t out_length, out_sent;
    struct cvm_handshake *handshake; /* while it is under way */
    uint64_t handshake_ends_ms;
    ssize_t proxy_seen; /* bytes of a PROXY header that isn't complete */
    size_t lingered;
};

/* --- connection.c ----------------------------------------------------------------------------- */

void cvm_connection_close(struct connection *connection);
/* Waits for the phase's events, for as long as it may take. */
void cvm_connection_enter(struct connection *connection, enum phase phase);
/* There is nothing more to read or write for now. A worker that drains does not wait for a request.
 */
void cvm_connection_wait_again(struct connection *connection, uint32_t events);
/* Answers with an error of the library's, of which the caller has logged what there is to say. */
void cvm_connection_answer_logged(
    struct connection *connection, const char *name, const char *message, const char *extra);
/* The connection is open: requests may come, and bytes of one may be there. */
void cvm_connection_serve(struct connection *connection);

/* --- opening.c: a PROXY header and the TLS handshake, each if there has to be one ------------- */

/* The first phase of an accepted connection. */
void cvm_opening_begin(struct connection *connection);
/* What the phases PROXY and HANDSHAKE do when the socket is ready. */
void cvm_opening_read_proxy(struct connection *connection);
void cvm_opening_shake_hands(struct connection *connection);
/* The deadline of either is over. */
void cvm_opening_late(struct connection *connection);
/* A connection closes in whatever phase it is. */
void cvm_opening_leave(struct connection *connection);

#endif
