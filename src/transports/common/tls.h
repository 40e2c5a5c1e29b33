/* A server's certificate: the context that new connections begin with, read anew at a reload. */
#ifndef CVM_TRANSPORTS_TLS_H
#define CVM_TRANSPORTS_TLS_H

#include <pthread.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "cvm/cvm.h"

struct cvm_tls {
    char *certificate, *key;             /* paths; NULL: there is none */
    void (*configure)(SSL_CTX *context); /* what the transport asks for besides; may be NULL */
    pthread_mutex_t lock;                /* of context */
    SSL_CTX *context;
};

/* Ready, without a certificate; of a struct that is all zero, but for configure. */
void cvm_tls_init(struct cvm_tls *tls);
/* Takes the paths, which are copied: both, or none ("" for each). Errors name the property that is
 * missing. */
cvm_error_t *cvm_tls_set(struct cvm_tls *tls, const char *certificate, const char *key,
    const char *certificate_property, const char *key_property);
void cvm_tls_clear(struct cvm_tls *tls);
/* Reads the files, again on a reload, and says how long the certificate is good. Connections keep
 * what they began with; so do new ones if it fails. */
cvm_error_t *cvm_tls_load(struct cvm_tls *tls, cvm_t *cvm);
/* Any thread: a new connection. NULL without memory. */
SSL *cvm_tls_connection(struct cvm_tls *tls);

#endif
