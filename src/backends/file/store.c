/* The file store's table of verbs, and how it opens and closes. The verbs go to two threads: one
 * writes (write.c), one reads (read.c); a third checkpoints. */
#include "store.h"
#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

#define ERROR_SIZE 160

/* --- Open and close --------------------------------------------------------------------------- */

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, const char *location,
    void **result, char *error, size_t error_size)
{
    struct store *store = *location ? calloc(1, sizeof *store) : NULL;
    if (!store || !(store->path = strdup(location))) {
        free(store);
        (void)snprintf(error, error_size, *location ? "out of memory" : "expected file:PATH");
        return CVM_ANSWER_INVALID;
    }
    store->host = host;
    store->context = context;
    store->lock_fd = -1;
    *result = store;
    return CVM_ANSWER_OK;
}

static void destroy(void *self)
{
    struct store *store = self;
    free(store->path);
    free(store);
}

/* A folder that is missing or closed is the configuration's fault. */
static cvm_answer_t answer_of_errno(void)
{
    return errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EMFILE ||
                   errno == ENFILE || errno == ENOMEM
               ? CVM_ANSWER_UNAVAILABLE
               : CVM_ANSWER_INVALID;
}

/* One server a file. SQLite's own locks would shut the commands out, and closing another descriptor
 * of the database would drop them. */
static cvm_answer_t take_lock(struct store *store, char *error)
{
    char path[4096];
    if (store->role == CVM_ROLE_COMMAND)
        return CVM_ANSWER_OK;
    (void)snprintf(path, sizeof path, "%s.lock", store->path);
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd >= 0 && flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return CVM_ANSWER_OK;
    int is_taken = store->lock_fd >= 0 && errno == EWOULDBLOCK;
    cvm_files_explain(
        error, ERROR_SIZE, path, is_taken ? "another server has this store" : strerror(errno));
    return is_taken ? CVM_ANSWER_BUSY : answer_of_errno();
}

static cvm_answer_t explain_errno(const struct store *store, char *error)
{
    cvm_files_explain(error, ERROR_SIZE, store->path, strerror(errno));
    return answer_of_errno();
}

/* A command takes what is there. Opening an empty file would already write to it. */
static cvm_answer_t look_at_file(const struct store *store, char *error)
{
    struct stat file;
    if (stat(store->path, &file))
        return explain_errno(store, error);
    if (file.st_size)
        return CVM_ANSWER_OK;
    cvm_files_explain(
        error, ERROR_SIZE, store->path, "no store yet: a server makes one when it starts");
    return CVM_ANSWER_INVALID;
}

/* A new file is readable by nobody else: it holds the tokens' hashes. Only a server makes one. */
static cvm_answer_t make_file(struct store *store, char *error)
{
    if (store->role == CVM_ROLE_COMMAND)
        return look_at_file(store, error);
    int fd = open(store->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        (void)close(fd);
        store->host->log(
            store->context, CVM_LEVEL_WARNING, "there was no store: made an empty one");
        return CVM_ANSWER_OK;
    }
    return errno == EEXIST ? CVM_ANSWER_OK : explain_errno(store, error);
}

/* What may be better later, and what stays as it is until somebody looks at it. */
static cvm_answer_t answer_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
        return CVM_ANSWER_OK;
    case SQLITE_BUSY:
        return CVM_ANSWER_BUSY;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
        return CVM_ANSWER_UNAVAILABLE;
    default:
        return CVM_ANSWER_INVALID;
    }
}

static cvm_answer_t open_databases(struct store *store, char *error)
{
    int rc = cvm_db_open(&store->writer, store->path, DB_WRITE, error, ERROR_SIZE);
    if (rc == SQLITE_OK)
        rc = cvm_schema_migrate(&store->writer, store->role == CVM_ROLE_COMMAND, error, ERROR_SIZE);
    if (rc == SQLITE_OK)
        rc = cvm_db_open(&store->checkpointer, store->path, DB_WRITE, error, ERROR_SIZE);
    if (rc == SQLITE_OK)
        rc = cvm_db_open(&store->reader, store->path, DB_READ, error, ERROR_SIZE);
    if (rc == SQLITE_OK)
        (void)sqlite3_wal_hook(store->writer.sqlite, cvm_store_on_commit, store);
    return answer_of(rc);
}

static cvm_answer_t open_all(struct store *store, char *error)
{
    cvm_answer_t answer = take_lock(store, error);
    if (answer == CVM_ANSWER_OK)
        answer = make_file(store, error);
    if (answer == CVM_ANSWER_OK)
        answer = open_databases(store, error);
    if (answer == CVM_ANSWER_OK &&
        (cvm_lane_start(&store->reads, store, cvm_store_read) ||
            cvm_lane_start(&store->checkpoints, store, cvm_store_checkpoint))) {
        (void)snprintf(error, ERROR_SIZE, "no more threads");
        answer = CVM_ANSWER_UNAVAILABLE;
    }
    return answer;
}

static void close_all(struct store *store)
{
    cvm_lane_end(&store->reads);
    cvm_db_close(&store->reader);
    cvm_lane_end(&store->checkpoints);
    cvm_db_close(&store->checkpointer);
    cvm_db_close(&store->writer);
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd);
    store->lock_fd = -1;
}

/* Runs in the writer's thread as its first job. */
static int run_open(struct store *store, struct job *job)
{
    char error[ERROR_SIZE] = "";
    cvm_answer_t answer = open_all(store, error);
    if (answer != CVM_ANSWER_OK)
        close_all(store);
    cvm_op_t *op = job->op;
    free(job);
    store->host->complete(op, answer, *error ? error : NULL);
    return answer != CVM_ANSWER_OK;
}

/* The writer's thread: opens, then writes. */
static void work_writes(struct store *store, struct job *first)
{
    if (!store->writer.sqlite) {
        struct job *rest = first->next;
        if (run_open(store, first))
            return;
        first = rest;
    }
    cvm_store_write(store, first);
}

static void open_store(void *self, cvm_op_t *op, cvm_role_t role)
{
    struct store *store = self;
    store->role = role;
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
    close_all(store);
    store->host->complete(store->closing, CVM_ANSWER_OK, NULL);
    return NULL;
}

static void close_store(void *self, cvm_op_t *op)
{
    struct store *store = self;
    store->closing = op;
    if (pthread_create(&store->closer, NULL, close_in_thread, store))
        (void)close_in_thread(store); /* better late than never */
    else
        (void)pthread_detach(store->closer);
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
    };
    struct store *store = self;
    put(store, &store->reads,
        &(struct job){.op = op,
            .run = cvm_store_run_scan,
            .name = cursor,
            .before_ms = before_ms,
            .limit = limit,
            .statement = SCANS[what].statement,
            .kind = SCANS[what].kind});
}

static void load(void *self, cvm_op_t *op, cvm_record_t *const *devices, uint32_t count,
    uint32_t flags, uint8_t *rows)
{
    struct store *store = self;
    put(store, &store->writes,
        &(struct job){.op = op,
            .run = cvm_store_run_load,
            .devices = devices,
            .rows = rows,
            .count = count,
            .flags = flags});
}

static void meta_get(void *self, cvm_op_t *op, const char *name)
{
    struct store *store = self;
    put(store, &store->reads, &(struct job){.op = op, .run = cvm_store_run_meta_get, .name = name});
}

static void meta_swap(
    void *self, cvm_op_t *op, const char *name, const char *as_read, const char *wanted)
{
    struct store *store = self;
    put(store, &store->writes,
        &(struct job){.op = op,
            .run = cvm_store_run_meta_swap,
            .name = name,
            .as_read = as_read,
            .wanted = wanted});
}

static const cvm_store_ops_t FILE_STORE = {
    .size = sizeof(cvm_store_ops_t),
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
    .meta_swap = meta_swap,
    .remove = remove_device,
    .close = close_store,
    .destroy = destroy,
};

int32_t cvm_plugin_file(const cvm_host_t *host, cvm_registry_t *registry)
{
    host->add_store(registry, "file", &FILE_STORE);
    return 0;
}
