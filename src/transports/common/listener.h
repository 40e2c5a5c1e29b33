/* What every listener has, whatever it speaks: its sockets, its trusted proxies, how many requests
 * of one address may be under way, and how it reports what did not reach the instance. */
#ifndef CVM_TRANSPORTS_LISTENER_H
#define CVM_TRANSPORTS_LISTENER_H

#include <stdint.h>

#include "base/networks.h"
#include "cvm/cvm.h"
#include "transports/common/address.h"
#include "transports/common/limits.h"

#define CVM_MOST_ADDRESSES 8

struct cvm_listener {
    cvm_t *cvm;
    const char *label; /* static; in the log, and cvm_connections' */
    struct cvm_networks trusted;
    struct cvm_limits *requests; /* of those in flight, by the device's address */
    int32_t fds[CVM_MOST_ADDRESSES];
    char names[CVM_MOST_ADDRESSES][CVM_ADDRESS_SIZE + 8];
    uint32_t fd_count;
};

/* Listens on all of property's addresses, which are named "SCHEME ADDRESS:PORT". */
cvm_error_t *cvm_listener_open(
    struct cvm_listener *listener, const char *property, const char *addresses, const char *scheme);
/* Closes its sockets and frees what it has, however far it came; the struct is the caller's. */
void cvm_listener_clear(struct cvm_listener *listener);
/* 1 if the address is a trusted proxy's. */
int32_t cvm_listener_trusts(const struct cvm_listener *listener, const char *address);
/* Any thread: the log's line for a request that did not reach the instance. request_id and detail,
 * which is one of a few texts, may be NULL. */
void cvm_listener_log_refusal(const struct cvm_listener *listener, const char *request_id,
    const char *peer, const char *code, const char *detail);
/* Any thread: counts a TLS handshake that failed, and logs it. reason: tls_failure.h's; request_id
 * and detail may be NULL. */
void cvm_listener_report_handshake(const struct cvm_listener *listener, const char *request_id,
    const char *peer, const char *reason, const char *detail);

#endif
