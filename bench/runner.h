/* The loop: keeps so many requests in flight, or starts so many a second, until enough are done. */
#ifndef CVM_BENCH_RUNNER_H
#define CVM_BENCH_RUNNER_H

#include "connection.h"
#include "csr.h"
#include "devices.h"
#include "options.h"
#include "results.h"
#include "target.h"

#include <stdbool.h>
#include <stdint.h>

struct runner {
    const struct options *options;
    const struct devices *devices;
    const struct csr_pool *csrs;
    struct target target;
    int epoll;
    int timer; /* rings when the next request is due, under --rate */
    struct connection *connections;
    struct connection **free; /* those without a request under way, as a stack */
    uint64_t connection_count;
    uint64_t free_count;
    uint64_t used_devices;
    /* Of the phase under way: */
    struct results *results;
    uint64_t started;
    uint64_t limit; /* requests; 0: none */
    uint64_t begin_ns;
    uint64_t end_ns;   /* start nothing after; 0: no end */
    uint64_t swept_ns; /* when timeouts were last looked for */
};

/* Says on stderr what is wrong; runner_free also after a failure. */
bool runner_init(struct runner *runner, const struct options *options,
    const struct devices *devices, const struct csr_pool *csrs);
void runner_free(struct runner *runner);

/* Runs `limit` requests, or as many as fit into `seconds`; 0 is no bound. Adds to `results`. May
 * be called again: kept connections and the numbering of devices go on. */
void runner_run(struct runner *runner, uint64_t limit, uint64_t seconds, struct results *results);

/* Opens every connection that the runner has and holds them idle for a while. */
bool runner_hold(struct runner *runner, struct hold_results *results);

/* Starts no more requests; for a signal handler. */
void runner_stop(void);

#endif
