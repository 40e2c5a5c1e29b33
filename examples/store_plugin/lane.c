/* The threads. A verb must not block the host's loop, so it leaves a job; an fsync costs as much
 * for one as for a hundred, so all that waits is written in one transaction. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

static void lane_complete(struct store *store, struct job *job)
{
    store->host->complete(job->op, job->answer, job->text);
    free(job);
}

/* What a process that was killed was reading holds room. */
static void lane_free_room(struct store *store)
{
    int dead;
    (void)mdb_reader_check(store->env->lmdb, &dead);
}

/* Why nothing was written. */
static const char *lane_reason(int rc)
{
    switch (rc) {
    case MDB_MAP_FULL:
        return "the file has reached lmdb.map_size";
    case ENOSPC:
        return "the disk is full";
    case ENOMEM:
        return "out of memory";
    default:
        return mdb_strerror(rc);
    }
}

static void lane_fail(struct job *first, cvm_answer_t answer, int rc)
{
    for (struct job *job = first; job; job = job->next) {
        job->answer = answer;
        job->text = lane_reason(rc);
    }
}

/* What a frozen store does is thaw. */
static int lane_is_frozen(struct store *store, MDB_txn *txn, const struct job *job, int *is_frozen)
{
    static char name[] = CVM_FROZEN;
    MDB_val key = {sizeof name - 1, name}, value;
    int rc = mdb_get(txn, store->env->dbs[VALUES], &key, &value);
    *is_frozen = !rc && !(job->name && strcmp(job->name, name) == 0);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* One job in a transaction inside that of all: what it wrote stays or goes by itself. */
static void lane_write_one(struct store *store, MDB_txn *outer, struct job *job)
{
    MDB_txn *txn = NULL;
    int is_frozen, rc = mdb_txn_begin(store->env->lmdb, outer, 0, &txn);
    if (!rc)
        rc = lane_is_frozen(store, txn, job, &is_frozen);
    if (!rc && is_frozen) {
        job->answer = CVM_ANSWER_UNAVAILABLE;
        job->text = CVM_FROZEN_TEXT;
    } else if (!rc) {
        rc = job->run(store, txn, job);
    }
    if (rc && rc != MDB_NOTFOUND) {
        job->answer = CVM_ANSWER_UNAVAILABLE;
        job->text = lane_reason(rc);
    }
    if (rc == MDB_MAP_FULL)
        lane_free_room(store); /* for the next ones */
    if (txn && job->answer != CVM_ANSWER_OK)
        mdb_txn_abort(txn);
    else if (txn && mdb_txn_commit(txn))
        job->answer = CVM_ANSWER_UNAVAILABLE;
}

/* Another process may have made the file's map larger: then it is mapped anew, once nobody of this
 * process reads it. Whoever has begun one has the lock until lane_end_txn(). */
static int lane_begin(struct store *store, unsigned flags, MDB_txn **txn)
{
    struct env *env = store->env;
    (void)pthread_rwlock_rdlock(&env->map_lock);
    int rc = mdb_txn_begin(env->lmdb, NULL, flags, txn);
    if (rc == MDB_MAP_RESIZED) {
        (void)pthread_rwlock_unlock(&env->map_lock);
        (void)pthread_rwlock_wrlock(&env->map_lock);
        rc = mdb_env_set_mapsize(env->lmdb, 0);
        (void)pthread_rwlock_unlock(&env->map_lock);
        (void)pthread_rwlock_rdlock(&env->map_lock);
        if (!rc)
            rc = mdb_txn_begin(env->lmdb, NULL, flags, txn);
    }
    if (rc)
        (void)pthread_rwlock_unlock(&env->map_lock);
    return rc;
}

static void lane_end_txn(struct store *store)
{
    (void)pthread_rwlock_unlock(&store->env->map_lock);
}

/* Nothing is acknowledged before the commit has answered; one that fails leaves a doubt. */
static void lane_write(struct store *store, struct job *first)
{
    MDB_txn *txn;
    int rc = lane_begin(store, 0, &txn);
    if (rc) {
        lane_fail(first, CVM_ANSWER_UNAVAILABLE, rc);
        return;
    }
    for (struct job *job = first; job; job = job->next)
        lane_write_one(store, txn, job);
    if ((rc = mdb_txn_commit(txn)))
        lane_fail(first, CVM_ANSWER_UNKNOWN, rc);
    lane_end_txn(store);
}

static void lane_read(struct store *store, struct job *first)
{
    MDB_txn *txn;
    int rc = lane_begin(store, MDB_RDONLY, &txn);
    if (rc) {
        lane_fail(first, CVM_ANSWER_UNAVAILABLE, rc);
        return;
    }
    for (struct job *job = first; job; job = job->next) {
        rc = job->run(store, txn, job);
        if (rc == MDB_NOTFOUND) {
            job->answer = CVM_ANSWER_NOT_FOUND;
        } else if (rc) {
            job->answer = CVM_ANSWER_UNAVAILABLE;
            job->text = lane_reason(rc);
        }
    }
    mdb_txn_abort(txn);
    lane_end_txn(store);
}

/* All that waits, or NULL at the end. */
static struct job *lane_take(struct lane *lane)
{
    (void)pthread_mutex_lock(&lane->lock);
    while (!lane->first && !lane->must_end)
        (void)pthread_cond_wait(&lane->wanted, &lane->lock);
    struct job *first = lane->first;
    lane->first = NULL;
    lane->last = &lane->first;
    (void)pthread_mutex_unlock(&lane->lock);
    return first;
}

static void lane_work(struct lane *lane, struct job *first)
{
    if (lane->writes)
        lane_write(lane->store, first);
    else
        lane_read(lane->store, first);
    while (first) {
        struct job *next = first->next;
        lane_complete(lane->store, first);
        first = next;
    }
}

void lane_leave(struct store *store)
{
    if (atomic_fetch_sub(&store->lanes, 1) == 1)
        store->host->complete(store->closing, CVM_ANSWER_OK, NULL);
}

static void *lane_run(void *argument)
{
    struct lane *lane = argument;
    struct store *store = lane->store;
    struct job *first;
    while ((first = lane_take(lane)))
        lane_work(lane, first);
    lane_leave(store);
    return NULL;
}

int lane_start(struct store *store, struct lane *lane, int writes)
{
    if (lane->is_started)
        return 0;
    lane->store = store;
    lane->writes = writes;
    lane->last = &lane->first;
    (void)pthread_mutex_init(&lane->lock, NULL);
    (void)pthread_cond_init(&lane->wanted, NULL);
    if (pthread_create(&lane->thread, NULL, lane_run, lane))
        return -1;
    lane->is_started = 1;
    atomic_fetch_add(&store->lanes, 1);
    return 0;
}

void lane_add(struct lane *lane, const struct job *job)
{
    struct job *copy = malloc(sizeof *copy);
    if (!copy) {
        lane->store->host->complete(job->op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return;
    }
    *copy = *job;
    (void)pthread_mutex_lock(&lane->lock);
    *lane->last = copy;
    lane->last = &copy->next;
    (void)pthread_cond_signal(&lane->wanted);
    (void)pthread_mutex_unlock(&lane->lock);
}

void lane_end(struct lane *lane)
{
    (void)pthread_mutex_lock(&lane->lock);
    lane->must_end = 1;
    (void)pthread_cond_signal(&lane->wanted);
    (void)pthread_mutex_unlock(&lane->lock);
}
