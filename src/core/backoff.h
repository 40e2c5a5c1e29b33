/* What keeps failing is tried less and less often, each for itself. */
#ifndef CVM_CORE_BACKOFF_H
#define CVM_CORE_BACKOFF_H

#include <stdint.h>

struct cvm_backoff;

/* Remembers nothing yet. NULL without memory. */
struct cvm_backoff *cvm_backoff_new(void);
void cvm_backoff_free(struct cvm_backoff *backoff);
/* 1 if it failed, and the time of its next try has not come. */
int32_t cvm_backoff_waits(const struct cvm_backoff *backoff, const char *what, uint64_t now_ms);
/* It failed (again): it waits for first_ms, then for twice as long, for longest_ms at most. */
void cvm_backoff_failed(struct cvm_backoff *backoff, const char *what, uint64_t now_ms,
    uint64_t first_ms, uint64_t longest_ms);
void cvm_backoff_succeeded(struct cvm_backoff *backoff, const char *what);

#endif
