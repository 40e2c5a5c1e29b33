/* The loop: a mailbox for many threads, timers, watches; run by itself, on libuv's, by others'. */
#include "support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "loop.h"
#include "threads.h"

#define THREADS 4
#define EACH    2000

static void closed(void *argument)
{
    *(int *)argument = 1;
}

/* --- Mail ------------------------------------------------------------------------------------- */

struct letter {
    struct cvm_mail mail;
    struct sender *sender;
    uint32_t number;
};

struct sender {
    struct cvm_loop *loop;
    struct letter letters[EACH];
    uint32_t received; /* on the loop */
    uint32_t *total;
    int *is_closed;
};

static void opened(struct cvm_mail *mail)
{
    struct letter *letter = CVM_CONTAINER(mail, struct letter, mail);
    struct sender *sender = letter->sender;
    assert_int_equal(letter->number, sender->received); /* in the order in which they were sent */
    sender->received++;
    if (++*sender->total == THREADS * EACH)
        cvm_loop_close(sender->loop, closed, sender->is_closed);
}

static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (uint32_t i = 0; i < EACH; i++) {
        sender->letters[i] = (struct letter){{NULL, opened}, sender, i};
        cvm_loop_post(sender->loop, &sender->letters[i].mail);
        if (i % 128 == 0)
            sched_yield();
    }
    return NULL;
}

struct crowd {
    struct sender *senders[THREADS];
    pthread_t threads[THREADS];
    uint32_t total;
    int is_closed;
};

static void start_crowd(struct crowd *crowd, struct cvm_loop *loop)
{
    *crowd = (struct crowd){.total = 0};
    for (int i = 0; i < THREADS; i++) {
        crowd->senders[i] = calloc(1, sizeof *crowd->senders[i]);
        assert_non_null(crowd->senders[i]);
        crowd->senders[i]->loop = loop;
        crowd->senders[i]->total = &crowd->total;
        crowd->senders[i]->is_closed = &crowd->is_closed;
        assert_int_equal(pthread_create(&crowd->threads[i], NULL, send_all, crowd->senders[i]), 0);
    }
}

static void end_crowd(struct crowd *crowd)
{
    for (int i = 0; i < THREADS; i++) {
        pthread_join(crowd->threads[i], NULL);
        assert_int_equal(crowd->senders[i]->received, EACH);
        free(crowd->senders[i]);
    }
    assert_true(crowd->is_closed);
}

static void mail_from_many_threads_arrives_in_order(void **state)
{
    struct crowd crowd;
    (void)state;
    struct cvm_loop *loop = cvm_loop_new(NULL);
    start_crowd(&crowd, loop);
    cvm_loop_run(loop);
    end_crowd(&crowd);
}

static void mail_arrives_on_a_borrowed_loop(void **state)
{
    struct crowd crowd;
    uv_loop_t uv;
    (void)state;
    assert_int_equal(uv_loop_init(&uv), 0);
    struct cvm_loop *loop = cvm_loop_new(&uv);
    assert_false(cvm_loop_is_own(loop));
    start_crowd(&crowd, loop);
    assert_int_equal(uv_run(&uv, UV_RUN_DEFAULT), 0); /* ends: nothing is left on it */
    end_crowd(&crowd);
    assert_int_equal(uv_loop_close(&uv), 0);
}

/* What a foreign event loop does with fd, timeout and process. A mail that is lost makes it hang.
 */
static void turn_until(struct cvm_loop *loop, const int *is_done)
{
    for (int silent = 0; !*is_done;) {
        struct pollfd fd = {cvm_loop_fd(loop), POLLIN, 0};
        int timeout_ms = cvm_loop_timeout_ms(loop);
        int found = poll(&fd, 1, timeout_ms < 0 || timeout_ms > 5000 ? 5000 : timeout_ms);
        silent = found == 0 && timeout_ms < 0 ? silent + 1 : 0;
        if (silent == 4)
            fail_msg("20 s without work: something was lost");
        cvm_loop_process(loop);
    }
}

static void nothing_is_lost_by_a_foreign_loop(void **state)
{
    struct crowd crowd;
    (void)state;
    struct cvm_loop *loop = cvm_loop_new(NULL);
    start_crowd(&crowd, loop);
    turn_until(loop, &crowd.is_closed);
    end_crowd(&crowd);
}

/* Takes a wake-up away, as a child of fork() does that runs a loop which it inherited. */
static void steal_wake_up(void)
{
    char bytes[16];
    struct stat file;
    int stolen = 0;
    for (int fd = 3; fd < 64; fd++)
        if (fstat(fd, &file) == 0 && S_ISFIFO(file.st_mode) &&
            (fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE)) == (O_NONBLOCK | O_RDONLY))
            stolen += read(fd, bytes, sizeof bytes) > 0;
    assert_int_equal(stolen, 1);
}

struct note_to_all {
    struct cvm_mail mail;
    int is_open;
};

static void note_opened(struct cvm_mail *mail)
{
    CVM_CONTAINER(mail, struct note_to_all, mail)->is_open = 1;
}

static void nothing_to_do(void *argument)
{
    (void)argument;
}

/* Whatever wakes the loop next has the mail opened: a timer, or the next mail a moment later. */
static void a_lost_wake_up_does_not_silence_the_mailbox(void **state)
{
    struct note_to_all first = {{NULL, note_opened}, 0}, second = first, third = first;
    int is_closed = 0;
    (void)state;
    struct cvm_loop *loop = cvm_loop_new(NULL);
    struct pollfd fd = {cvm_loop_fd(loop), POLLIN, 0};
    cvm_loop_process(loop);
    cvm_loop_post(loop, &first.mail);
    steal_wake_up();
    assert_int_equal(poll(&fd, 1, 0), 0);
    struct cvm_timer *timer = cvm_timer_new(loop, nothing_to_do, NULL);
    cvm_timer_start(timer, 1);
    turn_until(loop, &first.is_open);
    cvm_timer_free(timer);
    cvm_loop_process(loop);

    cvm_loop_post(loop, &second.mail);
    steal_wake_up();
    assert_int_equal(poll(&fd, 1, 0), 0);
    (void)usleep(150000);
    cvm_loop_post(loop, &third.mail);
    assert_int_equal(poll(&fd, 1, 5000), 1);
    cvm_loop_process(loop);
    assert_true(second.is_open && third.is_open);
    cvm_loop_close(loop, closed, &is_closed);
    turn_until(loop, &is_closed);
}

/* --- Timers ----------------------------------------------------------------------------------- */

struct clockwork {
    struct cvm_loop *loop;
    struct cvm_timer *first, *second, *stopped, *again;
    char order[16];
    int ticks, is_closed;
};

static void note(struct clockwork *clockwork, char what)
{
    size_t length = strlen(clockwork->order);
    assert_true(length < sizeof clockwork->order - 1);
    clockwork->order[length] = what;
}

static void first_expired(void *argument)
{
    struct clockwork *clockwork = argument;
    note(clockwork, '1');
    cvm_timer_free(clockwork->first); /* within its own function */
    cvm_timer_stop(clockwork->stopped);
}

static void second_expired(void *argument)
{
    struct clockwork *clockwork = argument;
    note(clockwork, '2');
    cvm_timer_free(clockwork->second);
    cvm_timer_free(clockwork->stopped);
    cvm_timer_free(clockwork->again);
    cvm_loop_close(clockwork->loop, closed, &clockwork->is_closed);
}

static void stopped_expired(void *argument)
{
    note(argument, 'x');
}

static void again_expired(void *argument)
{
    struct clockwork *clockwork = argument;
    note(clockwork, 'a');
    if (++clockwork->ticks < 3)
        cvm_timer_start(clockwork->again, 1);
}

static void wind_up(struct clockwork *clockwork)
{
    *clockwork = (struct clockwork){.loop = cvm_loop_new(NULL)};
    struct cvm_loop *loop = clockwork->loop;
    clockwork->first = cvm_timer_new(loop, first_expired, clockwork);
    clockwork->second = cvm_timer_new(loop, second_expired, clockwork);
    clockwork->stopped = cvm_timer_new(loop, stopped_expired, clockwork);
    clockwork->again = cvm_timer_new(loop, again_expired, clockwork);
    cvm_timer_start(clockwork->first, 0);
    cvm_timer_start(clockwork->stopped, 1);
    cvm_timer_stop(clockwork->stopped);
    cvm_timer_start(clockwork->stopped, 200);
    cvm_timer_start(clockwork->second, 1000);
    cvm_timer_start(clockwork->second, 60); /* anew: the first delay is gone */
    cvm_timer_start(clockwork->again, 5);
}

static void timers_expire_in_their_order(void **state)
{
    struct clockwork clockwork;
    (void)state;
    wind_up(&clockwork);
    cvm_loop_run(clockwork.loop);
    assert_true(clockwork.is_closed);
    assert_string_equal(clockwork.order, "1aaa2");
}

static void timers_expire_on_a_foreign_loop(void **state)
{
    struct clockwork clockwork;
    (void)state;
    wind_up(&clockwork);
    turn_until(clockwork.loop, &clockwork.is_closed);
    assert_string_equal(clockwork.order, "1aaa2");
    cvm_timer_free(NULL);
}

/* What is left of a delay does not depend on when the loop had its last turn. */
static void timers_count_from_when_they_are_started(void **state)
{
    struct clockwork clockwork = {.loop = cvm_loop_new(NULL)};
    (void)state;
    clockwork.stopped = cvm_timer_new(clockwork.loop, stopped_expired, &clockwork);
    cvm_loop_process(clockwork.loop);
    (void)usleep(300000); /* as after a freeze */
    cvm_timer_start(clockwork.stopped, 250);
    cvm_loop_process(clockwork.loop);
    assert_string_equal(clockwork.order, "");
    assert_in_range(cvm_loop_timeout_ms(clockwork.loop), 1, 250);
    cvm_timer_free(clockwork.stopped);
    cvm_loop_close(clockwork.loop, closed, &clockwork.is_closed);
    turn_until(clockwork.loop, &clockwork.is_closed);
}

/* Mail that is always followed by mail must not keep timers from expiring. */
struct chatter {
    struct cvm_mail mail;
    struct cvm_loop *loop;
    struct cvm_timer *timer;
    int is_over, is_closed;
};

static void talk_on(struct cvm_mail *mail)
{
    struct chatter *chatter = CVM_CONTAINER(mail, struct chatter, mail);
    if (!chatter->is_over)
        cvm_loop_post(chatter->loop, mail);
    else
        cvm_loop_close(chatter->loop, closed, &chatter->is_closed);
}

static void enough(void *argument)
{
    struct chatter *chatter = argument;
    chatter->is_over = 1;
    cvm_timer_free(chatter->timer);
}

static void endless_mail_gives_way_to_timers(void **state)
{
    (void)state;
    struct chatter chatter = {{NULL, talk_on}, cvm_loop_new(NULL), NULL, 0, 0};
    chatter.timer = cvm_timer_new(chatter.loop, enough, &chatter);
    cvm_timer_start(chatter.timer, 5);
    cvm_loop_post(chatter.loop, &chatter.mail);
    cvm_loop_run(chatter.loop);
    assert_true(chatter.is_closed);
}

/* --- Watches ---------------------------------------------------------------------------------- */

struct pipe_watch {
    struct cvm_loop *loop;
    struct cvm_watch *watch;
    int ends[2];
    uint32_t bytes;
    int is_closed;
};

static void readable(void *argument, uint32_t events)
{
    struct pipe_watch *pipe_watch = argument;
    char byte;
    assert_true(events & CVM_READABLE);
    assert_int_equal(read(pipe_watch->ends[0], &byte, 1), 1);
    if (++pipe_watch->bytes < 100) {
        assert_int_equal(write(pipe_watch->ends[1], "x", 1), 1);
        return;
    }
    cvm_watch_free(pipe_watch->watch);
    (void)close(pipe_watch->ends[0]);
    (void)close(pipe_watch->ends[1]);
    cvm_loop_close(pipe_watch->loop, closed, &pipe_watch->is_closed);
}

static void start_pipe(struct pipe_watch *pipe_watch)
{
    *pipe_watch = (struct pipe_watch){.loop = cvm_loop_new(NULL)};
    assert_int_equal(pipe(pipe_watch->ends), 0);
    pipe_watch->watch = cvm_watch_new(pipe_watch->loop, pipe_watch->ends[0], readable, pipe_watch);
    assert_non_null(pipe_watch->watch);
    cvm_watch_set(pipe_watch->watch, CVM_READABLE);
    assert_int_equal(write(pipe_watch->ends[1], "x", 1), 1);
}

static void a_watch_tells_of_bytes(void **state)
{
    struct pipe_watch pipe_watch;
    (void)state;
    start_pipe(&pipe_watch);
    cvm_loop_run(pipe_watch.loop);
    assert_int_equal(pipe_watch.bytes, 100);
    cvm_watch_free(NULL);
}

/* A watch that was set outside the loop's turn is not in its descriptor yet: the timeout says so.
 */
static void a_fresh_watch_is_not_lost_by_a_foreign_loop(void **state)
{
    struct pipe_watch pipe_watch;
    (void)state;
    start_pipe(&pipe_watch);
    assert_int_equal(cvm_loop_timeout_ms(pipe_watch.loop), 0);
    turn_until(pipe_watch.loop, &pipe_watch.is_closed);
    assert_int_equal(pipe_watch.bytes, 100);
}

struct posting {
    struct pipe_watch pipe;
    struct cvm_mail mail;
    int is_opened;
};

static void opened_in_its_turn(struct cvm_mail *mail)
{
    CVM_CONTAINER(mail, struct posting, mail)->is_opened++;
}

static void posts(void *argument, uint32_t events)
{
    struct posting *posting = argument;
    char byte;
    (void)events;
    assert_int_equal(read(posting->pipe.ends[0], &byte, 1), 1);
    cvm_loop_post(posting->pipe.loop, &posting->mail);
    cvm_watch_set(posting->pipe.watch, CVM_READABLE); /* as it was */
}

/* Most mail is what a descriptor's event leads to: its turn ends with it, and nobody has to wake
 * the loop for it. Nor does a watch that stays as it was lead to another turn. */
static void an_event_that_posts_ends_with_its_mail(void **state)
{
    struct posting posting = {.mail = {NULL, opened_in_its_turn}};
    struct pipe_watch *own = &posting.pipe;
    (void)state;
    own->loop = cvm_loop_new(NULL);
    assert_int_equal(pipe(own->ends), 0);
    own->watch = cvm_watch_new(own->loop, own->ends[0], posts, &posting);
    cvm_watch_set(own->watch, CVM_READABLE);
    for (int turn = 1; turn < 4; turn++) {
        struct pollfd fd = {cvm_loop_fd(own->loop), POLLIN, 0};
        assert_int_equal(write(own->ends[1], "x", 1), 1);
        cvm_loop_process(own->loop);
        assert_int_equal(posting.is_opened, turn);
        assert_int_equal(poll(&fd, 1, 0), 0);
        assert_int_equal(cvm_loop_timeout_ms(own->loop), -1);
    }
    cvm_watch_free(own->watch);
    cvm_loop_close(own->loop, closed, &own->is_closed);
    cvm_loop_run(own->loop);
    (void)close(own->ends[0]);
    (void)close(own->ends[1]);
}

/* --- Threads ---------------------------------------------------------------------------------- */

struct errand {
    struct cvm_loop *loop;
    struct cvm_threads *threads;
    pthread_t loop_thread;
    atomic_int worked;
    int done, wanted, is_closed;
};

static void work(void *argument)
{
    struct errand *errand = argument;
    assert_false(pthread_equal(pthread_self(), errand->loop_thread));
    atomic_fetch_add(&errand->worked, 1);
}

static void done(void *argument)
{
    struct errand *errand = argument;
    assert_true(pthread_equal(pthread_self(), errand->loop_thread));
    if (++errand->done == errand->wanted)
        cvm_loop_close(errand->loop, closed, &errand->is_closed);
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void wait_at_gate(void *argument)
{
    work(argument);
    (void)pthread_mutex_lock(&gate);
    (void)pthread_mutex_unlock(&gate);
}

/* Two threads hold one each, three wait, the sixth is refused. */
static void a_full_pool_refuses(void **state)
{
    (void)state;
    struct errand errand = {.loop = cvm_loop_new(NULL), .wanted = 5};
    errand.loop_thread = pthread_self();
    errand.threads = cvm_threads_new(errand.loop, 3);
    (void)pthread_mutex_lock(&gate);
    for (int i = 0; i < 2; i++)
        assert_int_equal(cvm_threads_run(errand.threads, wait_at_gate, done, &errand), 0);
    while (atomic_load(&errand.worked) < 2)
        (void)usleep(100);
    for (int i = 0; i < 3; i++)
        assert_int_equal(cvm_threads_run(errand.threads, wait_at_gate, done, &errand), 0);
    assert_int_equal(cvm_threads_run(errand.threads, wait_at_gate, done, &errand), -1);
    (void)pthread_mutex_unlock(&gate);
    cvm_loop_run(errand.loop);
    assert_int_equal(errand.done, 5);
    cvm_threads_free(errand.threads);
}

static void work_is_done_in_threads_and_reported_on_the_loop(void **state)
{
    (void)state;
    struct errand errand = {.loop = cvm_loop_new(NULL), .wanted = 500};
    errand.loop_thread = pthread_self();
    errand.threads = cvm_threads_new(errand.loop, UINT32_MAX);
    for (int i = 0; i < errand.wanted; i++)
        assert_int_equal(cvm_threads_run(errand.threads, work, done, &errand), 0);
    cvm_loop_run(errand.loop);
    assert_int_equal(atomic_load(&errand.worked), errand.wanted);
    assert_int_equal(errand.done, errand.wanted);
    cvm_threads_free(errand.threads);
    cvm_threads_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_from_many_threads_arrives_in_order),
        cmocka_unit_test(mail_arrives_on_a_borrowed_loop),
        cmocka_unit_test(nothing_is_lost_by_a_foreign_loop),
        cmocka_unit_test(a_lost_wake_up_does_not_silence_the_mailbox),
        cmocka_unit_test(timers_expire_in_their_order),
        cmocka_unit_test(timers_expire_on_a_foreign_loop),
        cmocka_unit_test(timers_count_from_when_they_are_started),
        cmocka_unit_test(endless_mail_gives_way_to_timers),
        cmocka_unit_test(a_watch_tells_of_bytes),
        cmocka_unit_test(a_fresh_watch_is_not_lost_by_a_foreign_loop),
        cmocka_unit_test(an_event_that_posts_ends_with_its_mail),
        cmocka_unit_test(work_is_done_in_threads_and_reported_on_the_loop),
        cmocka_unit_test(a_full_pool_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
