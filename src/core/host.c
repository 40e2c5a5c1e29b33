/* What backends are handed: the host's table; and how those are made that are configured. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/handles.h"
#include "base/clock.h"
#include "base/secret.h"
#include "base/secret_text.h"
#include "builtin.h"
#include "call.h"
#include "health.h"
#include "instance.h"
#include "instance/documents.h"
#include "key.h"
#include "record.h"

/* A platform's question to the store. */
struct question {
    cvm_op_t op;
    cvm_host_done_fn done;
    void *argument;
    char *name, *value;
};

/* --- The configured backends ------------------------------------------------------------------ */

/* Copies the table that the property names into ops, of size bytes. The backend, or NULL and why.
 */
static const struct cvm_backend *find_backend(const cvm_t *cvm, enum cvm_side side,
    const char *property, struct cvm_context_s *context, void *ops, uint32_t size,
    cvm_error_t **error)
{
    char all[120];
    const char *value = cvm_conf_own(cvm->conf, property);
    const struct cvm_registry_s *registry = cvm_conf_registry(cvm->conf);
    const struct cvm_backend *backend = cvm_registry_find(registry, side, value);
    *error = NULL;
    if (!backend) {
        cvm_registry_list(registry, side, all, sizeof all);
        int length = (int)strcspn(value, ":");
        *error = cvm_error_configuration(property,
            "%s: there is no '%.*s' here (nor %.80s/cvm-%.*s.so); there are: %s", property, length,
            value, cvm_conf_own(cvm->conf, "module.path"), length, value, all);
        return NULL;
    }
    cvm_backend_table(backend, ops, size);
    memcpy(context->kind, backend->name, sizeof context->kind);
    return backend;
}

/* The members that a table must have, by their offsets. */
#define STORE(member)    offsetof(cvm_store_ops_t, member)
#define PLATFORM(member) offsetof(cvm_platform_ops_t, member)
static const size_t STORE_NEEDS[] = {STORE(create), STORE(open), STORE(ready), STORE(get),
    STORE(swap), STORE(get_certificates), STORE(scan), STORE(load), STORE(meta_get),
    STORE(meta_put), STORE(remove), STORE(close), STORE(destroy)};
static const size_t PLATFORM_NEEDS[] = {PLATFORM(create), PLATFORM(open), PLATFORM(prepare),
    PLATFORM(create_certificate), PLATFORM(close), PLATFORM(destroy)};

/* NULL if ops has all of those. */
static cvm_error_t *check_table(
    const char *property, const void *ops, const size_t *needs, size_t count)
{
    static const char NOTHING[sizeof(void (*)(void))];
    for (size_t i = 0; i < count; i++)
        if (memcmp((const char *)ops + needs[i], NOTHING, sizeof NOTHING) == 0)
            return cvm_error_configuration(property,
                "%s: its table lacks a function that is needed (of another version?)", property);
    return NULL;
}

/* "" where there is none. */
static const char *location_of(const char *value)
{
    const char *colon = strchr(value, ':');
    return colon ? colon + 1 : "";
}

/* A store that knows fewer fields than we do would lose the others. */
static cvm_error_t *check_store(const cvm_t *cvm)
{
    const cvm_store_ops_t *ops = &cvm->store;
    if (!(ops->flags & CVM_STORE_EXTRA_FIELDS) &&
        (ops->device_fields < CVM_DEVICE_FIELD_COUNT ||
            ops->certificate_fields < CVM_CERTIFICATE_FIELD_COUNT))
        return cvm_error_configuration("store",
            "store: '%s' was built for an older release, and would lose fields",
            cvm->store_context.kind);
    return check_table("store", ops, STORE_NEEDS, sizeof STORE_NEEDS / sizeof STORE_NEEDS[0]);
}

typedef cvm_answer_t (*create_fn)(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **self, char *error, size_t error_size);

/* Of one that could not be made nothing that it asked for may stay: it is not closed either. */
static cvm_error_t *create_backend(struct cvm_context_s *context, const char *property,
    const struct cvm_backend *backend, create_fn create)
{
    char why[200] = "";
    void *self = NULL;
    const char *location = location_of(cvm_conf_own(context->cvm->conf, property));
    if (!create(&CVM_HOST, context, backend->user_data, location, &self, why, sizeof why) && self) {
        context->self = self;
        return NULL;
    }
    cvm_handles_clear(context);
    return cvm_error_configuration(
        property, "%s: %s", property, *why ? why : "it could not be made, and says not why");
}

/* Then nobody can answer that a CSR's key belongs to another device. */
static void warn_of_keys(cvm_t *cvm)
{
    if (!(cvm->store.flags & CVM_STORE_UNIQUE_KEYS))
        cvm_log_message(cvm->log, LOG_WARNING,
            "store '%s' does not see to it that no two devices have the same public key",
            cvm->store_context.kind);
}

static cvm_error_t *create_store(cvm_t *cvm)
{
    cvm_error_t *error;
    const struct cvm_backend *backend = find_backend(
        cvm, SIDE_STORE, "store", &cvm->store_context, &cvm->store, sizeof cvm->store, &error);
    if (backend)
        error = check_store(cvm);
    if (!error)
        error = create_backend(&cvm->store_context, "store", backend, cvm->store.create);
    if (!error)
        warn_of_keys(cvm);
    return error;
}

/* A CRL of scans that lag would leave out who was revoked just now. */
static cvm_error_t *check_scans(const cvm_t *cvm)
{
    if (!(cvm->platform.flags & CVM_PLATFORM_NEEDS_SCANS) ||
        !(cvm->store.flags & CVM_STORE_SCANS_LAG))
        return NULL;
    return cvm_error_configuration("platform",
        "platform: '%s' publishes what the store's scans answer, and those of '%s' may miss what "
        "was written before: it takes another store",
        cvm->platform_context.kind, cvm->store_context.kind);
}

static cvm_error_t *check_platform(cvm_t *cvm)
{
    static const size_t OUTSIDE_NEEDS[] = {
        PLATFORM(delete_certificate), PLATFORM(activate), PLATFORM(deactivate), PLATFORM(revoke)};
    const cvm_platform_ops_t *ops = &cvm->platform;
    cvm_error_t *error = check_table(
        "platform", ops, PLATFORM_NEEDS, sizeof PLATFORM_NEEDS / sizeof PLATFORM_NEEDS[0]);
    if (!error && cvm_is_outside(cvm))
        error = check_table(
            "platform", ops, OUTSIDE_NEEDS, sizeof OUTSIDE_NEEDS / sizeof OUTSIDE_NEEDS[0]);
    if (!error)
        error = check_scans(cvm);
    return error;
}

static cvm_error_t *create_platform(cvm_t *cvm)
{
    cvm_error_t *error;
    const struct cvm_backend *backend = find_backend(cvm, SIDE_PLATFORM, "platform",
        &cvm->platform_context, &cvm->platform, sizeof cvm->platform, &error);
    if (backend)
        error = check_platform(cvm);
    if (!error)
        error = create_backend(&cvm->platform_context, "platform", backend, cvm->platform.create);
    return error;
}

cvm_error_t *cvm_host_create_backends(cvm_t *cvm)
{
    cvm->store_context.cvm = cvm->platform_context.cvm = cvm;
    cvm_error_t *error = create_store(cvm);
    return error ? error : create_platform(cvm);
}

const char *cvm_backend(uint32_t i)
{
    for (uint32_t at = 0; CVM_BUILTIN_NAMES[at]; at++)
        if (at == i)
            return CVM_BUILTIN_NAMES[i];
    return NULL;
}

/* --- Log and properties ----------------------------------------------------------------------- */

static void host_log(cvm_context_t *context, cvm_level_t level, const char *text)
{
    const struct cvm_log_field fields[] = {{"backend", context->kind}, {"text", text}};
    int32_t is_known = level >= CVM_LEVEL_ERROR && level <= CVM_LEVEL_DEBUG;
    cvm_log_write(context->cvm->log, is_known ? (enum cvm_log_level)level : LOG_WARNING, "message",
        fields, 2);
}

static const char *host_property(cvm_context_t *context, const char *name)
{
    return cvm_conf_get(context->cvm->conf, name);
}

static int64_t host_property_number(cvm_context_t *context, const char *name)
{
    return cvm_conf_number(context->cvm->conf, name);
}

/* The file's content is copied to `to`. Its length, or -1 and why. */
static int64_t secret_of_file(
    const char *path, char *to, size_t size, char *error, size_t error_size)
{
    char why[100] = "is longer than there is room for";
    char *secret = NULL;
    size_t length = 0;
    FILE *file = fopen(path, "re");
    enum cvm_secret_reading reading = SECRET_CANT_BE_READ;
    if (file) {
        reading = cvm_secret_read(file, &secret, &length, why, sizeof why);
        (void)fclose(file);
    } else {
        (void)snprintf(why, sizeof why, "%s", strerror(errno));
    }
    int32_t fits = secret && length < size;
    if (fits)
        memcpy(to, secret, length + 1);
    else
        (void)snprintf(
            error, error_size, "%.120s%s %s", path, reading == SECRET_CANT_BE_READ ? ":" : "", why);
    cvm_secret_free(secret, length);
    return fits ? (int64_t)length : -1;
}

static int32_t host_secret(
    cvm_context_t *context, const char *name, char *to, size_t size, char *error, size_t error_size)
{
    char file_name[100];
    const cvm_conf_t *conf = context->cvm->conf;
    const char *value = cvm_conf_get(conf, name);
    (void)snprintf(file_name, sizeof file_name, "%.90s" CVM_SECRET_FILE_SUFFIX, name);
    const char *path = cvm_conf_get(conf, file_name);
    *to = 0;
    if (!value || !path) {
        (void)snprintf(error, error_size, "there is no secret '%.64s'", name);
        return -1;
    }
    if (*value && *path) {
        (void)snprintf(error, error_size, "%.64s and %.64s are set: take one", name, file_name);
        return -1;
    }
    if (*path)
        return (int32_t)secret_of_file(path, to, size, error, error_size);
    size_t length = strlen(value);
    if (length >= size) {
        (void)snprintf(error, error_size, "%.64s is longer than %zu bytes", name, size - 1);
        return -1;
    }
    memcpy(to, value, length + 1);
    return (int32_t)length;
}

static int32_t host_count(cvm_context_t *context, const char *counter, const char *const *labels,
    const char *const *values, uint32_t label_count, uint64_t by)
{
    for (uint32_t i = 0; i < label_count && i < CVM_METRIC_LABELS; i++)
        if (!values[i])
            return -1;
    return cvm_metrics_count(
        context->cvm->metrics, counter, labels, values, label_count, (double)by);
}

static int64_t host_now_ms(cvm_context_t *context)
{
    return cvm_wall_ms(context->cvm);
}

static void host_clock_bound(cvm_context_t *context, int64_t begins_ms, int64_t ends_ms)
{
    cvm_clock_bound(context->cvm, begins_ms, ends_ms);
}

static void host_health(cvm_context_t *context, const char *subject, const char *problem,
    int64_t begins_ms, int64_t ends_ms, int64_t notice_ms)
{
    cvm_health_set(context->cvm, subject, problem, begins_ms, ends_ms, notice_ms);
}

static int32_t host_document(cvm_context_t *context, const char *path, const char *media_type,
    const void *bytes, size_t length)
{
    if (strncmp(path, "/ca/", 4) != 0 || strlen(path) > 127)
        return -1;
    return cvm_documents_put(context->cvm->documents, path, media_type, bytes, length);
}

static const char *host_clock_doubt(cvm_context_t *context)
{
    return cvm_clock_doubt(context->cvm);
}

static void host_gauge(cvm_context_t *context, cvm_gauge_t gauge, const char *label, int64_t value)
{
    static const enum cvm_metric METRICS[] = {METRIC_CA_EXPIRY, METRIC_CRL_NEXT_UPDATE,
        METRIC_CRL_UNSIGNED_ROWS, METRIC_CERTIFICATE_EXPIRY, METRIC_CRL_NUMBER, METRIC_CRL_MADE};
    if ((uint32_t)gauge < sizeof METRICS / sizeof METRICS[0])
        cvm_metrics_set(context->cvm->metrics, METRICS[gauge], &label, (double)value);
}

/* --- Operations ------------------------------------------------------------------------------- */

static int32_t op_add_record(cvm_op_t *op, cvm_record_t *record)
{
    if (!record)
        return -1;
    cvm_record_t **more = realloc(op->records, (op->record_count + 1) * sizeof(cvm_record_t *));
    if (!more) {
        cvm_record_free(record);
        return -1;
    }
    op->records = more;
    op->records[op->record_count++] = record;
    return 0;
}

static int32_t op_set_text(cvm_op_t *op, cvm_out_t out, const char *value)
{
    if (!value)
        return -1;
    if (out == CVM_OUT_CURSOR && strlen(value) >= CVM_CURSOR_SIZE)
        return -1;
    char *copy = (uint32_t)out < CVM_OUT_COUNT ? strdup(value) : NULL;
    if (!copy)
        return -1;
    free(op->outs[out]);
    op->outs[out] = copy;
    return 0;
}

static int32_t op_set_number(cvm_op_t *op, cvm_out_number_t out, int64_t value)
{
    if ((uint32_t)out >= CVM_OUT_NUMBER_COUNT)
        return -1;
    op->numbers[out] = value;
    return 0;
}

static int64_t op_number(const cvm_op_t *op, cvm_out_number_t out)
{
    return (uint32_t)out < CVM_OUT_NUMBER_COUNT ? op->numbers[out] : 0;
}

static int64_t op_left_ms(const cvm_op_t *op)
{
    int64_t until_ms = op->until_ms, now_ms = (int64_t)cvm_monotonic_ms();
    if (!until_ms)
        return -1;
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

static const uint8_t *op_public_key(cvm_op_t *op, size_t *length)
{
    *length = op->key ? op->key->spki_length : 0;
    return op->key ? op->key->spki : NULL;
}

static const char *op_csr(cvm_op_t *op)
{
    if (op->key && !op->key->csr)
        (void)cvm_key_make_csr(op->key);
    return op->key ? op->key->csr : NULL;
}

static void complete(cvm_op_t *op, cvm_answer_t answer, const char *text)
{
    if (atomic_exchange(&op->is_complete, 1))
        return; /* a backend's bug must not complete a caller twice */
    op->answer = (uint32_t)answer <= CVM_ANSWER_INVALID ? answer : CVM_ANSWER_BROKEN;
    (void)snprintf(op->text, sizeof op->text, "%s", text ? text : "");
    if (op->most_records && op->record_count > op->most_records) {
        op->answer = CVM_ANSWER_BROKEN;
        (void)snprintf(op->text, sizeof op->text, "it answered more than %u records: %u",
            op->most_records, op->record_count);
    }
    cvm_loop_post(op->cvm->loop, &op->mail);
}

static const cvm_record_t *op_record(const cvm_op_t *op, uint32_t i)
{
    return i < op->record_count ? op->records[i] : NULL;
}

static const char *op_text(const cvm_op_t *op, cvm_out_t out)
{
    return (uint32_t)out < CVM_OUT_COUNT ? op->outs[out] : NULL;
}

/* --- Threads ---------------------------------------------------------------------------------- */

/* Work in a thread, which the instance must outlive. */
struct errand {
    cvm_t *cvm;
    void (*work)(void *argument);
    void (*done)(void *argument);
    void *argument;
};

static void run_errand(void *argument)
{
    const struct errand *errand = argument;
    errand->work(errand->argument);
}

static void errand_done(void *argument)
{
    struct errand errand = *(struct errand *)argument;
    free(argument);
    errand.done(errand.argument);
    cvm_release(errand.cvm);
}

static int32_t host_run(cvm_context_t *context, void (*work)(void *argument),
    void (*done)(void *argument), void *argument)
{
    struct errand *errand = malloc(sizeof *errand);
    if (!errand)
        return -1;
    *errand = (struct errand){context->cvm, work, done, argument};
    if (cvm_threads_run(context->cvm->threads, run_errand, errand_done, errand)) {
        free(errand);
        return -1;
    }
    cvm_hold(context->cvm);
    return 0;
}

static void ask_clock(void *argument)
{
    cvm_store_clock_ask(argument);
}

static void host_reconnected(cvm_context_t *context)
{
    (void)cvm_instance_post(context->cvm, ask_clock, context->cvm, 1);
}

static int32_t host_post(cvm_context_t *context, void (*function)(void *argument), void *argument)
{
    return cvm_instance_post(context->cvm, function, argument, 1) ? -1 : 0;
}

/* --- A platform's view of the store ----------------------------------------------------------- */

static void question_free(struct question *question)
{
    cvm_op_clear(&question->op);
    free(question->name);
    free(question->value);
    free(question);
}

static void answered(cvm_op_t *op)
{
    struct question *question = CVM_CONTAINER(op, struct question, op);
    question->done(question->argument, op, op->answer);
    question_free(question);
}

/* With copies of the texts, which the store borrows until it has answered; value may be NULL. */
static struct question *question_new(
    const char *name, const char *value, cvm_host_done_fn done, void *argument)
{
    struct question *question = calloc(1, sizeof *question);
    if (!question)
        return NULL;
    question->name = strdup(name);
    question->value = value ? strdup(value) : NULL;
    question->done = done;
    question->argument = argument;
    if (question->name && !question->value == !value)
        return question;
    question_free(question);
    return NULL;
}

static int32_t store_scan(cvm_context_t *context, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit, cvm_host_done_fn done, void *argument)
{
    struct question *question = question_new(cursor, NULL, done, argument);
    if (!question)
        return -1;
    cvm_store_scan(context->cvm, &question->op, what, question->name, before_ms, limit, answered);
    return 0;
}

static int32_t store_get_certificates(cvm_context_t *context, const char *device_uid,
    uint32_t limit, cvm_host_done_fn done, void *argument)
{
    struct question *question = question_new(device_uid, NULL, done, argument);
    if (!question)
        return -1;
    cvm_store_get_certificates(context->cvm, &question->op, question->name, limit, answered);
    return 0;
}

static int32_t store_meta_get(
    cvm_context_t *context, const char *name, cvm_host_done_fn done, void *argument)
{
    struct question *question = question_new(name, NULL, done, argument);
    if (!question)
        return -1;
    cvm_store_meta_get(context->cvm, &question->op, question->name, answered);
    return 0;
}

static int32_t store_meta_put(cvm_context_t *context, const char *name, int64_t version,
    const char *wanted, cvm_host_done_fn done, void *argument)
{
    struct question *question = question_new(name, wanted, done, argument);
    if (!question)
        return -1;
    cvm_store_meta_put(
        context->cvm, &question->op, question->name, version, question->value, answered);
    return 0;
}

static int32_t store_find(cvm_context_t *context, cvm_find_by_t by, const char *value,
    cvm_host_done_fn done, void *argument)
{
    struct question *question = question_new(value, NULL, done, argument);
    if (!question)
        return -1;
    cvm_store_find(context->cvm, &question->op, by, question->name, answered);
    return 0;
}

const cvm_host_t CVM_HOST = {
    .size = sizeof(cvm_host_t),
    .add_store = cvm_registry_add_store,
    .add_platform = cvm_registry_add_platform,
    .add_property = cvm_registry_add_property,
    .add_default = cvm_registry_add_default,
    .log = host_log,
    .property = host_property,
    .property_number = host_property_number,
    .secret = host_secret,
    .gauge = host_gauge,
    .count = host_count,
    .now_ms = host_now_ms,
    .reconnected = host_reconnected,
    .post = host_post,
    .field_count = cvm_field_count,
    .field_name = cvm_field_name,
    .field_kind = cvm_field_kind,
    .field_longest = cvm_field_longest,
    .clock_bound = host_clock_bound,
    .health = host_health,
    .document = host_document,
    .clock_doubt = host_clock_doubt,
    .record_new = cvm_record_new,
    .record_copy = cvm_record_copy,
    .record_free = cvm_record_free,
    .text = cvm_record_text,
    .number = cvm_record_number,
    .set_text = cvm_record_set_text,
    .set_number = cvm_record_set_number,
    .op_add_record = op_add_record,
    .op_set_text = op_set_text,
    .op_set_number = op_set_number,
    .op_left_ms = op_left_ms,
    .op_public_key = op_public_key,
    .op_csr = op_csr,
    .complete = complete,
    .run = host_run,
    .watch_new = cvm_handles_watch_new,
    .watch_set = cvm_handles_watch_set,
    .watch_free = cvm_handles_watch_free,
    .timer_new = cvm_handles_timer_new,
    .timer_start = cvm_handles_timer_start,
    .timer_stop = cvm_handles_timer_stop,
    .timer_free = cvm_handles_timer_free,
    .store_scan = store_scan,
    .store_get_certificates = store_get_certificates,
    .store_meta_get = store_meta_get,
    .store_meta_put = store_meta_put,
    .op_record = op_record,
    .op_text = op_text,
    .op_number = op_number,
    .store_find = store_find,
};
