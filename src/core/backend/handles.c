/* Watches and timers that backends were handed. */
#include "backend/handles.h"

#include <stdlib.h>

#include "instance.h"

struct cvm_watch_s {
    struct cvm_watch_s *next, **link;
    struct cvm_watch *watch;
};

struct cvm_timer_s {
    struct cvm_timer_s *next, **link;
    struct cvm_timer *timer;
};

cvm_watch_t *cvm_handles_watch_new(cvm_context_t *context, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument)
{
    cvm_watch_t *watch = calloc(1, sizeof *watch);
    if (!watch || !(watch->watch = cvm_watch_new(context->cvm->loop, fd, happened, argument))) {
        free(watch);
        return NULL;
    }
    watch->next = context->watches;
    watch->link = &context->watches;
    if (watch->next)
        watch->next->link = &watch->next;
    context->watches = watch;
    return watch;
}

void cvm_handles_watch_set(cvm_watch_t *watch, uint32_t events)
{
    cvm_watch_set(watch->watch, events);
}

void cvm_handles_watch_free(cvm_watch_t *watch)
{
    if (!watch)
        return;
    *watch->link = watch->next;
    if (watch->next)
        watch->next->link = watch->link;
    cvm_watch_free(watch->watch);
    free(watch);
}

cvm_timer_t *cvm_handles_timer_new(
    cvm_context_t *context, void (*expired)(void *argument), void *argument)
{
    cvm_timer_t *timer = calloc(1, sizeof *timer);
    if (!timer || !(timer->timer = cvm_timer_new(context->cvm->loop, expired, argument))) {
        free(timer);
        return NULL;
    }
    timer->next = context->timers;
    timer->link = &context->timers;
    if (timer->next)
        timer->next->link = &timer->next;
    context->timers = timer;
    return timer;
}

void cvm_handles_timer_start(cvm_timer_t *timer, int64_t delay_ms)
{
    cvm_timer_start(timer->timer, delay_ms > 0 ? (uint64_t)delay_ms : 0);
}

void cvm_handles_timer_stop(cvm_timer_t *timer)
{
    cvm_timer_stop(timer->timer);
}

void cvm_handles_timer_free(cvm_timer_t *timer)
{
    if (!timer)
        return;
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    cvm_timer_free(timer->timer);
    free(timer);
}

void cvm_handles_clear(cvm_context_t *context)
{
    for (cvm_watch_t *watch = context->watches, *next; watch; watch = next) {
        next = watch->next;
        cvm_handles_watch_free(watch);
    }
    for (cvm_timer_t *timer = context->timers, *next; timer; timer = next) {
        next = timer->next;
        cvm_handles_timer_free(timer);
    }
}
