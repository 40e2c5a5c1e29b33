/* Lanes: threads with a queue, that take all that waits at once. */
#include <stdlib.h>

#include "base/thread.h"
#include "store.h"

static void *run(void *argument)
{
    struct lane *lane = argument;
    pthread_mutex_lock(&lane->lock);
    for (;;) {
        while (!lane->first && !lane->must_end)
            pthread_cond_wait(&lane->wanted, &lane->lock);
        struct job *first = lane->first;
        if (!first)
            break;
        lane->first = NULL;
        lane->last = &lane->first;
        pthread_mutex_unlock(&lane->lock);
        lane->work(lane->store, first);
        cvm_store_tell_break(lane->store);
        pthread_mutex_lock(&lane->lock);
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

int cvm_lane_start(
    struct lane *lane, struct store *store, void (*work)(struct store *store, struct job *first))
{
    lane->store = store;
    lane->work = work;
    lane->first = NULL;
    lane->last = &lane->first;
    lane->must_end = 0;
    (void)pthread_mutex_init(&lane->lock, NULL); /* these can't fail with default attributes */
    (void)pthread_cond_init(&lane->wanted, NULL);
    int failed = cvm_thread_start(&lane->thread, run, lane);
    lane->is_started = !failed;
    return failed;
}

void cvm_lane_put(struct lane *lane, struct job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&lane->lock);
    *lane->last = job;
    lane->last = &job->next;
    pthread_cond_signal(&lane->wanted);
    pthread_mutex_unlock(&lane->lock);
}

void cvm_lane_end(struct lane *lane)
{
    if (!lane->is_started)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->must_end = 1;
    pthread_cond_signal(&lane->wanted);
    pthread_mutex_unlock(&lane->lock);
    pthread_join(lane->thread, NULL);
    pthread_cond_destroy(&lane->wanted);
    pthread_mutex_destroy(&lane->lock);
    lane->is_started = 0;
}
