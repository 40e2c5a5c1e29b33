/* Opening, closing and reporting. */
#include "transports/common/listener.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/throttle.h"

cvm_error_t *cvm_listener_open(
    struct cvm_listener *listener, const char *property, const char *addresses, const char *scheme)
{
    cvm_error_t *error = NULL;
    for (const char *at = addresses + strspn(addresses, ", "); *at && !error;
         at += strspn(at, ", ")) {
        size_t length = strcspn(at, ", ");
        char bound[CVM_ADDRESS_SIZE];
        if (listener->fd_count == CVM_MOST_ADDRESSES)
            return cvm_error_configuration(property, "too many addresses to listen on");
        int fd = cvm_address_listen(at, length, bound, &error);
        if (fd >= 0 && *at == '[' && *bound != '[')
            cvm_log_message(cvm_log_of(listener->cvm), LOG_WARNING,
                "there is no IPv6 here: listening on %s instead of %.*s", bound, (int)length, at);
        if (fd >= 0) {
            uint32_t i = listener->fd_count++;
            listener->fds[i] = fd;
            (void)snprintf(listener->names[i], sizeof listener->names[i], "%s %s", scheme, bound);
        }
        at += length;
    }
    if (!error && !listener->fd_count)
        error =
            cvm_error_new(REASON_configuration, "no address to listen on; \"off\" turns it off");
    return cvm_error_about(error, property);
}

void cvm_listener_clear(struct cvm_listener *listener)
{
    for (uint32_t i = 0; i < listener->fd_count; i++)
        (void)close(listener->fds[i]);
    cvm_limits_free(listener->requests);
    cvm_networks_clear(&listener->trusted);
}

int32_t cvm_listener_trusts(const struct cvm_listener *listener, const char *address)
{
    return cvm_networks_hold(&listener->trusted, address);
}

void cvm_listener_log_refusal(const struct cvm_listener *listener, const char *request_id,
    const char *peer, const char *code, const char *detail)
{
    const struct cvm_log_field fields[] = {{"request_id", request_id}, {"peer", peer},
        {"transport", listener->label}, {"code", code}, {"detail", detail}};
    if (!cvm_throttle_takes(cvm_throttle_of(listener->cvm), LOG_INFO, peer, code, ""))
        return;
    cvm_log_write(
        cvm_log_of(listener->cvm), LOG_INFO, "refused", fields, sizeof fields / sizeof fields[0]);
}

void cvm_listener_report_handshake(const struct cvm_listener *listener, const char *request_id,
    const char *peer, const char *reason, const char *detail)
{
    char kind[48];
    const struct cvm_log_field fields[] = {{"request_id", request_id}, {"peer", peer},
        {"transport", listener->label}, {"reason", reason}, {"detail", detail}};
    cvm_metrics_add(cvm_metrics_of(listener->cvm), METRIC_TLS_FAILURES, &reason, 1);
    (void)snprintf(kind, sizeof kind, "TLS handshake: %s", reason);
    if (cvm_throttle_takes(cvm_throttle_of(listener->cvm), LOG_INFO, peer, kind, ""))
        cvm_log_write(cvm_log_of(listener->cvm), LOG_INFO, "TLS handshake failed", fields,
            sizeof fields / sizeof fields[0]);
}
