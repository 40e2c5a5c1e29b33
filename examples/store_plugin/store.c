/* The table of verbs, and a store's life. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store.h"

/* --- Verbs: each leaves a job -------------------------------------------------------------------
 */

static void store_get(void *self, cvm_op_t *op, const char *device_uid)
{
    lane_add(&((struct store *)self)->reads,
        &(struct job){.op = op, .run = run_get, .name = device_uid});
}

static void store_get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    lane_add(&((struct store *)self)->reads,
        &(struct job){.op = op, .run = run_get_certificates, .name = device_uid, .limit = limit});
}

static void store_scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit)
{
    lane_add(&((struct store *)self)->reads, &(struct job){.op = op,
                                                 .run = run_scan,
                                                 .name = cursor,
                                                 .what = what,
                                                 .before_ms = before_ms,
                                                 .limit = limit});
}

static void store_find(void *self, cvm_op_t *op, cvm_find_by_t by, const char *value)
{
    lane_add(&((struct store *)self)->reads,
        &(struct job){.op = op, .run = run_find, .name = value, .what = by});
}

static void store_meta_get(void *self, cvm_op_t *op, const char *name)
{
    lane_add(
        &((struct store *)self)->reads, &(struct job){.op = op, .run = run_meta_get, .name = name});
}

static void store_swap(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    lane_add(&((struct store *)self)->writes,
        &(struct job){.op = op, .run = run_swap, .change = change});
}

static void store_load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    lane_add(&((struct store *)self)->writes,
        &(struct job){.op = op, .run = run_load, .loading = loading});
}

static void store_meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    lane_add(&((struct store *)self)->writes,
        &(struct job){
            .op = op, .run = run_meta_put, .name = name, .version = version, .value = wanted});
}

static void store_ready(void *self, cvm_op_t *op)
{
    lane_add(&((struct store *)self)->writes, &(struct job){.op = op, .run = run_ready});
}

/* --- Copies ----------------------------------------------------------------------------------- */

struct copying {
    struct store *store;
    cvm_op_t *op;
    char *path;
    cvm_answer_t answer;
    int rc;
};

/* In a thread: a snapshot, while others write. */
static void copy_work(void *argument)
{
    struct copying *copying = argument;
    int fd = open(copying->path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    struct env *env = copying->store->env;
    (void)pthread_rwlock_rdlock(&env->map_lock);
    copying->rc = fd < 0 ? errno : mdb_env_copyfd2(env->lmdb, fd, MDB_CP_COMPACT);
    (void)pthread_rwlock_unlock(&env->map_lock);
    if (fd >= 0 && !copying->rc && fsync(fd))
        copying->rc = errno;
    if (fd >= 0)
        (void)close(fd);
    if (fd >= 0 && copying->rc)
        (void)unlink(copying->path);
    copying->answer = !copying->rc                      ? CVM_ANSWER_OK
                      : fd < 0 && copying->rc == EEXIST ? CVM_ANSWER_CONFLICT
                                                        : CVM_ANSWER_UNAVAILABLE;
}

static void copy_done(void *argument)
{
    struct copying *copying = argument;
    copying->store->host->complete(
        copying->op, copying->answer, copying->rc ? mdb_strerror(copying->rc) : NULL);
    lane_leave(copying->store);
    free(copying->path);
    free(copying);
}

static void store_backup(void *self, cvm_op_t *op, const char *path)
{
    struct store *store = self;
    struct copying *copying = calloc(1, sizeof *copying);
    if (copying) {
        *copying = (struct copying){.store = store, .op = op, .path = strdup(path)};
        atomic_fetch_add(&store->lanes, 1);
        if (copying->path && !store->host->run(store->context, copy_work, copy_done, copying))
            return;
        free(copying->path);
        lane_leave(store);
    }
    free(copying);
    store->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

/* --- Life ------------------------------------------------------------------------------------- */

static cvm_answer_t store_create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    struct store *store = calloc(1, sizeof *store);
    (void)user_data;
    if (!store || !*location || strlen(location) >= sizeof store->path) {
        (void)snprintf(error, error_size, "%s",
            store ? "it takes the path of a file, lmdb:PATH" : "out of memory");
        free(store);
        return CVM_ANSWER_INVALID;
    }
    store->host = host;
    store->context = context;
    (void)snprintf(store->path, sizeof store->path, "%s", location);
    *result = store;
    return CVM_ANSWER_OK;
}

struct opening {
    struct store *store;
    cvm_op_t *op;
    int may_create, is_migration, rc;
};

/* The threads finish what they have; the last one to end completes closing. */
static void close_now(struct store *store)
{
    if (!store->writes.is_started && !store->reads.is_started)
        store->host->complete(store->closing, CVM_ANSWER_OK, NULL);
    if (store->writes.is_started)
        lane_end(&store->writes);
    if (store->reads.is_started)
        lane_end(&store->reads);
}

static void store_close(void *self, cvm_op_t *op)
{
    struct store *store = self;
    store->closing = op;
    if (!store->is_opening)
        close_now(store);
}

/* In a thread: the file may be on a slow disk, and another process may be writing. */
static void open_work(void *argument)
{
    struct opening *opening = argument;
    struct store *store = opening->store;
    size_t map_size = (size_t)store->host->property_number(store->context, "lmdb.map_size");
    if (!store->env) /* of an open() that went wrong later */
        opening->rc = env_open(store->path, map_size, opening->may_create, &store->env);
}

static void open_tell(const struct opening *opening, int rc)
{
    const struct store *store = opening->store;
    char text[200];
    (void)snprintf(text, sizeof text, "%.120s: %s", store->path,
        rc == ENOENT ? "there is no store (`cvm store migrate` makes it, and a server)"
                     : mdb_strerror(rc));
    store->host->complete(opening->op,
        !rc                                 ? CVM_ANSWER_OK
        : rc == ENOENT || rc == MDB_INVALID ? CVM_ANSWER_INVALID
                                            : CVM_ANSWER_UNAVAILABLE,
        rc ? text : NULL);
}

static void open_done(void *argument)
{
    struct opening *opening = argument;
    struct store *store = opening->store;
    int rc = opening->rc;
    if (opening->is_migration && store->env) {
        env_close(store->env);
        store->env = NULL;
        (void)store->host->op_set_text(opening->op, CVM_OUT_VALUE, "the store is there");
    } else if (!rc &&
               (lane_start(store, &store->writes, 1) || lane_start(store, &store->reads, 0))) {
        rc = EAGAIN;
    }
    store->is_opening = 0;
    open_tell(opening, rc);
    free(opening);
    if (store->closing)
        close_now(store);
}

static void open_begin(struct store *store, cvm_op_t *op, int may_create, int is_migration)
{
    struct opening *opening = calloc(1, sizeof *opening);
    if (opening) {
        *opening = (struct opening){
            .store = store, .op = op, .may_create = may_create, .is_migration = is_migration};
        store->is_opening = 1;
        if (!store->host->run(store->context, open_work, open_done, opening))
            return;
        store->is_opening = 0;
    }
    free(opening);
    store->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

/* One that failed may come again. */
static void store_open(void *self, cvm_op_t *op, uint32_t how)
{
    struct store *store = self;
    open_begin(store, op,
        (how & CVM_OPEN_UPDATE) && store->host->property_number(store->context, "store.create"), 0);
}

/* Without an open(): the file is made, for an import before the first server. */
static void store_migrate(void *self, cvm_op_t *op, uint32_t how)
{
    struct store *store = self;
    if (how & CVM_MIGRATE_PRINT)
        store->host->complete(op, CVM_ANSWER_OK, NULL);
    else
        open_begin(store, op, 1, 1);
}

static void store_destroy(void *self)
{
    struct store *store = self;
    if (store->writes.is_started)
        (void)pthread_join(store->writes.thread, NULL);
    if (store->reads.is_started)
        (void)pthread_join(store->reads.thread, NULL);
    if (store->env)
        env_close(store->env);
    free(store);
}

/* --- Getting in ------------------------------------------------------------------------------- */

static const cvm_store_ops_t LMDB = {
    .size = sizeof(cvm_store_ops_t),
    .flags = CVM_STORE_SHARED | CVM_STORE_UNIQUE_KEYS | CVM_STORE_EXTRA_FIELDS | CVM_STORE_FREEZES |
             CVM_LOCATION_IS_PATH,
    .device_fields = CVM_DEVICE_FIELD_COUNT,
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT,
    .create = store_create,
    .open = store_open,
    .ready = store_ready,
    .get = store_get,
    .swap = store_swap,
    .get_certificates = store_get_certificates,
    .scan = store_scan,
    .load = store_load,
    .meta_get = store_meta_get,
    .meta_put = store_meta_put,
    .remove = store_swap,
    .find = store_find,
    .backup = store_backup,
    .close = store_close,
    .destroy = store_destroy,
    .migrate = store_migrate,
};

static const cvm_property_row_t MAP_SIZE = {
    .size = sizeof(cvm_property_row_t),
    .flags = CVM_PROPERTY_NEEDS_RESTART,
    .name = "lmdb.map_size",
    .type = CVM_TYPE_COUNT,
    .default_text = "1G",
    .range = "1M to 1024G",
    .help = "How large the file may become.",
};

static int32_t store_plugin(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return host->add_property(registry, &MAP_SIZE, NULL, 0) ||
                   host->add_store(registry, "lmdb", &LMDB, user_data, NULL, 0)
               ? -1
               : 0;
}

CVM_MODULE(store_plugin);
