/* Why a TLS handshake failed, in one of a few words that are a metric's labels. */
#ifndef CVM_TRANSPORTS_TLS_FAILURE_H
#define CVM_TRANSPORTS_TLS_FAILURE_H

#define CVM_TLS_NOT_TLS "not_tls"
#define CVM_TLS_TIMEOUT "timeout"
#define CVM_TLS_RESET   "reset"
#define CVM_TLS_EVICTED "evicted"

/* The word for an entry of OpenSSL's error queue; 0, no entry, is a connection that broke. */
const char *cvm_tls_failure(unsigned long error);

#endif
