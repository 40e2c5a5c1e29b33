/* The file. LMDB allows a process to have it open once, so the stores of a process share it. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct env *all;

/* A new file is there after a crash as well once its folder is on the disk. */
static int env_sync_folder(const char *path)
{
    char folder[1024];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        *slash = 0;
    int fd = open(!slash ? "." : slash == folder ? "/" : folder, O_RDONLY);
    int rc = fd < 0 || fsync(fd) ? errno : 0;
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static int env_open_dbs(struct env *env)
{
    static const char *const NAMES[DB_COUNT] = {"devices", "certificates", "values", "index"};
    MDB_txn *txn;
    int rc = mdb_txn_begin(env->lmdb, NULL, 0, &txn);
    if (rc)
        return rc;
    for (int i = 0; i < DB_COUNT && !rc; i++)
        rc = mdb_dbi_open(txn, NAMES[i], MDB_CREATE, &env->dbs[i]);
    if (rc)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    return rc;
}

static int env_make(struct env *env, size_t map_size, int may_create)
{
    int is_new = access(env->path, F_OK) != 0, dead;
    if (is_new && !may_create)
        return ENOENT;
    int rc = mdb_env_create(&env->lmdb);
    if (rc)
        return rc;
    rc = mdb_env_set_maxdbs(env->lmdb, DB_COUNT);
    if (!rc)
        rc = mdb_env_set_mapsize(env->lmdb, map_size);
    if (!rc)
        rc = mdb_env_open(env->lmdb, env->path, MDB_NOSUBDIR | MDB_NOTLS, 0600);
    if (!rc)
        rc = mdb_reader_check(env->lmdb, &dead); /* of processes that were killed */
    if (!rc)
        rc = env_open_dbs(env);
    if (!rc)
        rc = env_sync_folder(env->path); /* who made it may have been killed before */
    if (!rc)
        rc = pthread_rwlock_init(&env->map_lock, NULL);
    if (rc)
        mdb_env_close(env->lmdb);
    return rc;
}

static struct env *env_find(const char *path)
{
    struct env *env = all;
    while (env && strcmp(env->path, path) != 0)
        env = env->next;
    return env;
}

int env_open(const char *path, size_t map_size, int may_create, struct env **result)
{
    int rc = 0;
    (void)pthread_mutex_lock(&lock);
    struct env *env = env_find(path);
    if (!env) {
        env = calloc(1, sizeof *env);
        rc = env ? 0 : ENOMEM;
        if (env) {
            (void)snprintf(env->path, sizeof env->path, "%s", path);
            rc = env_make(env, map_size, may_create);
        }
        if (rc) {
            free(env);
            env = NULL;
        } else {
            env->next = all;
            all = env;
        }
    }
    if (env)
        env->users++;
    *result = env;
    (void)pthread_mutex_unlock(&lock);
    return rc;
}

void env_close(struct env *env)
{
    (void)pthread_mutex_lock(&lock);
    if (!--env->users) {
        struct env **link = &all;
        while (*link != env)
            link = &(*link)->next;
        *link = env->next;
        mdb_env_close(env->lmdb);
        (void)pthread_rwlock_destroy(&env->map_lock);
        free(env);
    }
    (void)pthread_mutex_unlock(&lock);
}
