/* The HTTP transport: registration over HTTP/1.1, plain or TLS, what a CA publishes, and the
 * operator's listener. */
#ifndef CVM_HTTP_HTTP_H
#define CVM_HTTP_HTTP_H

#include "core/transport.h"

/* http.listen: POST /registration, GET /ca/... */
extern const struct cvm_transport_ops CVM_HTTP_TRANSPORT;
/* ca.listen: GET /ca/... */
extern const struct cvm_transport_ops CVM_CA_TRANSPORT;
/* ops.listen: GET /metrics, /livez, /readyz. */
extern const struct cvm_transport_ops CVM_OPS_TRANSPORT;

/* For builtin.c. */
#define CVM_HTTP_TRANSPORTS &CVM_HTTP_TRANSPORT, &CVM_CA_TRANSPORT, &CVM_OPS_TRANSPORT

#endif
