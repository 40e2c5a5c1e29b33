/* libuv wrapped: mailbox, timers, watches. Nothing else of the library includes uv.h. */
#include "loop.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <uv.h>

#include "base/at_exit.h"
#include "base/clock.h"

/* A mailbox that is never empty gives way to other events after so many rounds. */
#define MAIL_ROUNDS 16
/* Mail that waits for so long was not seen: whoever posts the next wakes the loop once more. */
#define LOST_MS 100

struct cvm_loop {
    uv_loop_t *uv;
    uv_loop_t own;
    uv_poll_t wake;  /* of pipe[0]: a byte that says that there is mail */
    uv_check_t turn; /* the mail is opened at each turn's end, whatever the turn was for */
    uv_file pipe[2];
    pid_t process;        /* that made it */
    uint32_t event_depth; /* of what was handed to the loop, and runs */
    pthread_mutex_t lock; /* of the next four */
    struct cvm_mail *first;
    struct cvm_mail **last;
    int32_t is_draining;
    uint64_t woken_ms;
    uint32_t open_handles;
    int32_t has_fresh_watch; /* one that epoll does not know before the next turn */
    int32_t is_closed;
    void (*closed)(void *argument);
    void *closed_argument;
};

struct cvm_timer {
    uv_timer_t handle;
    struct cvm_loop *loop;
    void (*expired)(void *argument);
    void *argument;
};

struct cvm_watch {
    uv_poll_t handle;
    struct cvm_loop *loop;
    int wanted; /* of libuv's events */
    void (*happened)(void *argument, uint32_t events);
    void *argument;
};

/* The loop one of whose watches tells this thread of an event: it opens its mail right behind it,
 * at the end of the same turn. */
static _Thread_local const struct cvm_loop *opens_mail_next;

/* --- Who runs it ------------------------------------------------------------------------------ */

/* This is a child of fork() that runs the caller's loop which it inherited, and what is here is its
 * parent's. An own loop is run by nobody there. */
static int32_t loop_is_inherited(const struct cvm_loop *loop)
{
    return !cvm_loop_is_own(loop) && loop->process != getpid();
}

/* Something that was handed to the loop is to run. 0, or -1: not here. */
static int32_t loop_event_begin(struct cvm_loop *loop)
{
    if (loop_is_inherited(loop))
        return -1;
    loop->event_depth++;
    cvm_at_exit_enter();
    return 0;
}

static void loop_event_end(struct cvm_loop *loop)
{
    cvm_at_exit_leave();
    loop->event_depth--;
}

int32_t cvm_loop_is_in_event(const struct cvm_loop *loop)
{
    return loop->event_depth != 0;
}

/* --- Mailbox ---------------------------------------------------------------------------------- */

static struct cvm_mail *take_all(struct cvm_loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct cvm_mail *mail = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    loop->is_draining = mail != NULL;
    pthread_mutex_unlock(&loop->lock);
    return mail;
}

/* Under the lock. A pipe that is full wakes as well. */
static void loop_wake(struct cvm_loop *loop)
{
    loop->woken_ms = cvm_monotonic_ms();
    ssize_t written = write(loop->pipe[1], "", 1);
    (void)written;
}

/* Opens what is there; returns 1 if there may be more. */
static int32_t drain_some(struct cvm_loop *loop)
{
    for (uint32_t round = 0; round < MAIL_ROUNDS; round++) {
        struct cvm_mail *mail = take_all(loop);
        if (!mail)
            return 0;
        while (mail) {
            struct cvm_mail *next = mail->next;
            mail->open(mail);
            mail = next;
        }
    }
    return 1;
}

static void drain(uv_check_t *turn)
{
    struct cvm_loop *loop = turn->data;
    if (loop_event_begin(loop))
        return;
    if (drain_some(loop)) {
        pthread_mutex_lock(&loop->lock);
        loop->is_draining = 0;
        loop_wake(loop);
        pthread_mutex_unlock(&loop->lock);
    }
    loop_event_end(loop);
}

/* The mail itself is opened at the turn's end. */
static void woken(uv_poll_t *wake, int status, int events)
{
    struct cvm_loop *loop = wake->data;
    char bytes[64];
    (void)status;
    (void)events;
    if (loop_is_inherited(loop))
        return; /* the parent's bytes */
    while (read(loop->pipe[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes) {
    }
}

void cvm_loop_post(struct cvm_loop *loop, struct cvm_mail *mail)
{
    mail->next = NULL;
    pthread_mutex_lock(&loop->lock);
    int32_t must_wake = !loop->is_draining && opens_mail_next != loop &&
                        (!loop->first || cvm_monotonic_ms() - loop->woken_ms > LOST_MS);
    *loop->last = mail;
    loop->last = &mail->next;
    /* Under the lock: the mail may be what makes the loop close. */
    if (must_wake)
        loop_wake(loop);
    pthread_mutex_unlock(&loop->lock);
}

/* --- Life ------------------------------------------------------------------------------------- */

static void close_pipe(struct cvm_loop *loop)
{
    (void)close(loop->pipe[0]);
    (void)close(loop->pipe[1]);
}

/* The handles of the mailbox. 0, or -1 with none of them left open. */
static int32_t open_mailbox(struct cvm_loop *loop)
{
    if (uv_pipe(loop->pipe, UV_NONBLOCK_PIPE, UV_NONBLOCK_PIPE))
        return -1;
    if (uv_poll_init(loop->uv, &loop->wake, loop->pipe[0])) {
        close_pipe(loop);
        return -1;
    }
    loop->wake.data = loop->turn.data = loop;
    (void)uv_check_init(loop->uv, &loop->turn); /* these can't fail */
    (void)uv_poll_start(&loop->wake, UV_READABLE, woken);
    (void)uv_check_start(&loop->turn, drain);
    loop->open_handles = 2;
    loop->has_fresh_watch = 1;
    return 0;
}

struct cvm_loop *cvm_loop_new(struct uv_loop_s *borrowed)
{
    struct cvm_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->uv = borrowed ? borrowed : &loop->own;
    loop->last = &loop->first;
    loop->process = getpid();
    if (!borrowed && uv_loop_init(&loop->own)) {
        free(loop);
        return NULL;
    }
    if (open_mailbox(loop)) {
        if (!borrowed)
            (void)uv_loop_close(&loop->own);
        free(loop);
        return NULL;
    }
    (void)pthread_mutex_init(&loop->lock, NULL); /* can't fail with default attributes */
    return loop;
}

static void loop_free(struct cvm_loop *loop)
{
    if (cvm_loop_is_own(loop))
        (void)uv_loop_close(&loop->own);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

/* A handle is gone; the last one takes the loop with it. */
static void handle_closed(struct cvm_loop *loop)
{
    if (--loop->open_handles)
        return;
    loop->is_closed = 1;
    close_pipe(loop);
    if (!loop_event_begin(loop)) {
        loop->closed(loop->closed_argument);
        loop_event_end(loop);
    }
    if (!cvm_loop_is_own(loop))
        loop_free(loop);
}

static void mailbox_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void cvm_loop_close(struct cvm_loop *loop, void (*closed)(void *argument), void *argument)
{
    loop->closed = closed;
    loop->closed_argument = argument;
    uv_close((uv_handle_t *)&loop->wake, mailbox_closed);
    uv_close((uv_handle_t *)&loop->turn, mailbox_closed);
}

void cvm_loop_run(struct cvm_loop *loop)
{
    while (!loop->is_closed)
        (void)uv_run(loop->uv, UV_RUN_ONCE);
    loop_free(loop);
}

void cvm_loop_process(struct cvm_loop *loop)
{
    loop->has_fresh_watch = 0;
    (void)uv_run(loop->uv, UV_RUN_NOWAIT);
    if (loop->is_closed)
        loop_free(loop);
}

int32_t cvm_loop_fd(const struct cvm_loop *loop)
{
    return uv_backend_fd(loop->uv);
}

int32_t cvm_loop_timeout_ms(struct cvm_loop *loop)
{
    if (loop->has_fresh_watch)
        return 0;
    uv_update_time(loop->uv);
    return uv_backend_timeout(loop->uv);
}

int32_t cvm_loop_is_own(const struct cvm_loop *loop)
{
    return loop->uv == &loop->own;
}

/* --- Timers ----------------------------------------------------------------------------------- */

static void timer_expired(uv_timer_t *handle)
{
    struct cvm_timer *timer = handle->data;
    struct cvm_loop *loop = timer->loop; /* it may free the timer */
    if (loop_event_begin(loop))
        return;
    timer->expired(timer->argument);
    loop_event_end(loop);
}

struct cvm_timer *cvm_timer_new(
    struct cvm_loop *loop, void (*expired)(void *argument), void *argument)
{
    struct cvm_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        return NULL;
    (void)uv_timer_init(loop->uv, &timer->handle); /* can't fail */
    timer->handle.data = timer;
    timer->loop = loop;
    timer->expired = expired;
    timer->argument = argument;
    loop->open_handles++;
    return timer;
}

void cvm_timer_start(struct cvm_timer *timer, uint64_t delay_ms)
{
    uv_update_time(timer->handle.loop); /* the loop's own idea of now is of its last turn */
    (void)uv_timer_start(&timer->handle, timer_expired, delay_ms, 0);
}

void cvm_timer_stop(struct cvm_timer *timer)
{
    (void)uv_timer_stop(&timer->handle);
}

static void timer_closed(uv_handle_t *handle)
{
    struct cvm_timer *timer = handle->data;
    struct cvm_loop *loop = timer->loop;
    free(timer);
    handle_closed(loop);
}

void cvm_timer_free(struct cvm_timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->handle, timer_closed);
}

/* --- Watches ---------------------------------------------------------------------------------- */

static void watch_happened(uv_poll_t *handle, int status, int events)
{
    struct cvm_watch *watch = handle->data;
    struct cvm_loop *loop = watch->loop; /* it may free the watch */
    uint32_t happened = status < 0 ? CVM_READABLE | CVM_WRITABLE : 0;
    if (events & UV_READABLE)
        happened |= CVM_READABLE;
    if (events & UV_WRITABLE)
        happened |= CVM_WRITABLE;
    if (status < 0)
        watch->wanted = 0; /* libuv has stopped it */
    if (loop_event_begin(loop))
        return;
    const struct cvm_loop *around = opens_mail_next;
    opens_mail_next = loop;
    watch->happened(watch->argument, happened);
    opens_mail_next = around;
    loop_event_end(loop);
}

struct cvm_watch *cvm_watch_new(struct cvm_loop *loop, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument)
{
    struct cvm_watch *watch = calloc(1, sizeof *watch);
    if (!watch || uv_poll_init(loop->uv, &watch->handle, fd)) {
        free(watch);
        return NULL;
    }
    watch->handle.data = watch;
    watch->loop = loop;
    watch->happened = happened;
    watch->argument = argument;
    loop->open_handles++;
    return watch;
}

void cvm_watch_set(struct cvm_watch *watch, uint32_t events)
{
    int wanted =
        (events & CVM_READABLE ? UV_READABLE : 0) | (events & CVM_WRITABLE ? UV_WRITABLE : 0);
    if (wanted == watch->wanted)
        return;
    watch->loop->has_fresh_watch = 1;
    watch->wanted = 0;
    if (!wanted)
        (void)uv_poll_stop(&watch->handle);
    else if (!uv_poll_start(&watch->handle, wanted, watch_happened))
        watch->wanted = wanted;
}

static void watch_closed(uv_handle_t *handle)
{
    struct cvm_watch *watch = handle->data;
    struct cvm_loop *loop = watch->loop;
    free(watch);
    handle_closed(loop);
}

void cvm_watch_free(struct cvm_watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->handle, watch_closed);
}
