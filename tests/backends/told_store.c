/* A store around the file store: it stands before its verbs, and before their completions. */
#include "told_store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "backends/file/file.h"
#include "told.h"

struct store {
    const cvm_host_t *host; /* the real one */
    cvm_context_t *context;
    void *inner;
};

/* A verb with its arguments, which are the host's until the operation completes. */
struct verb {
    struct told_held held;
    struct store *store;
    cvm_op_t *op;
    void (*run)(const struct verb *verb);
    const char *name;
    const cvm_change_t *change;
    cvm_scan_t what;
    int64_t before_ms;
    uint32_t limit;
    /* Of one whose completion is kept: */
    struct verb *next;
    enum told told;
    int32_t is_complete, is_cut;
    cvm_answer_t answer;
};

static cvm_store_ops_t inner_ops;
static cvm_host_t inner_host;
static const cvm_host_t *real_host;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list, and of what is in it */
static struct verb *kept;

/* --- Completions ------------------------------------------------------------------------------ */

static void keep(struct verb *verb)
{
    (void)pthread_mutex_lock(&lock);
    verb->next = kept;
    kept = verb;
    (void)pthread_mutex_unlock(&lock);
}

static struct verb **find(const cvm_op_t *op)
{
    struct verb **link = &kept;
    while (*link && (*link)->op != op)
        link = &(*link)->next;
    return link;
}

/* What the file store answered, from whatever thread. */
static void inner_complete(cvm_op_t *op, cvm_answer_t answer, const char *text)
{
    (void)pthread_mutex_lock(&lock);
    struct verb **link = find(op), *verb = *link;
    int32_t is_held = verb && verb->told == TOLD_HOLD_DONE && !verb->is_cut;
    if (is_held) {
        verb->answer = answer;
        verb->is_complete = 1;
    } else if (verb) {
        *link = verb->next;
    }
    (void)pthread_mutex_unlock(&lock);
    if (is_held)
        return;
    if (verb)
        real_host->complete(op, CVM_ANSWER_UNKNOWN, TOLD_TEXT);
    else
        real_host->complete(op, answer, text);
    free(verb);
}

static int32_t is_done(const struct told_held *held)
{
    (void)pthread_mutex_lock(&lock);
    int32_t is_complete = (*find(held->op))->is_complete;
    (void)pthread_mutex_unlock(&lock);
    return is_complete;
}

static void answer_held(struct told_held *held, int32_t is_cut)
{
    (void)pthread_mutex_lock(&lock);
    struct verb **link = find(held->op), *verb = *link;
    int32_t is_complete = verb->is_complete;
    verb->is_cut = is_cut; /* one that runs still is answered by inner_complete() */
    if (is_complete)
        *link = verb->next;
    (void)pthread_mutex_unlock(&lock);
    if (!is_complete)
        return;
    real_host->complete(verb->op, is_cut ? CVM_ANSWER_UNKNOWN : verb->answer, NULL);
    free(verb);
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static void run_held(struct told_held *held, int32_t is_cut)
{
    struct verb *verb = (struct verb *)held; /* its first member */
    if (is_cut)
        real_host->complete(verb->op, CVM_ANSWER_UNKNOWN, "cut short");
    else
        verb->run(verb);
    free(verb);
}

static void hold(struct verb *verb, const char *call, void (*go)(struct told_held *, int32_t),
    int32_t (*is_there)(const struct told_held *))
{
    verb->held = (struct told_held){.host = real_host,
        .context = verb->store->context,
        .call = call,
        .owner = verb->store,
        .op = verb->op,
        .go = go,
        .is_there = is_there};
    told_hold(&verb->held);
}

static void call(const char *name, const struct verb *given)
{
    enum told told = told_next(name);
    if (told_answer(told)) {
        real_host->complete(given->op, told_answer(told), TOLD_TEXT);
        return;
    }
    if (told == TOLD_NOTHING) {
        given->run(given);
        return;
    }
    struct verb *verb = malloc(sizeof *verb);
    if (!verb)
        abort();
    *verb = *given;
    verb->told = told;
    if (told == TOLD_HOLD) {
        hold(verb, name, run_held, NULL);
        return;
    }
    keep(verb);
    given->run(given);
    if (told == TOLD_HOLD_DONE) /* else it may be gone by now */
        hold(verb, name, answer_held, is_done);
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

static void run_get_certificates(const struct verb *verb)
{
    inner_ops.get_certificates(verb->store->inner, verb->op, verb->name, verb->limit);
}

static void run_scan(const struct verb *verb)
{
    inner_ops.scan(
        verb->store->inner, verb->op, verb->what, verb->name, verb->before_ms, verb->limit);
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

static void get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    call("get_certificates", &(struct verb){.store = self,
                                 .op = op,
                                 .run = run_get_certificates,
                                 .name = device_uid,
                                 .limit = limit});
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
                     .limit = limit});
}

/* --- The rest is the file store's ------------------------------------------------------------- */

static void open_store(void *self, cvm_op_t *op, uint32_t how)
{
    const struct store *store = self;
    inner_ops.open(store->inner, op, how);
}

static void load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    const struct store *store = self;
    inner_ops.load(store->inner, op, loading);
}

static void find_device(void *self, cvm_op_t *op, cvm_find_by_t by, const char *value)
{
    const struct store *store = self;
    inner_ops.find(store->inner, op, by, value);
}

static void meta_get(void *self, cvm_op_t *op, const char *name)
{
    const struct store *store = self;
    inner_ops.meta_get(store->inner, op, name);
}

static void meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    const struct store *store = self;
    inner_ops.meta_put(store->inner, op, name, version, wanted);
}

static void remove_device(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    const struct store *store = self;
    inner_ops.remove(store->inner, op, change);
}

static void close_store(void *self, cvm_op_t *op)
{
    const struct store *store = self;
    told_cut(store);
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
    if (!store)
        abort();
    store->host = host;
    store->context = context;
    cvm_answer_t answer = inner_ops.create(
        &inner_host, context, user_data, location, &store->inner, error, error_size);
    if (answer == CVM_ANSWER_OK)
        *self = store;
    else
        free(store);
    return answer;
}

static cvm_store_ops_t table; /* the file store's, with our functions */

static int32_t capture(cvm_registry_t *registry, const char *name, const cvm_store_ops_t *ops,
    void *user_data, char *error, size_t error_size)
{
    (void)registry;
    (void)name;
    (void)user_data;
    (void)error;
    (void)error_size;
    inner_ops = *ops;
    table = *ops;
    table.create = create;
    table.open = open_store;
    table.ready = ready;
    table.get = get;
    table.swap = swap;
    table.get_certificates = get_certificates;
    table.scan = scan;
    table.load = load;
    table.meta_get = meta_get;
    table.meta_put = meta_put;
    table.find = find_device;
    table.backup = NULL;
    table.remove = remove_device;
    table.close = close_store;
    table.destroy = destroy;
    return 0;
}

int32_t cvm_plugin_told(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    real_host = host;
    inner_host = *host;
    inner_host.complete = inner_complete;
    inner_host.add_store = capture;
    if (cvm_plugin_file(&inner_host, registry, NULL))
        return -1;
    return host->add_store(registry, "told", &table, user_data, NULL, 0);
}
