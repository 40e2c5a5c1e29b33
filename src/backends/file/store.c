/* The file store's table of verbs. They go to two threads: one writes (write.c), one reads
 * (read.c); a third checkpoints. How the store opens and closes is in open.c. */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/thread.h"
#include "file.h"

#define ERROR_SIZE 240

/* --- Open and close --------------------------------------------------------------------------- */

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    (void)user_data;
    struct store *store = *location ? calloc(1, sizeof *store) : NULL;
    if (!store || !(store->path = strdup(location))) {
        free(store);
        (void)snprintf(error, error_size, *location ? "out of memory" : "expected file:PATH");
        return CVM_ANSWER_INVALID;
    }
    store->host = host;
    store->context = context;
    store->lock.fd = -1;
    (void)pthread_mutex_init(&store->reader_lock, NULL); /* can't fail with default attributes */
    (void)pthread_mutex_init(&store->checkpointer_lock, NULL);
    *result = store;
    return CVM_ANSWER_OK;
}

static void destroy(void *self)
{
    struct store *store = self;
    if (store->has_closer) /* no thread of ours outlives the instance: it may be unloaded next */
        (void)pthread_join(store->closer, NULL);
    pthread_mutex_destroy(&store->reader_lock);
    pthread_mutex_destroy(&store->checkpointer_lock);
    free(store->path);
    free(store);
}

/* Runs in the writer's thread as its first job. */
static int run_open(struct store *store, struct job *job)
{
    char error[ERROR_SIZE] = "";
    cvm_answer_t answer = cvm_store_open_all(store, error, sizeof error);
    if (answer != CVM_ANSWER_OK)
        cvm_store_close_all(store);
    cvm_op_t *op = job->op;
    free(job);
    store->host->complete(op, answer, *error ? error : NULL);
    return answer != CVM_ANSWER_OK;
}

/* The writer's thread: opens, then writes. */
static void work_writes(struct store *store, struct job *first)
{
    if (!store->is_open) {
        struct job *rest = first->next;
        if (run_open(store, first))
            return;
        first = rest;
    }
    cvm_store_write(store, first);
}

static void open_store(void *self, cvm_op_t *op, uint32_t how)
{
    struct store *store = self;
    store->how = how;
    struct job *job = calloc(1, sizeof *job);
    cvm_lane_end(&store->writes); /* of an attempt to open that failed */
    if (!job || cvm_lane_start(&store->writes, store, work_writes)) {
        free(job);
        store->host->complete(op, CVM_ANSWER_UNAVAILABLE, "no thread, or out of memory");
        return;
    }
    job->op = op;
    cvm_lane_put(&store->writes, job);
}

/* Waits for the writer, which the loop must not. */
static void *close_in_thread(void *argument)
{
    struct store *store = argument;
    cvm_lane_end(&store->writes);
    cvm_store_close_all(store);
    store->host->complete(store->closing, CVM_ANSWER_OK, NULL);
    return NULL;
}

static void close_store(void *self, cvm_op_t *op)
{
    struct store *store = self;
    store->closing = op;
    store->has_closer = !cvm_thread_start(&store->closer, close_in_thread, store);
    if (!store->has_closer)
        (void)close_in_thread(store); /* better late than never */
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static void put(struct store *store, struct lane *lane, const struct job *wanted)
{
    struct job *job = malloc(sizeof *job);
    if (!job) {
        store->host->complete(wanted->op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return;
    }
    *job = *wanted;
    cvm_lane_put(lane, job);
}

static void ready(void *self, cvm_op_t *op)
{
    struct store *store = self;
    put(store, &store->writes, &(struct job){.op = op, .run = cvm_store_run_ready});
}

static void get(void *self, cvm_op_t *op, const char *device_uid)
{
    struct store *store = self;
    put(store, &store->reads,
        &(struct job){.op = op, .run = cvm_store_run_get, .name = device_uid});
}

static void swap(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    struct store *store = self;
    put(store, &store->writes,
        &(struct job){.op = op, .run = cvm_store_run_change, .change = change});
}

static void remove_device(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    struct store *store = self;
    put(store, &store->writes,
        &(struct job){.op = op, .run = cvm_store_run_change, .change = change, .removes = 1});
}

static void get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    struct store *store = self;
    put(store, &store->reads,
        &(struct job){.op = op,
            .run = cvm_store_run_scan,
            .name = device_uid,
            .limit = limit,
            .statement = GET_CERTIFICATES,
            .kind = CVM_RECORD_CERTIFICATE});
}

static void scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor, int64_t before_ms,
    uint32_t limit)
{
    static const struct {
        enum statement statement;
        cvm_record_kind_t kind;
    } SCANS[] = {
        [CVM_SCAN_DEVICES] = {SCAN_DEVICES, CVM_RECORD_DEVICE},
        [CVM_SCAN_DUE] = {SCAN_DUE, CVM_RECORD_CERTIFICATE},
        [CVM_SCAN_UNSUSPENDED] = {SCAN_UNSUSPENDED, CVM_RECORD_DEVICE},
        [CVM_SCAN_ENDED_LEASES] = {SCAN_ENDED_LEASES, CVM_RECORD_DEVICE},
        [CVM_SCAN_REVOKED] = {SCAN_REVOKED, CVM_RECORD_CERTIFICATE},
        [CVM_SCAN_SUSPENDED] = {SCAN_SUSPENDED, CVM_RECORD_CERTIFICATE},
        [CVM_SCAN_CERTIFICATES] = {SCAN_CERTIFICATES, CVM_RECORD_CERTIFICATE},
        [CVM_SCAN_META] = {SCAN_META, CVM_RECORD_VALUE},
    };
    struct store *store = self;
    if ((uint32_t)what >= sizeof SCANS / sizeof SCANS[0]) {
        store->host->complete(op, CVM_ANSWER_INVALID, "no such scan");
        return;
    }
    put(store, &store->reads,
        &(struct job){.op = op,
            .run = cvm_store_run_scan,
            .name = cursor,
            .before_ms = before_ms,
            .limit = limit,
            .statement = SCANS[what].statement,
            .kind = SCANS[what].kind});
}

static void load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    struct store *store = self;
    put(store, &store->writes,
        &(struct job){.op = op, .run = cvm_store_run_load, .loading = loading});
}

static void find(void *self, cvm_op_t *op, cvm_find_by_t by, const char *value)
{
    static const enum statement STATEMENTS[] = {[CVM_FIND_CERTIFICATE] = FIND_CERTIFICATE,
        [CVM_FIND_THING] = FIND_THING,
        [CVM_FIND_KEY] = FIND_KEY};
    struct store *store = self;
    if (by < CVM_FIND_CERTIFICATE || by > CVM_FIND_KEY)
        store->host->complete(op, CVM_ANSWER_INVALID, "it can't be looked for by that");
    else
        put(store, &store->reads,
            &(struct job){
                .op = op, .run = cvm_store_run_value, .name = value, .statement = STATEMENTS[by]});
}

static void meta_get(void *self, cvm_op_t *op, const char *name)
{
    struct store *store = self;
    put(store, &store->reads,
        &(struct job){.op = op, .run = cvm_store_run_value, .name = name, .statement = GET_META});
}

static void meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    struct store *store = self;
    put(store, &store->writes,
        &(struct job){.op = op,
            .run = cvm_store_run_meta_put,
            .name = name,
            .version = version,
            .wanted = wanted});
}

/* --- Backup ----------------------------------------------------------------------------------- */

struct backup {
    struct store *store;
    cvm_op_t *op;
    const char *to; /* the host's until the operation completes */
    cvm_answer_t answer;
    char error[ERROR_SIZE];
};

static void backup_copy(void *argument)
{
    struct backup *backup = argument;
    backup->answer =
        cvm_file_backup(backup->store->path, backup->to, backup->error, sizeof backup->error);
}

static void backup_done(void *argument)
{
    struct backup *backup = argument;
    atomic_store(&backup->store->is_backing_up, 0);
    backup->store->host->complete(
        backup->op, backup->answer, backup->answer == CVM_ANSWER_OK ? NULL : backup->error);
    free(backup);
}

static void backup_store(void *self, cvm_op_t *op, const char *path)
{
    struct store *store = self;
    if (atomic_exchange(&store->is_backing_up, 1)) { /* the threads are for others as well */
        store->host->complete(op, CVM_ANSWER_BUSY, "another backup is being made");
        return;
    }
    struct backup *backup = calloc(1, sizeof *backup);
    if (backup) {
        *backup = (struct backup){.store = store, .op = op, .to = path};
        if (!store->host->run(store->context, backup_copy, backup_done, backup))
            return;
    }
    free(backup);
    atomic_store(&store->is_backing_up, 0);
    store->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
}

static const cvm_store_ops_t FILE_STORE = {
    .size = sizeof(cvm_store_ops_t),
    .flags = CVM_LOCATION_IS_PATH | CVM_STORE_UNIQUE_KEYS | CVM_STORE_FREEZES,
    .device_fields = CVM_DEVICE_FIELD_COUNT,
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT,
    .create = create,
    .open = open_store,
    .ready = ready,
    .get = get,
    .swap = swap,
    .get_certificates = get_certificates,
    .scan = scan,
    .load = load,
    .meta_get = meta_get,
    .meta_put = meta_put,
    .remove = remove_device,
    .find = find,
    .backup = backup_store,
    .close = close_store,
    .destroy = destroy,
};

int32_t cvm_plugin_file(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return host->add_store(registry, "file", &FILE_STORE, user_data, NULL, 0);
}

#ifdef CVM_IS_MODULE
CVM_MODULE(cvm_plugin_file);
#endif
