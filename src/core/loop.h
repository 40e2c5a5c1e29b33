/* The event loop: the one place that knows libuv. A loop has a mailbox that any thread may post to,
 * timers, watches of descriptors, and threads for what would block it. */
#ifndef CVM_CORE_LOOP_H
#define CVM_CORE_LOOP_H

#include <stdint.h>

#include "cvm/plugin.h" /* CVM_READABLE, CVM_WRITABLE */

struct uv_loop_s;
struct cvm_loop;
struct cvm_timer;
struct cvm_watch;

/* A message to a loop: a member of what it is about, so that posting can't fail. */
struct cvm_mail {
    struct cvm_mail *next;
    void (*open)(struct cvm_mail *mail);
};

/* What surrounds the member of an object: the object. */
#define CVM_CONTAINER(pointer, type, member)                                                       \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* A loop of its own, or one on the caller's libuv loop. NULL without memory or descriptors. In a
 * child of fork() that runs a borrowed loop, nothing of it runs. */
struct cvm_loop *cvm_loop_new(struct uv_loop_s *borrowed);
/* Any thread. The mail belongs to the loop until it is opened, at the end of a turn. */
void cvm_loop_post(struct cvm_loop *loop, struct cvm_mail *mail);
/* Runs an own loop until cvm_loop_close() has called back. */
void cvm_loop_run(struct cvm_loop *loop);
/* For foreign loops: see cvm_fd() and the two that follow it in cvm.h. */
int32_t cvm_loop_fd(const struct cvm_loop *loop);
int32_t cvm_loop_timeout_ms(struct cvm_loop *loop);
void cvm_loop_process(struct cvm_loop *loop);
int32_t cvm_loop_is_own(const struct cvm_loop *loop);
/* In the loop's thread: 1 inside of mail, of a timer's or watch's function, and of closed(). */
int32_t cvm_loop_is_in_event(const struct cvm_loop *loop);
/* Closes the mailbox; calls closed(argument), last of all, when every timer and watch is freed too.
 * The loop frees itself then, an own one when cvm_loop_run() or cvm_loop_process() returns. */
void cvm_loop_close(struct cvm_loop *loop, void (*closed)(void *argument), void *argument);

struct cvm_timer *cvm_timer_new(
    struct cvm_loop *loop, void (*expired)(void *argument), void *argument);
/* Starts it anew, once; delay_ms count from now, however long ago the loop's last turn was. */
void cvm_timer_start(struct cvm_timer *timer, uint64_t delay_ms);
void cvm_timer_stop(struct cvm_timer *timer);
/* Its function is not called again. NULL is fine. */
void cvm_timer_free(struct cvm_timer *timer);

struct cvm_watch *cvm_watch_new(struct cvm_loop *loop, int32_t fd,
    void (*happened)(void *argument, uint32_t events), void *argument);
/* What to watch for; 0 for nothing. */
void cvm_watch_set(struct cvm_watch *watch, uint32_t events);
/* Its function is not called again; the descriptor may be closed at once. NULL is fine. */
void cvm_watch_free(struct cvm_watch *watch);

#endif
