/* The host's table, and how the module is loaded that is checked. */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host.h"

struct module module;
bool *host_has_failed;
uint32_t host_timeout_s;

/* What is looked for while the module's entry function runs. */
struct cvm_registry_s {
    const char *kind;
    bool is_found;
    char others[256];
};

/* --- Registering ------------------------------------------------------------------------------ */

static int32_t host_add_store(cvm_registry_t *registry, const char *name,
    const cvm_store_ops_t *ops, void *user_data, char *error, size_t error_size)
{
    (void)error;
    (void)error_size;
    size_t used = strlen(registry->others);
    (void)snprintf(registry->others + used, sizeof registry->others - used, " %s", name);
    if (strcmp(name, registry->kind) != 0)
        return 0;
    registry->is_found = true;
    memcpy(&module.ops, ops, ops->size < sizeof module.ops ? ops->size : sizeof module.ops);
    module.user_data = user_data;
    return 0;
}

static int32_t host_add_platform(cvm_registry_t *registry, const char *name,
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

static int32_t host_add_default(cvm_registry_t *registry, const char *backend, const char *property,
    const char *value, char *error, size_t error_size)
{
    (void)registry;
    (void)backend;
    (void)property;
    (void)value;
    (void)error;
    (void)error_size;
    return 0;
}

/* What the table lacks that it must have; NULL if nothing. */
static const char *module_lacks(void)
{
#define MEMBER(name)                                                                               \
    {                                                                                              \
        offsetof(cvm_store_ops_t, name), #name                                                     \
    }
    static const struct {
        size_t at;
        const char *name;
    } NEEDS[] = {MEMBER(create), MEMBER(open), MEMBER(ready), MEMBER(get), MEMBER(swap),
        MEMBER(get_certificates), MEMBER(scan), MEMBER(load), MEMBER(meta_get), MEMBER(meta_put),
        MEMBER(remove), MEMBER(close), MEMBER(destroy)};
    static const char NOTHING[sizeof(void (*)(void))];
    for (size_t i = 0; i < sizeof NEEDS / sizeof *NEEDS; i++)
        if (memcmp((const char *)&module.ops + NEEDS[i].at, NOTHING, sizeof NOTHING) == 0)
            return NEEDS[i].name;
    return NULL;
}

static int32_t module_check(
    const struct cvm_registry_s *registry, const char *path, char *error, size_t error_size)
{
    const char *lacks = registry->is_found ? module_lacks() : NULL;
    if (!registry->is_found)
        (void)snprintf(error, error_size, "%s has no store '%s'; it has:%s", path, registry->kind,
            *registry->others ? registry->others : " none");
    else if (lacks)
        (void)snprintf(error, error_size, "the table of '%s' lacks %s()", registry->kind, lacks);
    else if (!(module.ops.flags & CVM_STORE_EXTRA_FIELDS) &&
             (module.ops.device_fields < CVM_DEVICE_FIELD_COUNT ||
                 module.ops.certificate_fields < CVM_CERTIFICATE_FIELD_COUNT))
        (void)snprintf(error, error_size,
            "'%s' was built for an older release, and would lose fields", registry->kind);
    else if (settings_unknown())
        (void)snprintf(error, error_size, "there is no property %s", settings_unknown());
    else
        return 0;
    return -1;
}

int32_t module_load(const char *path, const char *named, char *error, size_t error_size)
{
    char kind[32];
    (void)snprintf(kind, sizeof kind, "%.*s", (int)strcspn(named, ":"), named);
    (void)snprintf(module.location, sizeof module.location, "%s",
        strchr(named, ':') ? strchr(named, ':') + 1 : "");
    struct cvm_registry_s registry = {.kind = kind};
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const cvm_module_t *exported = object ? dlsym(object, "cvm_module") : NULL;
    if (!exported) {
        const char *why = object ? NULL : dlerror();
        (void)snprintf(error, error_size, "%s", why ? why : "it exports no cvm_module");
        return -1;
    }
    if (exported->version != CVM_PLUGIN_VERSION) {
        (void)snprintf(error, error_size, "%s was built for version %u of the tables, not %u", path,
            exported->version, CVM_PLUGIN_VERSION);
        return -1;
    }
    if (exported->plugin(&CHECK_HOST, &registry, NULL)) {
        (void)snprintf(error, error_size, "the entry function of %s gives up", path);
        return -1;
    }
    return module_check(&registry, path, error, error_size);
}

/* --- The log ---------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[4096];

static void host_log(cvm_context_t *context, cvm_level_t level, const char *text)
{
    (void)context;
    (void)level;
    (void)pthread_mutex_lock(&lock);
    size_t used = strlen(lines), size = strlen(text) + 2;
    if (used + size > sizeof lines) {
        used = 0;
        *lines = 0;
    }
    (void)snprintf(lines + used, sizeof lines - used, "%s\n", text);
    (void)pthread_mutex_unlock(&lock);
}

void host_print_log(void)
{
    (void)pthread_mutex_lock(&lock);
    if (*lines) {
        check_print("its log says:");
        check_print(lines);
    }
    (void)pthread_mutex_unlock(&lock);
}

/* --- What is taken note of by nobody, or is a platform's
 * ------------------------------------------ */

static void host_gauge(cvm_context_t *context, cvm_gauge_t gauge, const char *label, int64_t value)
{
    (void)context;
    (void)gauge;
    (void)label;
    (void)value;
}

static int32_t host_count(cvm_context_t *context, const char *counter, const char *const *labels,
    const char *const *values, uint32_t label_count, uint64_t by)
{
    (void)context;
    (void)by;
    for (uint32_t i = 0; i < label_count; i++)
        if (!labels[i] || !values[i])
            CHECK_VIOLATION("count(%s) has a label without a value", counter);
    return label_count <= 3 ? 0 : -1;
}

static int64_t host_now_ms(cvm_context_t *context)
{
    struct timespec now;
    (void)context;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void host_reconnected(cvm_context_t *context)
{
    (void)context;
}

static void host_clock_bound(cvm_context_t *context, int64_t begins_ms, int64_t ends_ms)
{
    (void)context;
    (void)begins_ms;
    (void)ends_ms;
    loop_only("clock_bound");
}

static void host_health(cvm_context_t *context, const char *subject, const char *problem,
    int64_t begins_ms, int64_t ends_ms, int64_t notice_ms)
{
    (void)context;
    (void)subject;
    (void)problem;
    (void)begins_ms;
    (void)ends_ms;
    (void)notice_ms;
    loop_only("health");
}

static int32_t host_document(cvm_context_t *context, const char *path, const char *media_type,
    const void *bytes, size_t length)
{
    (void)context;
    (void)path;
    (void)media_type;
    (void)bytes;
    (void)length;
    return 0;
}

static const char *host_clock_doubt(cvm_context_t *context)
{
    (void)context;
    return NULL;
}

static const uint8_t *host_op_public_key(cvm_op_t *op, size_t *length)
{
    (void)op;
    *length = 0;
    return NULL;
}

static const char *host_op_csr(cvm_op_t *op)
{
    (void)op;
    return NULL;
}

static int32_t host_store_scan(cvm_context_t *context, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit, cvm_host_done_fn done, void *argument)
{
    (void)context;
    (void)what;
    (void)cursor;
    (void)before_ms;
    (void)limit;
    (void)done;
    (void)argument;
    CHECK_VIOLATION("a store asks the store: that is a platform's");
}

static int32_t host_store_get_certificates(cvm_context_t *context, const char *device_uid,
    uint32_t limit, cvm_host_done_fn done, void *argument)
{
    return host_store_scan(context, 0, device_uid, 0, limit, done, argument);
}

static int32_t host_store_meta_get(
    cvm_context_t *context, const char *name, cvm_host_done_fn done, void *argument)
{
    return host_store_scan(context, 0, name, 0, 0, done, argument);
}

static int32_t host_store_meta_put(cvm_context_t *context, const char *name, int64_t version,
    const char *wanted, cvm_host_done_fn done, void *argument)
{
    (void)wanted;
    return host_store_scan(context, 0, name, version, 0, done, argument);
}

static const cvm_record_t *host_op_record(const cvm_op_t *op, uint32_t i)
{
    return i < op->count ? op->found[i] : NULL;
}

static const char *host_op_text(const cvm_op_t *op, cvm_out_t out)
{
    return (uint32_t)out < CVM_OUT_COUNT ? op->outs[out] : NULL;
}

static int64_t host_op_number(const cvm_op_t *op, cvm_out_number_t out)
{
    return (uint32_t)out < CVM_OUT_NUMBER_COUNT ? op->numbers[out] : 0;
}

/* --- The table -------------------------------------------------------------------------------- */

const cvm_host_t CHECK_HOST = {
    .size = sizeof(cvm_host_t),
    .add_store = host_add_store,
    .add_platform = host_add_platform,
    .add_property = settings_add_row,
    .add_default = host_add_default,
    .log = host_log,
    .property = settings_text,
    .property_number = settings_number,
    .secret = settings_secret,
    .gauge = host_gauge,
    .count = host_count,
    .now_ms = host_now_ms,
    .reconnected = host_reconnected,
    .post = loop_post,
    .field_count = records_field_count,
    .field_name = records_field_name,
    .field_kind = records_field_kind,
    .field_longest = records_field_longest,
    .clock_bound = host_clock_bound,
    .health = host_health,
    .document = host_document,
    .clock_doubt = host_clock_doubt,
    .record_new = records_new,
    .record_copy = records_copy,
    .record_free = records_free,
    .text = records_text,
    .number = records_number,
    .set_text = records_set_text,
    .set_number = records_set_number,
    .op_add_record = ops_add_record,
    .op_set_text = ops_set_text,
    .op_set_number = ops_set_number,
    .op_left_ms = ops_left_ms,
    .op_public_key = host_op_public_key,
    .op_csr = host_op_csr,
    .complete = ops_complete,
    .run = loop_run,
    .watch_new = loop_watch_new,
    .watch_set = loop_watch_set,
    .watch_free = loop_watch_free,
    .timer_new = loop_timer_new,
    .timer_start = loop_timer_start,
    .timer_stop = loop_timer_stop,
    .timer_free = loop_timer_free,
    .store_scan = host_store_scan,
    .store_get_certificates = host_store_get_certificates,
    .store_meta_get = host_store_meta_get,
    .store_meta_put = host_store_meta_put,
    .op_record = host_op_record,
    .op_text = host_op_text,
    .op_number = host_op_number,
};
