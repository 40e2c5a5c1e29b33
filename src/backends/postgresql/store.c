/* The PostgreSQL store's table of verbs. Each becomes a job in one of two lanes: what reads waits
 * for no commit. */
#include "store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/at_exit.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "base/hex.h"
#include "base/secret.h"
#include "postgresql.h"

int64_t cvm_store_random(void)
{
    char text[17] = "";
    if (cvm_random_hex(8, text))
        (void)snprintf(text, sizeof text, "%016llx", (unsigned long long)cvm_monotonic_us());
    return (int64_t)((strtoull(text, NULL, 16) & ((UINT64_C(1) << 62) - 2)) | 2);
}

/* --- Create and destroy ----------------------------------------------------------------------- */

static void destroy(void *self)
{
    struct store *store = self;
    for (enum statement i = 0; i < STATEMENT_COUNT; i++)
        free(store->texts[i]);
    cvm_secret_free_text(store->location); /* a password may be in it */
    free(store);
}

/* It is quoted, and a part of all statements. */
static int32_t store_is_schema(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length && !name[length] && length < sizeof((struct store *)0)->schema &&
           (*name < '0' || *name > '9');
}

static int32_t store_set_up(struct store *store, const char *location)
{
    const cvm_host_t *host = store->host;
    size_t size = strlen(location) + sizeof "postgresql:";
    store->location = malloc(size);
    if (!store->location)
        return -1;
    /* "//…" is a URI whose scheme the property's name was. */
    (void)snprintf(store->location, size, "%s%s", *location == '/' ? "postgresql:" : "", location);
    (void)snprintf(store->schema, sizeof store->schema, "%s",
        host->property(store->context, "postgresql.schema"));
    store->timeout_ms = host->property_number(store->context, "postgresql.timeout");
    store->is_pooled = host->property_number(store->context, "postgresql.pgbouncer") != 0;
    int32_t failed = 0;
    for (enum statement i = 0; i < STATEMENT_COUNT; i++)
        failed |= !(store->texts[i] = cvm_statement_text(i, store->schema));
    return failed ? -1 : 0;
}

/* libpq would quote what it can't read, and a password is part of it. */
static int32_t store_has_location(const struct store *store)
{
    char *ignored = NULL;
    PQconninfoOption *options = PQconninfoParse(store->location, &ignored);
    int32_t has_location = options != NULL;
    for (const PQconninfoOption *option = options; option && option->keyword; option++)
        if (strcmp(option->keyword, "host") == 0 && option->val && strchr(option->val, '@'))
            has_location = 0; /* an "@" of the password's, as it is */
    PQconninfoFree(options);
    PQfreemem(ignored);
    return has_location;
}

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    const char *schema = host->property(context, "postgresql.schema");
    (void)user_data;
    if (!schema || !store_is_schema(schema)) {
        (void)snprintf(error, error_size,
            "postgresql.schema: expected a name of a-z, 0-9 and _, not '%.40s'",
            schema ? schema : "");
        return CVM_ANSWER_INVALID;
    }
    struct store *store = calloc(1, sizeof *store);
    if (store) {
        atomic_init(&store->is_closing, 0);
        store->host = host;
        store->context = context;
    }
    if (!store || cvm_crypto_init() || cvm_at_exit_init() || store_set_up(store, location)) {
        if (store)
            destroy(store);
        (void)snprintf(error, error_size, "out of memory");
        return CVM_ANSWER_INVALID;
    }
    if (!store_has_location(store)) {
        destroy(store);
        (void)snprintf(error, error_size,
            "expected a URI of libpq's (postgresql://USER@HOST/DATABASE?...; in a password %% is "
            "%%25, and @ %%40), or its name=value form");
        return CVM_ANSWER_INVALID;
    }
    *result = store;
    return CVM_ANSWER_OK;
}

/* --- Open and close --------------------------------------------------------------------------- */

static int32_t store_make_lanes(struct store *store)
{
    uint32_t writers =
        (uint32_t)store->host->property_number(store->context, "postgresql.connections");
    if (store->reads.late && store->writes.late)
        return 0; /* of an attempt to open that failed */
    return cvm_lane_init(&store->reads, store, store->links, 1) ||
                   cvm_lane_init(&store->writes, store, store->links + 1, writers)
               ? -1
               : 0;
}

static void open_store(void *self, cvm_op_t *op, uint32_t how)
{
    struct store *store = self;
    store->may_create =
        (how & CVM_OPEN_UPDATE) && store->host->property_number(store->context, "store.create");
    if (store_make_lanes(store)) {
        store->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return;
    }
    store->opening = op;
    cvm_link_open(store->writes.links);
    if (store->writes.links->state == LINK_CLOSED)
        cvm_store_connected(store, store->writes.links);
}

void cvm_store_connected(struct store *store, const struct link *link)
{
    cvm_op_t *op = store->opening;
    if (op && link == store->writes.links) {
        int32_t is_open = link->state == LINK_IDLE;
        store->opening = NULL;
        store->may_create = 0;
        store->host->complete(
            op, is_open ? CVM_ANSWER_OK : link->answer, is_open ? NULL : link->why);
        if (is_open && !store->closing)
            cvm_link_open(store->reads.links);
    } else if (link->state == LINK_IDLE && link == store->reads.links) { /* which asks for it */
        store->host->reconnected(store->context);
    }
    if (store->closing)
        cvm_store_closed(store);
}

static int32_t store_close_lane(struct lane *lane)
{
    int32_t is_closed = !lane->first;
    for (uint32_t i = 0; i < lane->link_count; i++) {
        if (!lane->first)
            cvm_link_close(&lane->links[i]);
        is_closed &= lane->links[i].state == LINK_CLOSED;
    }
    return is_closed;
}

void cvm_store_closed(struct store *store)
{
    cvm_op_t *op = store->closing;
    int32_t is_closed = store_close_lane(&store->reads);
    is_closed &= store_close_lane(&store->writes);
    if (!op || !is_closed)
        return;
    store->closing = NULL;
    store->host->complete(op, CVM_ANSWER_OK, NULL);
}

static void close_store(void *self, cvm_op_t *op)
{
    struct store *store = self;
    store->closing = op;
    atomic_store(&store->is_closing, 1);
    cvm_lane_hurry(&store->reads);
    cvm_lane_hurry(&store->writes);
    cvm_store_closed(store);
}

/* --- Verbs ------------------------------------------------------------------------------------ */

static void put(struct store *store, const struct job *wanted)
{
    struct job *job = malloc(sizeof *job);
    if (!job || !store->writes.late || store->closing) {
        free(job);
        store->host->complete(wanted->op, CVM_ANSWER_UNAVAILABLE,
            store->closing ? "the store closes" : "out of memory");
        return;
    }
    *job = *wanted;
    job->until_ms = cvm_monotonic_ms() + (uint64_t)store->timeout_ms;
    if (job->verb->writes)
        job->change_id = cvm_store_random();
    cvm_lane_put(job->verb->writes || job->verb->asks_writer ? &store->writes : &store->reads, job);
}

static void ready(void *self, cvm_op_t *op)
{
    put(self, &(struct job){.op = op, .verb = &CVM_READY, .statement = GET_READY});
}

static void now(void *self, cvm_op_t *op)
{
    put(self, &(struct job){.op = op, .verb = &CVM_NOW, .statement = GET_NOW});
}

static void get(void *self, cvm_op_t *op, const char *device_uid)
{
    put(self, &(struct job){.op = op,
                  .verb = &CVM_GET,
                  .name = device_uid,
                  .statement = GET_DEVICE,
                  .kind = CVM_RECORD_DEVICE});
}

static void get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    put(self, &(struct job){.op = op,
                  .verb = &CVM_GET_CERTIFICATES,
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
    if ((uint32_t)what >= sizeof SCANS / sizeof SCANS[0])
        store->host->complete(op, CVM_ANSWER_INVALID, "no such scan");
    else
        put(store, &(struct job){.op = op,
                       .verb = &CVM_SCAN,
                       .name = cursor,
                       .before_ms = before_ms,
                       .limit = limit,
                       .statement = SCANS[what].statement,
                       .kind = SCANS[what].kind});
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
        put(store, &(struct job){
                       .op = op, .verb = &CVM_VALUE, .name = value, .statement = STATEMENTS[by]});
}

static void meta_get(void *self, cvm_op_t *op, const char *name)
{
    put(self, &(struct job){.op = op, .verb = &CVM_VALUE, .name = name, .statement = GET_META});
}

static void change(void *self, cvm_op_t *op, const cvm_change_t *wanted)
{
    struct store *store = self;
    if (wanted->certificate_count > CVM_MOST_CHANGED)
        store->host->complete(op, CVM_ANSWER_INVALID, "too many certificates at once");
    else
        put(store, &(struct job){.op = op, .verb = &CVM_CHANGE, .change = wanted});
}

static void load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    if (loading->count) /* rows may be NULL without */
        memset(loading->rows, CVM_LOAD_NONE, loading->count);
    put(self, &(struct job){.op = op, .verb = &CVM_LOAD, .loading = loading, .is_alone = 1});
}

static void meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    put(self,
        &(struct job){
            .op = op, .verb = &CVM_META_PUT, .name = name, .version = version, .wanted = wanted});
}

static void migrate(void *self, cvm_op_t *op, uint32_t how)
{
    cvm_store_migrate_tables(self, op, how);
}

static const cvm_store_ops_t POSTGRESQL_STORE = {
    .size = sizeof(cvm_store_ops_t),
    .flags = CVM_STORE_SHARED | CVM_STORE_UNIQUE_KEYS | CVM_STORE_FREEZES,
    .device_fields = CVM_DEVICE_FIELD_COUNT,
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT,
    .create = create,
    .open = open_store,
    .ready = ready,
    .get = get,
    .swap = change,
    .get_certificates = get_certificates,
    .scan = scan,
    .load = load,
    .meta_get = meta_get,
    .meta_put = meta_put,
    .remove = change,
    .find = find,
    .now = now,
    .close = close_store,
    .destroy = destroy,
    .migrate = migrate,
};

/* --- Getting in ------------------------------------------------------------------------------- */

static const cvm_property_row_t PROPERTIES[] = {
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "postgresql.schema", CVM_TYPE_TEXT,
        "cvm", NULL, "The schema that has the tables."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_SECRET, CVM_PROPERTY_PASSWORD, CVM_TYPE_TEXT, "",
        NULL, "The role's password, where no passfile or service has it."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "postgresql.connections",
        CVM_TYPE_COUNT, "2", "1 to 8", "Connections that write; one more reads."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "postgresql.timeout",
        CVM_TYPE_DURATION, "10s", "1s to 5min",
        "How long an answer of PostgreSQL's is waited for."},
    {sizeof(cvm_property_row_t), CVM_PROPERTY_NEEDS_RESTART, "postgresql.pgbouncer", CVM_TYPE_BOOL,
        "off", NULL,
        "Whether connections are pgbouncer's, pooled by transaction: nothing is prepared then."},
};

int32_t cvm_plugin_postgresql(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    static const char *const NAMES[] = {"postgresql", "postgres"};
    int32_t failed = 0;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0] && !failed; i++)
        failed = host->add_store(registry, NAMES[i], &POSTGRESQL_STORE, user_data, NULL, 0);
    for (size_t i = 0; i < sizeof PROPERTIES / sizeof PROPERTIES[0] && !failed; i++)
        failed = host->add_property(registry, &PROPERTIES[i], NULL, 0);
    return failed;
}

#ifdef CVM_IS_MODULE
CVM_MODULE(cvm_plugin_postgresql);
#endif
