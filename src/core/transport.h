/* What a transport is to the core: something that listens for one property's addresses. Transports
 * see the instance through cvm.h, and of the core only loop.h, log.h, throttle.h, metrics.h,
 * error.h, conf.h, health.h, instance/documents.h, formats/format.h and this. */
#ifndef CVM_CORE_TRANSPORT_H
#define CVM_CORE_TRANSPORT_H

#include "cvm/cvm.h"

struct cvm_loop;
struct cvm_transport;

struct cvm_transport_ops {
    const char *property; /* whose addresses it listens on */
    /* Listens and starts its threads. */
    cvm_error_t *(*open)(cvm_t *cvm, const cvm_conf_t *conf, struct cvm_transport **transport);
    /* Listener i as "https 127.0.0.1:8443"; NULL past the end. */
    const char *(*listener)(const struct cvm_transport *transport, uint32_t i);
    cvm_error_t *(*reload)(struct cvm_transport *transport);
    /* Takes no more requests, finishes those it has, then calls drained(argument) on the instance's
     * loop. */
    void (*drain)(struct cvm_transport *transport, void (*drained)(void *argument), void *argument);
    /* Frees a drained one. */
    void (*close)(struct cvm_transport *transport);
};

/* Every transport object begins with this. */
struct cvm_transport {
    const struct cvm_transport_ops *ops;
    cvm_t *cvm; /* the core's, once it is open */
};

/* The instance's loop, to post requests to. */
struct cvm_loop *cvm_loop_of(cvm_t *cvm);

#endif
