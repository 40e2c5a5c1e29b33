/* The HTTP transport: registration over HTTP/1.1, plain or TLS, and the operator's listener. */
#ifndef CVM_HTTP_HTTP_H
#define CVM_HTTP_HTTP_H

#include "core/transport.h"

/* http.listen: POST /registration. */
extern const struct cvm_transport_ops CVM_HTTP_TRANSPORT;
/* ops.listen: GET /metrics, /livez, /readyz. */
extern const struct cvm_transport_ops CVM_OPS_TRANSPORT;

/* For builtin.c. */
#define CVM_HTTP_TRANSPORTS &CVM_HTTP_TRANSPORT, &CVM_OPS_TRANSPORT

#endif
