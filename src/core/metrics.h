/* Counters, gauges and histograms in Prometheus' text form. Never a uid or serial as a label. */
#ifndef CVM_CORE_METRICS_H
#define CVM_CORE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/cvm.h"

/* id, name, type, label names separated by commas, help */
#define CVM_METRIC_MAP(X)                                                                          \
    X(REGISTRATIONS, "cvm_registrations_total", COUNTER, "result,reason,transport",                \
        "Registration attempts.")                                                                  \
    X(REGISTRATION_DURATION, "cvm_registration_duration_seconds", HISTOGRAM, "",                   \
        "From the request to its answer.")                                                         \
    X(AUTH_FAILURES, "cvm_auth_failures_total", COUNTER, "reason", "Proofs that failed.")          \
    X(KEY_CONFLICTS, "cvm_key_conflicts_total", COUNTER, "",                                       \
        "Registered devices that came with another key: it may be a clone.")                       \
    X(CERTIFICATES_ISSUED, "cvm_certificates_issued_total", COUNTER, "platform",                   \
        "Certificates that were recorded as current.")                                             \
    X(CERTIFICATES_REVOKED, "cvm_certificates_revoked_total", COUNTER, "reason",                   \
        "Revocations that were carried out.")                                                      \
    X(STORE_DURATION, "cvm_store_operation_duration_seconds", HISTOGRAM, "store,op",               \
        "Store operations.")                                                                       \
    X(PLATFORM_REQUESTS, "cvm_platform_requests_total", COUNTER, "platform,call,result",           \
        "Calls of the platform.")                                                                  \
    X(CONNECTIONS, "cvm_connections", GAUGE, "transport", "Open connections.")                     \
    X(TLS_FAILURES, "cvm_tls_handshake_failures_total", COUNTER, "reason",                         \
        "TLS handshakes that failed.")                                                             \
    X(QUEUE_DEPTH, "cvm_queue_depth", GAUGE, "", "Requests in flight.")                            \
    X(CA_EXPIRY, "cvm_ca_certificate_expiry_timestamp_seconds", GAUGE, "ca",                       \
        "When a CA certificate ends.")                                                             \
    X(CERTIFICATE_EXPIRY, "cvm_certificate_expiry_timestamp_seconds", GAUGE, "file",               \
        "When a server's certificate ends: our own, the broker's.")                                \
    X(CRL_NEXT_UPDATE, "cvm_crl_next_update_timestamp_seconds", GAUGE, "", "When the CRL ends.")   \
    X(CRL_NUMBER, "cvm_crl_number", GAUGE, "issuer", "The number of the CRL in crl.pem.")          \
    X(CRL_MADE, "cvm_crl_made_timestamp_seconds", GAUGE, "issuer",                                 \
        "When the CRL in crl.pem was made, by whichever server.")                                  \
    X(CRL_UNSIGNED_ROWS, "cvm_crl_unsigned_rows", GAUGE, "issuer",                                 \
        "Revoked certificates of an issuer whose key is not here: no CRL lists them.")             \
    X(CLOCK_TRUSTED, "cvm_clock_trusted", GAUGE, "",                                               \
        "1 while the clock can be right; 0: nothing is issued, published or carried out.")         \
    X(STORE_CLOCK_OFFSET, "cvm_store_clock_offset_seconds", GAUGE, "",                             \
        "How far the store's clock is ahead of this machine's.")                                   \
    X(LOG_DROPPED, "cvm_log_lines_dropped_total", COUNTER, "",                                     \
        "Lines that a program's own log function was too slow for.")                               \
    X(BUILD_INFO, "cvm_build_info", GAUGE, "version", "1.")

#define CVM_METRIC_ENUM_(id, name, type, labels, help) METRIC_##id,
enum cvm_metric { CVM_METRIC_MAP(CVM_METRIC_ENUM_) METRIC_COUNT };

#define CVM_METRIC_LABELS 3 /* the most that a metric has */

struct cvm_metrics;

struct cvm_metrics *cvm_metrics_new(void);
void cvm_metrics_free(struct cvm_metrics *metrics);

/* Any thread. labels are the values of the metric's label names, in their order; NULL without any.
 * A counter or gauge goes up by amount. */
void cvm_metrics_add(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double amount);
void cvm_metrics_set(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double value);
void cvm_metrics_observe(
    struct cvm_metrics *metrics, enum cvm_metric metric, const char *const *labels, double seconds);
/* A plugin's counter; see plugin.h. 0, or -1. */
int32_t cvm_metrics_count(struct cvm_metrics *metrics, const char *counter,
    const char *const *names, const char *const *values, uint32_t label_count, double by);
/* All of it, ended by NUL; freed by the caller. NULL without memory. */
char *cvm_metrics_render(struct cvm_metrics *metrics, size_t *length);

/* The instance's metrics, for transports. */
struct cvm_metrics *cvm_metrics_of(cvm_t *cvm);

#endif
