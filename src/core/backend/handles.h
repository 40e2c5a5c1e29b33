/* Watches and timers of backends: those of the loop, remembered by whose they are, so that what a
 * backend leaves behind when it is closed does not keep the loop. */
#ifndef CVM_CORE_HANDLES_H
#define CVM_CORE_HANDLES_H

#include "cvm/plugin.h"

/* Members of the host's table. */
cvm_watch_t *cvm_handles_watch_new(cvm_context_t *context, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument);
void cvm_handles_watch_set(cvm_watch_t *watch, uint32_t events);
void cvm_handles_watch_free(cvm_watch_t *watch);
cvm_timer_t *cvm_handles_timer_new(
    cvm_context_t *context, void (*expired)(void *argument), void *argument);
void cvm_handles_timer_start(cvm_timer_t *timer, int64_t delay_ms);
void cvm_handles_timer_stop(cvm_timer_t *timer);
void cvm_handles_timer_free(cvm_timer_t *timer);

/* Frees what a context has left. */
void cvm_handles_clear(cvm_context_t *context);

#endif
