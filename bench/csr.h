/* A pool of CSRs, each with a key of its own, made before the time that counts. */
#ifndef CVM_BENCH_CSR_H
#define CVM_BENCH_CSR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct csr_pool {
    char **texts; /* PEM with its newlines as JSON wants them */
    uint64_t count;
};

/* On failure the pool is empty and needs no free. */
bool csr_pool_make(struct csr_pool *pool, uint64_t count);
void csr_pool_free(struct csr_pool *pool);

/* NULL if the pool is empty. Numbers past its end begin anew: keys are then shared. */
const char *csr_pool_get(const struct csr_pool *pool, uint64_t number);

#endif
