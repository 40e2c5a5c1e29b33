/* A store around another one: it stands between the verbs and their completions. */
#include "support/faulty_store.h"

#include "support/faults.h"
#include "support/test.h"

#include <dlfcn.h>
#include <pthread.h>

#include "backends/file/file.h"
#include "base/clock.h"
#include "instance.h"
#include "record.h"

#define MOST_ALTERED 64

struct store {
    const cvm_host_t *host; /* the real one */
    cvm_context_t *context;
    void *inner;
};

/* A verb with its arguments, which are the host's until the operation completes. */
struct verb {
    struct store *store;
    cvm_op_t *op;
    void (*run)(const struct verb *verb);
    cvm_scan_t what;
    const char *name, *wanted;
    const cvm_change_t *change;
    const cvm_loading_t *loading;
    int64_t before_ms, version;
    uint32_t count, how;
    cvm_find_by_t by;
};

static cvm_store_ops_t inner_ops;
static cvm_host_t inner_host;

/* --- What the inner store completes ------------------------------------------------------------
 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the next two */
static struct {
    cvm_op_t *op;
    enum fault fault;
} altered[MOST_ALTERED];
static uint32_t altered_count;

struct completion {
    const cvm_host_t *host;
    cvm_op_t *op;
    cvm_answer_t answer;
};

static const cvm_host_t *real_host;

static void complete_late(void *argument)
{
    struct completion *completion = argument;
    real_host->complete(completion->op, completion->answer, NULL);
    free(completion);
}

static enum fault take_altered(const cvm_op_t *op)
{
    enum fault fault = FAULT_NONE;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < altered_count; i++) {
        if (altered[i].op == op) {
            fault = altered[i].fault;
            altered[i] = altered[--altered_count];
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return fault;
}

static void alter(cvm_op_t *op, enum fault fault)
{
    pthread_mutex_lock(&lock);
    assert_true(altered_count < MOST_ALTERED);
    altered[altered_count].op = op;
    altered[altered_count++].fault = fault;
    pthread_mutex_unlock(&lock);
}

static void inner_complete(cvm_op_t *op, cvm_answer_t answer, const char *text)
{
    struct completion *completion;
    switch (take_altered(op)) {
    case FAULT_UNKNOWN_DONE:
        real_host->complete(op, CVM_ANSWER_UNKNOWN, "it happened");
        break;
    case FAULT_HOLD_AFTER:
        completion = malloc(sizeof *completion);
        if (completion) {
            *completion = (struct completion){real_host, op, answer};
            faults_hold(complete_late, completion);
        }
        break;
    case FAULT_TWICE:
        real_host->complete(op, answer, text);
        break;
    default:
        real_host->complete(op, answer, text);
    }
}

/* --- A write that happens after its outcome was unknown --------------------------------------- */

struct late_write {
    cvm_op_t op;
    struct store *store;
    cvm_record_t *as_read, *wanted;
    cvm_record_t *certificates[2];
    cvm_change_t change;
};

static void late_write_done(cvm_op_t *op)
{
    struct late_write *late = CVM_CONTAINER(op, struct late_write, op);
    cvm_record_free(late->as_read);
    cvm_record_free(late->wanted);
    for (uint32_t i = 0; i < late->change.certificate_count; i++)
        cvm_record_free(late->certificates[i]);
    cvm_op_clear(op);
    free(late);
}

static void write_late(void *argument)
{
    struct late_write *late = argument;
    inner_ops.swap(late->store->inner, &late->op, &late->change);
}

static void keep_write(const struct verb *verb)
{
    const cvm_change_t *change = verb->change;
    struct late_write *late = calloc(1, sizeof *late);
    assert_non_null(late);
    assert_true(change->certificate_count <= 2);
    late->store = verb->store;
    late->as_read = cvm_record_copy(change->as_read);
    late->wanted = change->wanted ? cvm_record_copy(change->wanted) : NULL;
    for (uint32_t i = 0; i < change->certificate_count; i++)
        late->certificates[i] = cvm_record_copy(change->certificates[i]);
    late->change = cvm_change_of(late->as_read, late->wanted,
        (const cvm_record_t *const *)late->certificates, change->certificate_count);
    cvm_op_start(&late->op, verb->store->context->cvm, SIDE_STORE, "swap", late_write_done);
    faults_hold(write_late, late);
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static void run_late(void *argument)
{
    struct verb *verb = argument;
    verb->run(verb);
    free(verb);
}

static void hang(const struct verb *verb)
{
    struct completion *completion = malloc(sizeof *completion);
    assert_non_null(completion);
    *completion = (struct completion){real_host, verb->op, CVM_ANSWER_UNAVAILABLE};
    faults_hang(verb->store, complete_late, completion);
}

static void call(const char *name, const struct verb *verb)
{
    static const cvm_answer_t ANSWERS[FAULT_COUNT] = {[FAULT_UNAVAILABLE] = CVM_ANSWER_UNAVAILABLE,
        [FAULT_BUSY] = CVM_ANSWER_BUSY,
        [FAULT_BROKEN] = CVM_ANSWER_BROKEN,
        [FAULT_INVALID] = CVM_ANSWER_INVALID,
        [FAULT_NOT_FOUND] = CVM_ANSWER_NOT_FOUND,
        [FAULT_CONFLICT] = CVM_ANSWER_CONFLICT,
        [FAULT_UNKNOWN_NOT] = CVM_ANSWER_UNKNOWN,
        [FAULT_UNKNOWN_LATE] = CVM_ANSWER_UNKNOWN};
    enum fault fault = faults_next(name);
    struct verb *later;
    switch (fault) {
    case FAULT_HOLD_BEFORE:
        later = malloc(sizeof *later);
        assert_non_null(later);
        *later = *verb;
        faults_hold(run_late, later);
        return;
    case FAULT_HANG:
        hang(verb);
        return;
    case FAULT_UNKNOWN_LATE:
        keep_write(verb);
        break;
    case FAULT_UNKNOWN_DONE:
    case FAULT_HOLD_AFTER:
    case FAULT_TWICE:
        alter(verb->op, fault);
        break;
    default:
        break;
    }
    if (ANSWERS[fault])
        verb->store->host->complete(verb->op, ANSWERS[fault], "the faulty store failed");
    else
        verb->run(verb);
}

static void run_open(const struct verb *verb)
{
    inner_ops.open(verb->store->inner, verb->op, verb->how);
}

static void run_ready(const struct verb *verb)
{
    inner_ops.ready(verb->store->inner, verb->op);
}

static void run_get(const struct verb *verb)
{
    inner_ops.get(verb->store->inner, verb->op, verb->name);
}

static void run_swap(const struct verb *verb)
{
    inner_ops.swap(verb->store->inner, verb->op, verb->change);
}

static void run_remove(const struct verb *verb)
{
    inner_ops.remove(verb->store->inner, verb->op, verb->change);
}

static void run_scan(const struct verb *verb)
{
    inner_ops.scan(
        verb->store->inner, verb->op, verb->what, verb->name, verb->before_ms, verb->count);
}

static void run_get_certificates(const struct verb *verb)
{
    inner_ops.get_certificates(verb->store->inner, verb->op, verb->name, verb->count);
}

static void run_load(const struct verb *verb)
{
    inner_ops.load(verb->store->inner, verb->op, verb->loading);
}

static void run_meta_get(const struct verb *verb)
{
    inner_ops.meta_get(verb->store->inner, verb->op, verb->name);
}

static void run_meta_put(const struct verb *verb)
{
    inner_ops.meta_put(verb->store->inner, verb->op, verb->name, verb->version, verb->wanted);
}

static void run_find(const struct verb *verb)
{
    inner_ops.find(verb->store->inner, verb->op, verb->by, verb->name);
}

static void open_store(void *self, cvm_op_t *op, uint32_t how)
{
    call("open", &(struct verb){.store = self, .op = op, .run = run_open, .how = how});
}

static void ready(void *self, cvm_op_t *op)
{
    call("ready", &(struct verb){.store = self, .op = op, .run = run_ready});
}

static void get(void *self, cvm_op_t *op, const char *device_uid)
{
    call("get", &(struct verb){.store = self, .op = op, .run = run_get, .name = device_uid});
}

static void swap(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    call("swap", &(struct verb){.store = self, .op = op, .run = run_swap, .change = change});
}

static void remove_device(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    call("remove", &(struct verb){.store = self, .op = op, .run = run_remove, .change = change});
}

static void get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    call("get_certificates", &(struct verb){.store = self,
                                 .op = op,
                                 .run = run_get_certificates,
                                 .name = device_uid,
                                 .count = limit});
}

static void scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor, int64_t before_ms,
    uint32_t limit)
{
    call("scan", &(struct verb){.store = self,
                     .op = op,
                     .run = run_scan,
                     .what = what,
                     .name = cursor,
                     .before_ms = before_ms,
                     .count = limit});
}

static void load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    call("load", &(struct verb){.store = self, .op = op, .run = run_load, .loading = loading});
}

static void find(void *self, cvm_op_t *op, cvm_find_by_t by, const char *value)
{
    call("find", &(struct verb){.store = self, .op = op, .run = run_find, .by = by, .name = value});
}

static void meta_get(void *self, cvm_op_t *op, const char *name)
{
    call("meta_get", &(struct verb){.store = self, .op = op, .run = run_meta_get, .name = name});
}

static void meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    call("meta_put", &(struct verb){.store = self,
                         .op = op,
                         .run = run_meta_put,
                         .name = name,
                         .version = version,
                         .wanted = wanted});
}

static int64_t clock_ahead_ms;
static struct store *last;

void faulty_set_clock(int64_t ahead_ms)
{
    clock_ahead_ms = ahead_ms;
}

void faulty_reconnect(void)
{
    last->host->reconnected(last->context);
}

static void run_now(const struct verb *verb)
{
    const cvm_host_t *host = verb->store->host;
    (void)host->op_set_number(verb->op, CVM_OUT_NOW_MS, cvm_now_ms() + clock_ahead_ms);
    host->complete(verb->op, CVM_ANSWER_OK, NULL);
}

static void now(void *self, cvm_op_t *op)
{
    call("now", &(struct verb){.store = self, .op = op, .run = run_now});
}

static void scan_nothing(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit)
{
    const struct store *store = self;
    (void)what;
    (void)cursor;
    (void)before_ms;
    (void)limit;
    store->host->complete(op, CVM_ANSWER_OK, NULL);
}

static void close_store(void *self, cvm_op_t *op)
{
    const struct store *store = self;
    faults_end_hung(store);
    inner_ops.close(store->inner, op);
}

static void destroy(void *self)
{
    struct store *store = self;
    inner_ops.destroy(store->inner);
    free(store);
}

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **self, char *error, size_t error_size)
{
    struct store *store = calloc(1, sizeof *store);
    assert_non_null(store);
    store->host = host;
    store->context = context;
    last = store;
    cvm_answer_t answer = inner_ops.create(
        &inner_host, context, user_data, location, &store->inner, error, error_size);
    if (answer != CVM_ANSWER_OK)
        free(store);
    else
        *self = store;
    return answer;
}

#define VERBS                                                                                      \
    .size = sizeof(cvm_store_ops_t), .device_fields = CVM_DEVICE_FIELD_COUNT,                      \
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT, .create = create, .open = open_store,       \
    .ready = ready, .get = get, .swap = swap, .get_certificates = get_certificates, .load = load,  \
    .meta_get = meta_get, .meta_put = meta_put, .remove = remove_device, .find = find,             \
    .close = close_store, .destroy = destroy

/* And the inner one's flags. Without a clock: it goes by the machine's, which a test may turn. */
static cvm_store_ops_t faulty = {VERBS, .scan = scan};
static const cvm_store_ops_t CLOCKED = {VERBS, .scan = scan, .now = now, .flags = CVM_STORE_SHARED};
static const cvm_store_ops_t BLIND = {
    VERBS, .scan = scan_nothing, .flags = CVM_STORE_SHARED | CVM_STORE_SCANS_LAG};

static int32_t capture(cvm_registry_t *registry, const char *name, const cvm_store_ops_t *ops,
    void *user_data, char *error, size_t error_size)
{
    (void)registry;
    (void)name;
    (void)user_data;
    (void)error;
    (void)error_size;
    inner_ops = *ops;
    return 0;
}

/* They are known where its module is (module.path). */
static int32_t ignore(
    cvm_registry_t *registry, const cvm_property_row_t *row, char *error, size_t error_size)
{
    (void)registry;
    (void)row;
    (void)error;
    (void)error_size;
    return 0;
}

/* What else its module has is not the store's. */
static int32_t ignore_platform(cvm_registry_t *registry, const char *name,
    const cvm_platform_ops_t *ops, void *user_data, char *error, size_t error_size)
{
    (void)registry;
    (void)name;
    (void)ops;
    (void)user_data;
    (void)error;
    (void)error_size;
    return 0;
}

/* The inner store's own: the file's, or a module's. */
static cvm_plugin_fn inner_plugin(void)
{
    const char *kind = getenv("CVM_TEST_STORE");
    if (!kind || strcmp(kind, "file") == 0)
        return cvm_plugin_file;
    char path[256];
    (void)snprintf(path, sizeof path, "%s/cvm-%s.so", OWN_MODULES, kind);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const cvm_module_t *module = object ? dlsym(object, "cvm_module") : NULL;
    return module ? module->plugin : NULL;
}

int32_t plugin_faulty(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    if (!real_host) { /* once: an instance that was cut short may still run, in threads */
        cvm_plugin_fn inner = inner_plugin();
        assert_non_null(inner);
        inner_host = *host;
        inner_host.complete = inner_complete;
        inner_host.add_store = capture;
        inner_host.add_property = ignore;
        inner_host.add_platform = ignore_platform;
        (void)inner(&inner_host, registry, NULL);
        faulty.flags = inner_ops.flags;
        real_host = host;
    }
    return host->add_store(registry, "faulty", &faulty, user_data, NULL, 0) ||
           host->add_store(registry, "clocked", &CLOCKED, user_data, NULL, 0) ||
           host->add_store(registry, "blind", &BLIND, user_data, NULL, 0);
}
