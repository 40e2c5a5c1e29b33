/* What processes have used: CPU time and memory, of ourselves and of the servers measured. */
#ifndef CVM_BENCH_PROCESS_H
#define CVM_BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Wall clock that only goes forward. */
uint64_t now_ns(void);

uint64_t own_cpu_ns(void);

struct usage {
    uint64_t cpu_ns;
    uint64_t rss_bytes;
};

/* The sum over `count` processes; false, with a word on stderr, if one can't be read. */
bool usage_read(struct usage *usage, const uint64_t *pids, uint64_t count);

#endif
