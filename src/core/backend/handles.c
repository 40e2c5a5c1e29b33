/* Watches and timers that backends were handed. */
#include "backend/handles.h"

#include <stddef.h>
#include <stdlib.h>

#include "instance.h"

/* What both are. */
struct cvm_handle {
    struct cvm_handle *next, **link;
    void (*free)(struct cvm_handle *handle);
};

struct cvm_watch_s {
    struct cvm_handle handle;
    struct cvm_watch *watch;
};

struct cvm_timer_s {
    struct cvm_handle handle;
    struct cvm_timer *timer;
};

static void handle_add(
    cvm_context_t *context, struct cvm_handle *handle, void (*free_it)(struct cvm_handle *handle))
{
    handle->free = free_it;
    handle->next = context->handles;
    handle->link = &context->handles;
    if (handle->next)
        handle->next->link = &handle->next;
    context->handles = handle;
}

static void handle_remove(struct cvm_handle *handle)
{
    *handle->link = handle->next;
    if (handle->next)
        handle->next->link = handle->link;
    handle->free(handle);
}

void cvm_handles_clear(cvm_context_t *context)
{
    while (context->handles)
        handle_remove(context->handles);
}

/* --- Watches ---------------------------------------------------------------------------------- */

static void watch_free(struct cvm_handle *handle)
{
    cvm_watch_t *watch = CVM_CONTAINER(handle, cvm_watch_t, handle);
    cvm_watch_free(watch->watch);
    free(watch);
}

cvm_watch_t *cvm_handles_watch_new(cvm_context_t *context, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument)
{
    cvm_watch_t *watch = calloc(1, sizeof *watch);
    if (!watch || !(watch->watch = cvm_watch_new(context->cvm->loop, fd, happened, argument))) {
        free(watch);
        return NULL;
    }
    handle_add(context, &watch->handle, watch_free);
    return watch;
}

void cvm_handles_watch_set(cvm_watch_t *watch, uint32_t events)
{
    cvm_watch_set(watch->watch, events);
}

void cvm_handles_watch_free(cvm_watch_t *watch)
{
    if (watch)
        handle_remove(&watch->handle);
}

/* --- Timers ----------------------------------------------------------------------------------- */

static void timer_free(struct cvm_handle *handle)
{
    cvm_timer_t *timer = CVM_CONTAINER(handle, cvm_timer_t, handle);
    cvm_timer_free(timer->timer);
    free(timer);
}

cvm_timer_t *cvm_handles_timer_new(
    cvm_context_t *context, void (*expired)(void *argument), void *argument)
{
    cvm_timer_t *timer = calloc(1, sizeof *timer);
    if (!timer || !(timer->timer = cvm_timer_new(context->cvm->loop, expired, argument))) {
        free(timer);
        return NULL;
    }
    handle_add(context, &timer->handle, timer_free);
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
    if (timer)
        handle_remove(&timer->handle);
}
