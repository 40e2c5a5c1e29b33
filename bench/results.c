/* Keeps the latencies and prints results, as text or as one JSON object. */
#include "results.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_S   1e9
#define NS_PER_MS  1e6
#define NS_PER_US  1e3
#define BYTES_KB   1024
#define FIRST_SIZE 4096

static const struct quantile {
    const char *name;
    double share;
} QUANTILES[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}};

#define QUANTILE_COUNT (sizeof QUANTILES / sizeof QUANTILES[0])

#define FAILURE_NAME(name, text) text,
static const char *const FAILURE_NAMES[] = {FAILURES(FAILURE_NAME)};

void results_add_ok(struct results *results, uint64_t latency_ns)
{
    if (results->ok == results->capacity) {
        size_t capacity = results->capacity > 0 ? 2 * results->capacity : FIRST_SIZE;
        uint64_t *grown = realloc(results->latencies_ns, capacity * sizeof *grown);

        if (!grown) {
            (void)fputs("cvm-load: out of memory\n", stderr);
            abort();
        }
        results->latencies_ns = grown;
        results->capacity = capacity;
    }
    results->latencies_ns[results->ok++] = latency_ns;
}

void results_free(struct results *results)
{
    free(results->latencies_ns);
    *results = (struct results){0};
}

static int compare_latencies(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static void sort_latencies(struct results *results)
{
    if (results->ok > 0)
        qsort(results->latencies_ns, results->ok, sizeof *results->latencies_ns, compare_latencies);
}

/* Nearest rank, in milliseconds. */
static double quantile_ms(const struct results *results, double share)
{
    size_t rank = (size_t)(share * (double)results->ok);

    if (results->ok == 0)
        return 0;
    if (rank >= results->ok)
        rank = results->ok - 1;
    return (double)results->latencies_ns[rank] / NS_PER_MS;
}

static double per_request_us(const struct results *results, uint64_t cpu_ns)
{
    return results->requests > 0 ? (double)cpu_ns / (double)results->requests / NS_PER_US : 0;
}

static double server_cpu_us(const struct results *results)
{
    return per_request_us(results, results->servers_after.cpu_ns - results->servers_before.cpu_ns);
}

static double rate(const struct results *results)
{
    return results->elapsed_ns > 0 ? (double)results->ok * NS_PER_S / (double)results->elapsed_ns
                                   : 0;
}

static uint64_t failure_count(const struct results *results)
{
    uint64_t count = 0;

    for (size_t i = 0; i < FAILURE_COUNT; i++)
        count += results->failures[i];
    return count;
}

static void print_counts_json(const struct results *results)
{
    const char *comma = "";

    printf(", \"by_status\": {");
    for (int status = 0; status < STATUS_LIMIT; status++) {
        if (results->by_status[status] == 0)
            continue;
        printf("%s\"%d\": %" PRIu64, comma, status, results->by_status[status]);
        comma = ", ";
    }
    printf("}, \"errors\": %" PRIu64 ", \"by_error\": {", failure_count(results));
    for (size_t i = 1; i < FAILURE_COUNT; i++)
        printf("%s\"%s\": %" PRIu64, i > 1 ? ", " : "", FAILURE_NAMES[i], results->failures[i]);
    printf("}");
}

static void print_json(const struct results *results)
{
    printf("{\"requests\": %" PRIu64 ", \"ok\": %" PRIu64, results->requests, results->ok);
    print_counts_json(results);
    printf(", \"connections\": %" PRIu64 ", \"tickets\": %" PRIu64, results->connections,
        results->tickets);
    printf(", \"seconds\": %.6f, \"rate\": %.2f, \"latency_ms\": {",
        (double)results->elapsed_ns / NS_PER_S, rate(results));
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        printf("%s\"%s\": %.4f", i > 0 ? ", " : "", QUANTILES[i].name,
            quantile_ms(results, QUANTILES[i].share));
    printf("}, \"load_cpu_us_per_request\": %.2f", per_request_us(results, results->own_cpu_ns));
    if (results->has_servers)
        printf(", \"server_cpu_us_per_request\": %.2f, \"server_rss_before_kb\": %" PRIu64
               ", \"server_rss_after_kb\": %" PRIu64,
            server_cpu_us(results), results->servers_before.rss_bytes / BYTES_KB,
            results->servers_after.rss_bytes / BYTES_KB);
    puts("}");
}

static void print_text(const struct results *results)
{
    printf("%" PRIu64 " requests in %.2f s, %" PRIu64 " ok, %.1f ok/s, %" PRIu64 " connections\n",
        results->requests, (double)results->elapsed_ns / NS_PER_S, results->ok, rate(results),
        results->connections);
    for (int status = 0; status < STATUS_LIMIT; status++)
        if (results->by_status[status] > 0)
            printf("  status %d: %" PRIu64 "\n", status, results->by_status[status]);
    for (size_t i = 1; i < FAILURE_COUNT; i++)
        if (results->failures[i] > 0)
            printf("  no answer (%s): %" PRIu64 "\n", FAILURE_NAMES[i], results->failures[i]);
    printf("latency in ms:");
    for (size_t i = 0; i < QUANTILE_COUNT; i++)
        printf(" %s %.2f", QUANTILES[i].name, quantile_ms(results, QUANTILES[i].share));
    printf("\nCPU a request: %.1f us here", per_request_us(results, results->own_cpu_ns));
    if (results->has_servers)
        printf(", %.1f us in the server; its memory: %" PRIu64 " kB before, %" PRIu64 " kB after",
            server_cpu_us(results), results->servers_before.rss_bytes / BYTES_KB,
            results->servers_after.rss_bytes / BYTES_KB);
    puts("");
}

void results_print(struct results *results, bool json)
{
    sort_latencies(results);
    if (json)
        print_json(results);
    else
        print_text(results);
}

static double bytes_per_connection(const struct hold_results *results)
{
    double more = (double)results->after.rss_bytes - (double)results->before.rss_bytes;

    return results->held > 0 ? more / (double)results->held : 0;
}

void hold_results_print(const struct hold_results *results, bool json)
{
    const char *format =
        json ? "{\"held\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"server_rss_before_kb\": %" PRIu64
               ", \"server_rss_after_kb\": %" PRIu64 ", \"bytes_per_connection\": %.0f}\n"
             : "%" PRIu64 " connections held, %" PRIu64 " lost; server memory %" PRIu64
               " kB before, %" PRIu64 " kB after: %.0f bytes a connection\n";

    printf(format, results->held, results->lost, results->before.rss_bytes / BYTES_KB,
        results->after.rss_bytes / BYTES_KB, bytes_per_connection(results));
}
