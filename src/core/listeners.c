/* The listeners of an instance: its transports, opened as the properties say. */
#include <string.h>

#include "builtin.h"
#include "entry.h"
#include "instance.h"
#include "instance/documents.h"

static void closed_again(void *argument)
{
    struct cvm_transport *transport = argument;
    cvm_t *cvm = transport->cvm;
    transport->ops->close(transport);
    cvm_release(cvm);
}

/* All listeners or none. */
static cvm_error_t *listen_failed(cvm_t *cvm, cvm_error_t *error)
{
    while (cvm->transport_count) {
        struct cvm_transport *transport = cvm->transports[--cvm->transport_count];
        cvm_hold(cvm);
        transport->ops->drain(transport, closed_again, transport);
    }
    return error;
}

cvm_error_t *cvm_listen(cvm_t *cvm)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, 1);
    if (error)
        return error;
    if (!cvm_is_started(cvm))
        return cvm_error_new(REASON_conflict, "the instance is not started");
    if (cvm->transport_count)
        return cvm_error_new(REASON_conflict, "the instance listens already");
    for (uint32_t i = 0; CVM_BUILTIN_TRANSPORTS[i]; i++) {
        const struct cvm_transport_ops *ops = CVM_BUILTIN_TRANSPORTS[i];
        if (strcmp(cvm_conf_own(cvm->conf, ops->property), "off") == 0)
            continue;
        error = ops->open(cvm, cvm->conf, &cvm->transports[cvm->transport_count]);
        if (error)
            return listen_failed(cvm, error);
        cvm->transports[cvm->transport_count++]->cvm = cvm;
    }
    for (uint32_t i = 0; cvm_listener(cvm, i); i++)
        cvm_log_message(cvm->log, LOG_INFO, "listening %s", cvm_listener(cvm, i));
    return NULL;
}

const char *cvm_listener(const cvm_t *cvm, uint32_t i)
{
    for (uint32_t t = 0; cvm_may_enter(cvm) && t < cvm->transport_count; t++) {
        const struct cvm_transport *transport = cvm->transports[t];
        for (uint32_t j = 0; transport->ops->listener(transport, j); j++)
            if (i-- == 0)
                return transport->ops->listener(transport, j);
    }
    return NULL;
}

static void drained(void *argument)
{
    cvm_release(argument);
}

void cvm_listeners_drain(cvm_t *cvm)
{
    for (uint32_t i = 0; i < cvm->transport_count; i++) {
        cvm_hold(cvm);
        cvm->transports[i]->ops->drain(cvm->transports[i], drained, cvm);
    }
}

void cvm_listeners_close(cvm_t *cvm)
{
    while (cvm->transport_count) {
        struct cvm_transport *transport = cvm->transports[--cvm->transport_count];
        transport->ops->close(transport);
    }
}

cvm_error_t *cvm_listeners_reload(cvm_t *cvm)
{
    cvm_error_t *first = NULL;
    for (uint32_t i = 0; i < cvm->transport_count; i++) {
        cvm_error_t *error = cvm->transports[i]->ops->reload(cvm->transports[i]);
        if (first)
            cvm_error_free(error);
        else
            first = error;
    }
    return first;
}

/* --- For transports --------------------------------------------------------------------------- */

struct cvm_loop *cvm_loop_of(cvm_t *cvm)
{
    return cvm->loop;
}

struct cvm_log *cvm_log_of(cvm_t *cvm)
{
    return cvm->log;
}

struct cvm_throttle *cvm_throttle_of(cvm_t *cvm)
{
    return cvm->log_throttle;
}

struct cvm_documents *cvm_documents_of(cvm_t *cvm)
{
    return cvm->documents;
}

struct cvm_metrics *cvm_metrics_of(cvm_t *cvm)
{
    return cvm->metrics;
}
