/* What a run counted, and how it is told. */
#ifndef CVM_BENCH_RESULTS_H
#define CVM_BENCH_RESULTS_H

#include "connection.h"
#include "process.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATUS_LIMIT 600

struct results {
    uint64_t requests;
    uint64_t connections; /* opened for them */
    uint64_t tickets;     /* session tickets received */
    uint64_t by_status[STATUS_LIMIT];
    uint64_t failures[FAILURE_COUNT];
    uint64_t elapsed_ns;
    uint64_t own_cpu_ns;
    bool has_servers;
    struct usage servers_before;
    struct usage servers_after;
    uint64_t ok; /* also the number of latencies */
    size_t capacity;
    uint64_t *latencies_ns;
};

struct hold_results {
    uint64_t held;
    uint64_t lost; /* refused, or closed by the server while held */
    struct usage before;
    struct usage after;
};

void results_add_ok(struct results *results, uint64_t latency_ns);
void results_free(struct results *results);

/* Sorts the latencies. */
void results_print(struct results *results, bool json);

void hold_results_print(const struct hold_results *results, bool json);

#endif
