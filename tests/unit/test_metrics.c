/* Metrics in Prometheus' text form. */
#include "support/test.h"

#include <pthread.h>

#include "metrics.h"

static char *render(struct cvm_metrics *metrics)
{
    size_t length;
    char *text = cvm_metrics_render(metrics, &length);
    assert_non_null(text);
    assert_int_equal(strlen(text), length);
    return text;
}

static void expect(struct cvm_metrics *metrics, const char *line)
{
    char *text = render(metrics);
    if (!strstr(text, line))
        fail_msg("'%s' is missing in\n%s", line, text);
    free(text);
}

static void each_metric_is_described_once(void **state)
{
    static const char *const NAMES[] = {"cvm_registrations_total",
        "cvm_registration_duration_seconds", "cvm_auth_failures_total",
        "cvm_certificates_issued_total", "cvm_certificates_revoked_total",
        "cvm_store_operation_duration_seconds", "cvm_platform_requests_total", "cvm_connections",
        "cvm_tls_handshake_failures_total", "cvm_queue_depth",
        "cvm_ca_certificate_expiry_timestamp_seconds", "cvm_crl_next_update_timestamp_seconds",
        "cvm_build_info"};
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    char *text = render(metrics), line[200];
    for (size_t i = 0; i < LENGTH(NAMES); i++) {
        (void)snprintf(line, sizeof line, "# HELP %s ", NAMES[i]);
        assert_non_null(strstr(text, line));
        assert_null(strstr(strstr(text, line) + 1, line));
        (void)snprintf(line, sizeof line, "# TYPE %s ", NAMES[i]);
        assert_non_null(strstr(text, line));
    }
    free(text);
    cvm_metrics_free(metrics);
    cvm_metrics_free(NULL);
}

static void counters_count_by_their_labels(void **state)
{
    const char *success[] = {"success", "ok", "http"}, *failure[] = {"error", "unknown", "http"};
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    cvm_metrics_add(metrics, METRIC_REGISTRATIONS, success, 1);
    cvm_metrics_add(metrics, METRIC_REGISTRATIONS, success, 2);
    cvm_metrics_add(metrics, METRIC_REGISTRATIONS, failure, 1);
    cvm_metrics_add(metrics, METRIC_KEY_CONFLICTS, NULL, 1);
    cvm_metrics_set(metrics, METRIC_QUEUE_DEPTH, NULL, 7);
    cvm_metrics_set(metrics, METRIC_QUEUE_DEPTH, NULL, 3);
    expect(metrics,
        "\ncvm_registrations_total{result=\"success\",reason=\"ok\",transport=\"http\"} 3\n");
    expect(metrics,
        "\ncvm_registrations_total{result=\"error\",reason=\"unknown\",transport=\"http\"} 1\n");
    expect(metrics, "\ncvm_key_conflicts_total 1\n");
    expect(metrics, "\ncvm_queue_depth 3\n");
    cvm_metrics_free(metrics);
}

static void large_numbers_are_whole(void **state)
{
    const char *issuing = "issuing";
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    cvm_metrics_set(metrics, METRIC_CA_EXPIRY, &issuing, 2398377600);
    expect(metrics, "{ca=\"issuing\"} 2398377600\n");
    cvm_metrics_free(metrics);
}

static void a_histogram_adds_up(void **state)
{
    const char *labels[] = {"file", "get"};
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    cvm_metrics_observe(metrics, METRIC_STORE_DURATION, labels, 0.0001); /* on a bound: below it */
    cvm_metrics_observe(metrics, METRIC_STORE_DURATION, labels, 0.0002);
    cvm_metrics_observe(metrics, METRIC_STORE_DURATION, labels, 3);
    cvm_metrics_observe(metrics, METRIC_STORE_DURATION, labels, 100);
    expect(metrics, "_bucket{store=\"file\",op=\"get\",le=\"0.0001\"} 1\n");
    expect(metrics, "_bucket{store=\"file\",op=\"get\",le=\"0.00025\"} 2\n");
    expect(metrics, "_bucket{store=\"file\",op=\"get\",le=\"1\"} 2\n");
    expect(metrics, "_bucket{store=\"file\",op=\"get\",le=\"5\"} 3\n");
    expect(metrics, "_bucket{store=\"file\",op=\"get\",le=\"15\"} 3\n");
    expect(metrics, "_bucket{store=\"file\",op=\"get\",le=\"+Inf\"} 4\n");
    expect(metrics, "_sum{store=\"file\",op=\"get\"} 103.0003\n");
    expect(metrics, "_count{store=\"file\",op=\"get\"} 4\n");
    cvm_metrics_free(metrics);
}

/* A caller chooses the transport's name: it must not end the label, nor the line. */
static void label_values_are_escaped(void **state)
{
    const char *labels[] = {"success", "ok", "a\"b\\c\nd"};
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    cvm_metrics_add(metrics, METRIC_REGISTRATIONS, labels, 1);
    expect(metrics, "transport=\"a\\\"b\\\\c\\nd\"} 1\n");
    cvm_metrics_free(metrics);
}

static void series_are_bounded(void **state)
{
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    for (int i = 0; i < 10000; i++) {
        char name[16];
        const char *reason = name;
        (void)snprintf(name, sizeof name, "%d", i);
        cvm_metrics_add(metrics, METRIC_AUTH_FAILURES, &reason, 1);
    }
    char *text = render(metrics);
    assert_non_null(strstr(text, "{reason=\"255\"} 1\n"));
    assert_null(strstr(text, "{reason=\"256\"} 1\n"));
    free(text);
    cvm_metrics_free(metrics);
}

static void long_labels_are_cut_to_one_series(void **state)
{
    char first[400], second[400], expected[400];
    const char *one = first, *other = second;
    (void)state;
    (void)snprintf(first, sizeof first, "%0*d", 300, 0);
    (void)snprintf(second, sizeof second, "%0*dxxx", 255, 0);
    (void)snprintf(expected, sizeof expected, "{reason=\"%0*d\"} 2\n", 255, 0);
    struct cvm_metrics *metrics = cvm_metrics_new();
    cvm_metrics_add(metrics, METRIC_AUTH_FAILURES, &one, 1);
    cvm_metrics_add(metrics, METRIC_AUTH_FAILURES, &other, 1);
    expect(metrics, expected);
    cvm_metrics_free(metrics);
}

#define THREADS 4
#define EACH    2000

static void *count_many(void *argument)
{
    const char *labels[] = {"file", "get"};
    for (int i = 0; i < EACH; i++) {
        cvm_metrics_add(argument, METRIC_KEY_CONFLICTS, NULL, 1);
        cvm_metrics_observe(argument, METRIC_STORE_DURATION, labels, 0.001);
        if (i % 500 == 0)
            free(render(argument));
    }
    return NULL;
}

static void threads_lose_nothing(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    struct cvm_metrics *metrics = cvm_metrics_new();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_many, metrics), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    expect(metrics, "\ncvm_key_conflicts_total 8000\n");
    expect(metrics, "_count{store=\"file\",op=\"get\"} 8000\n");
    cvm_metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_metric_is_described_once),
        cmocka_unit_test(counters_count_by_their_labels),
        cmocka_unit_test(large_numbers_are_whole),
        cmocka_unit_test(a_histogram_adds_up),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(series_are_bounded),
        cmocka_unit_test(long_labels_are_cut_to_one_series),
        cmocka_unit_test(threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
