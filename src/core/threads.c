/* A small pool of threads beside a loop. */
#include "threads.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/at_exit.h"
#include "base/thread.h"
#include "loop.h"

#define MOST_THREADS 2

struct work {
    struct cvm_mail mail;
    struct work *next;
    void (*work)(void *argument);
    void (*done)(void *argument);
    void *argument;
};

struct cvm_threads {
    struct cvm_loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    struct work *first, **last;
    uint32_t idle, started, waiting, most_waiting;
    int32_t must_end;
    pthread_t threads[MOST_THREADS];
};

struct cvm_threads *cvm_threads_new(struct cvm_loop *loop, uint32_t most_waiting)
{
    struct cvm_threads *threads = calloc(1, sizeof *threads);
    if (!threads)
        return NULL;
    threads->loop = loop;
    threads->most_waiting = most_waiting;
    threads->last = &threads->first;
    (void)pthread_mutex_init(&threads->lock, NULL); /* these can't fail with default attributes */
    (void)pthread_cond_init(&threads->wanted, NULL);
    return threads;
}

static void done(struct cvm_mail *mail)
{
    struct work *work = CVM_CONTAINER(mail, struct work, mail);
    work->done(work->argument);
    free(work);
}

static void *worker(void *argument)
{
    struct cvm_threads *threads = argument;
    pthread_mutex_lock(&threads->lock);
    for (;;) {
        while (!threads->first && !threads->must_end) {
            threads->idle++;
            pthread_cond_wait(&threads->wanted, &threads->lock);
            threads->idle--;
        }
        struct work *work = threads->first;
        if (!work)
            break;
        threads->waiting--;
        threads->first = work->next;
        if (!threads->first)
            threads->last = &threads->first;
        pthread_mutex_unlock(&threads->lock);
        cvm_at_exit_enter();
        work->work(work->argument);
        cvm_at_exit_leave();
        cvm_loop_post(threads->loop, &work->mail);
        pthread_mutex_lock(&threads->lock);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

/* Starts one more thread. */
static int32_t start(struct cvm_threads *threads)
{
    int32_t failed = cvm_thread_start(&threads->threads[threads->started], worker, threads);
    if (!failed)
        threads->started++;
    return failed;
}

int32_t cvm_threads_run(struct cvm_threads *threads, void (*work)(void *argument),
    void (*done_function)(void *argument), void *argument)
{
    struct work *item = calloc(1, sizeof *item);
    if (!item)
        return -1;
    *item = (struct work){{NULL, done}, NULL, work, done_function, argument};
    pthread_mutex_lock(&threads->lock);
    int32_t failed = threads->waiting >= threads->most_waiting;
    if (!failed && threads->waiting >= threads->idle && threads->started < MOST_THREADS)
        failed = start(threads) && !threads->started;
    if (!failed) {
        threads->waiting++;
        *threads->last = item;
        threads->last = &item->next;
        pthread_cond_signal(&threads->wanted);
    }
    pthread_mutex_unlock(&threads->lock);
    if (failed)
        free(item);
    return failed ? -1 : 0;
}

void cvm_threads_free(struct cvm_threads *threads)
{
    if (!threads)
        return;
    pthread_mutex_lock(&threads->lock);
    threads->must_end = 1;
    pthread_cond_broadcast(&threads->wanted);
    pthread_mutex_unlock(&threads->lock);
    for (uint32_t i = 0; i < threads->started; i++)
        pthread_join(threads->threads[i], NULL);
    pthread_cond_destroy(&threads->wanted);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}
