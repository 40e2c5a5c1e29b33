/* A few threads for what would block the loop: one pool for RSA keys, one for the backends, so that
 * neither waits for the other. */
#ifndef CVM_CORE_THREADS_H
#define CVM_CORE_THREADS_H

#include <stdint.h>

struct cvm_loop;
struct cvm_threads;

/* A pool in which at most most_waiting wait for a thread. No thread is started before there is
 * work. NULL without memory. */
struct cvm_threads *cvm_threads_new(struct cvm_loop *loop, uint32_t most_waiting);
/* Runs work(argument) in a thread, then done(argument) on the loop. 0, or -1 without memory or when
 * too many wait. */
int32_t cvm_threads_run(struct cvm_threads *threads, void (*work)(void *argument),
    void (*done)(void *argument), void *argument);
/* Ends the threads. All work must be done by then. NULL is fine. */
void cvm_threads_free(struct cvm_threads *threads);

#endif
