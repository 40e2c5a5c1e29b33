/* A few threads for what would block the loop: RSA keys, writing files. */
#ifndef CVM_CORE_THREADS_H
#define CVM_CORE_THREADS_H

#include <stdint.h>

struct cvm_loop;
struct cvm_threads;

/* No thread is started before there is work. NULL without memory. */
struct cvm_threads *cvm_threads_new(struct cvm_loop *loop);
/* Runs work(argument) in a thread, then done(argument) on the loop. 0, or -1 without memory. */
int32_t cvm_threads_run(struct cvm_threads *threads, void (*work)(void *argument),
    void (*done)(void *argument), void *argument);
/* Ends the threads. All work must be done by then. NULL is fine. */
void cvm_threads_free(struct cvm_threads *threads);

#endif
