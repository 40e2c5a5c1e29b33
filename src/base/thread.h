/* Starting a thread of the library's own. */
#ifndef CVM_BASE_THREAD_H
#define CVM_BASE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* Starts a thread that takes no signals: those are the program's. 0, or -1. */
int32_t cvm_thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
