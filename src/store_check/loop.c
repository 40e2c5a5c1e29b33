/* The loop that a store is called on: libuv's, with what others post to it. */
#include <pthread.h>
#include <stdlib.h>

#include "host.h"

struct mail {
    struct mail *next;
    void (*function)(void *argument);
    void *argument;
};

struct cvm_watch_s {
    uv_poll_t poll;
    struct cvm_watch_s *next, **link;
    void (*happened)(void *argument, uint32_t events);
    void *argument;
};

struct cvm_timer_s {
    uv_timer_t timer;
    struct cvm_timer_s *next, **link;
    void (*expired)(void *argument);
    void *argument;
};

struct errand {
    uv_work_t work;
    void (*function)(void *argument);
    void (*done)(void *argument);
    void *argument;
};

static uv_loop_t loop;
static uv_async_t bell;
static uv_timer_t alarm_clock; /* so that a turn ends */
static pthread_t owner;
static bool is_made;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mail *first, **last = &first;

static void loop_open_mail(uv_async_t *handle)
{
    (void)handle;
    (void)pthread_mutex_lock(&lock);
    struct mail *mail = first;
    first = NULL;
    last = &first;
    (void)pthread_mutex_unlock(&lock);
    while (mail) {
        struct mail *next = mail->next;
        mail->function(mail->argument);
        free(mail);
        mail = next;
    }
}

/* In the process that uses it: one that forks has not begun it yet. */
static uv_loop_t *loop_get(void)
{
    if (is_made)
        return &loop;
    owner = pthread_self();
    if (uv_loop_init(&loop) || uv_async_init(&loop, &bell, loop_open_mail) ||
        uv_timer_init(&loop, &alarm_clock))
        CHECK_VIOLATION("there is no event loop to be had");
    is_made = true;
    return &loop;
}

void loop_only(const char *function)
{
    if (!is_made || !pthread_equal(pthread_self(), owner))
        CHECK_VIOLATION("the store calls %s() outside of the loop's thread", function);
}

static void loop_wake(uv_timer_t *timer)
{
    (void)timer;
}

void loop_turn(uint32_t wait_ms)
{
    (void)loop_get();
    (void)uv_timer_start(&alarm_clock, loop_wake, wait_ms, wait_ms);
    (void)uv_run(&loop, wait_ms ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

int32_t loop_post(cvm_context_t *context, void (*function)(void *argument), void *argument)
{
    struct mail *mail = malloc(sizeof *mail);
    (void)context;
    if (!mail)
        return -1;
    *mail = (struct mail){NULL, function, argument};
    (void)pthread_mutex_lock(&lock);
    *last = mail;
    last = &mail->next;
    (void)pthread_mutex_unlock(&lock);
    (void)uv_async_send(&bell);
    return 0;
}

static void loop_work(uv_work_t *work)
{
    struct errand *errand = work->data;
    errand->function(errand->argument);
}

static void loop_worked(uv_work_t *work, int status)
{
    struct errand errand = *(struct errand *)work->data;
    (void)status;
    free(work->data);
    errand.done(errand.argument);
}

int32_t loop_run(cvm_context_t *context, void (*work)(void *argument), void (*done)(void *argument),
    void *argument)
{
    (void)context;
    loop_only("run");
    struct errand *errand = malloc(sizeof *errand);
    if (!errand)
        return -1;
    *errand = (struct errand){.function = work, .done = done, .argument = argument};
    errand->work.data = errand;
    return uv_queue_work(loop_get(), &errand->work, loop_work, loop_worked) ? -1 : 0;
}

/* --- Watches and timers ----------------------------------------------------------------------- */

#define LOOP_INSERT(list, item)                                                                    \
    do {                                                                                           \
        (item)->next = (list);                                                                     \
        (item)->link = &(list);                                                                    \
        if (list)                                                                                  \
            (list)->link = &(item)->next;                                                          \
        (list) = (item);                                                                           \
    } while (0)

#define LOOP_TAKE_OUT(item)                                                                        \
    do {                                                                                           \
        *(item)->link = (item)->next;                                                              \
        if ((item)->next)                                                                          \
            (item)->next->link = (item)->link;                                                     \
    } while (0)

static void loop_free_handle(uv_handle_t *handle)
{
    free(handle->data);
}

static void loop_watched(uv_poll_t *poll, int status, int events)
{
    struct cvm_watch_s *watch = poll->data;
    uint32_t happened =
        (events & UV_READABLE ? CVM_READABLE : 0) | (events & UV_WRITABLE ? CVM_WRITABLE : 0);
    watch->happened(watch->argument, status < 0 ? CVM_READABLE | CVM_WRITABLE : happened);
}

cvm_watch_t *loop_watch_new(cvm_context_t *context, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument)
{
    loop_only("watch_new");
    cvm_watch_t *watch = calloc(1, sizeof *watch);
    if (!watch)
        return NULL;
    if (uv_poll_init(loop_get(), &watch->poll, fd)) {
        free(watch);
        return NULL;
    }
    watch->happened = happened;
    watch->argument = argument;
    watch->poll.data = watch;
    LOOP_INSERT(context->watches, watch);
    return watch;
}

void loop_watch_set(cvm_watch_t *watch, uint32_t events)
{
    loop_only("watch_set");
    int wanted =
        (events & CVM_READABLE ? UV_READABLE : 0) | (events & CVM_WRITABLE ? UV_WRITABLE : 0);
    if (wanted)
        (void)uv_poll_start(&watch->poll, wanted, loop_watched);
    else
        (void)uv_poll_stop(&watch->poll);
}

void loop_watch_free(cvm_watch_t *watch)
{
    if (!watch)
        return;
    loop_only("watch_free");
    LOOP_TAKE_OUT(watch);
    (void)uv_poll_stop(&watch->poll);
    uv_close((uv_handle_t *)&watch->poll, loop_free_handle);
}

static void loop_expired(uv_timer_t *handle)
{
    struct cvm_timer_s *timer = handle->data;
    timer->expired(timer->argument);
}

cvm_timer_t *loop_timer_new(cvm_context_t *context, void (*expired)(void *argument), void *argument)
{
    loop_only("timer_new");
    cvm_timer_t *timer = calloc(1, sizeof *timer);
    if (!timer)
        return NULL;
    (void)uv_timer_init(loop_get(), &timer->timer);
    timer->expired = expired;
    timer->argument = argument;
    timer->timer.data = timer;
    LOOP_INSERT(context->timers, timer);
    return timer;
}

void loop_timer_start(cvm_timer_t *timer, int64_t delay_ms)
{
    loop_only("timer_start");
    uv_update_time(&loop);
    (void)uv_timer_start(&timer->timer, loop_expired, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

void loop_timer_stop(cvm_timer_t *timer)
{
    loop_only("timer_stop");
    (void)uv_timer_stop(&timer->timer);
}

void loop_timer_free(cvm_timer_t *timer)
{
    if (!timer)
        return;
    loop_only("timer_free");
    LOOP_TAKE_OUT(timer);
    uv_close((uv_handle_t *)&timer->timer, loop_free_handle);
}

void loop_forget(cvm_context_t *context)
{
    while (context->watches)
        loop_watch_free(context->watches);
    while (context->timers)
        loop_timer_free(context->timers);
}

void loop_end(void)
{
    if (!is_made)
        return;
    uv_close((uv_handle_t *)&bell, NULL);
    uv_close((uv_handle_t *)&alarm_clock, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    loop_open_mail(NULL);
    (void)uv_loop_close(&loop);
}
