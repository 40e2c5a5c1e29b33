/*
 * A store in memory, on cvm/plugin.h alone: the least that a store is. Built outside of libcvm's
 * tree:
 *
 *     cc -std=c11 -shared -fPIC memory.c -o memory.so
 *     cvm serve -c cvm.conf --set module=$PWD/memory.so --set store=memory:
 *
 * All that it does is done at once, on the loop, so it needs neither threads nor locks. It forgets
 * everything when it is closed: it is for tests, and to begin from.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cvm/plugin.h>

struct row { /* a device, a certificate, or a value */
    struct row *next;
    int64_t number; /* it rises along the list */
    cvm_record_kind_t kind;
    cvm_record_t *record;
    char *text; /* a value's */
};

struct store {
    const cvm_host_t *host;
    struct row *rows;
    int64_t last;   /* revision or version that was given out */
    int64_t number; /* of the newest row */
};

#define ID 0 /* the first field of each kind: device_uid, certificate_id */

static struct row **find(struct store *store, cvm_record_kind_t kind, const char *id)
{
    struct row **link = &store->rows;
    while (
        *link && ((*link)->kind != kind || strcmp(store->host->text((*link)->record, ID), id) != 0))
        link = &(*link)->next;
    return link;
}

static int is_text(
    struct store *store, const cvm_record_t *record, uint32_t field, const char *text)
{
    return strcmp(store->host->text(record, field), text) == 0;
}

/* Puts record, which is the store's from now on, in the place of the row with its id, or at the
 * end. NULL without memory. */
static struct row *put(struct store *store, cvm_record_kind_t kind, cvm_record_t *record)
{
    if (!record)
        return NULL;
    struct row **link = find(store, kind, store->host->text(record, ID)), *row = *link;
    if (!row && !(row = calloc(1, sizeof *row))) {
        store->host->record_free(record);
        return NULL;
    }
    store->host->record_free(row->record);
    if (!*link)
        row->number = ++store->number;
    row->record = record;
    row->kind = kind;
    return *link = row;
}

static void take_out(struct store *store, struct row **link)
{
    struct row *row = *link;
    *link = row->next;
    store->host->record_free(row->record);
    free(row->text);
    free(row);
}

/* The first revision of a row: none that an earlier one has come to. */
static int64_t next_row(struct store *store)
{
    return store->last += INT64_C(1) << 32;
}

/* Puts a device with a revision of its own. */
static cvm_answer_t put_device(struct store *store, const cvm_record_t *device, int64_t revision)
{
    struct row *row = put(store, CVM_RECORD_DEVICE, store->host->record_copy(device));
    if (!row || store->host->set_number(row->record, CVM_D_REVISION, revision))
        return CVM_ANSWER_UNAVAILABLE;
    return CVM_ANSWER_OK;
}

/* --- Changes ---------------------------------------------------------------------------------- */

/* A certificate that is revoked stays as it is, and so does another device's. */
static int is_writable(struct store *store, const cvm_record_t *certificate)
{
    const cvm_host_t *host = store->host;
    const struct row *row =
        *find(store, CVM_RECORD_CERTIFICATE, host->text(certificate, CVM_C_CERTIFICATE_ID));
    return !row || (!is_text(store, row->record, CVM_C_STATE, "revoked") &&
                       is_text(store, row->record, CVM_C_DEVICE_UID,
                           host->text(certificate, CVM_C_DEVICE_UID)));
}

/* Of a row that is there the PEM stays, which says all that the certificate is; and the reason of
 * one that retires. */
static cvm_answer_t put_certificate(struct store *store, const cvm_record_t *certificate)
{
    const cvm_host_t *host = store->host;
    const struct row *row =
        *find(store, CVM_RECORD_CERTIFICATE, host->text(certificate, CVM_C_CERTIFICATE_ID));
    cvm_record_t *copy = host->record_copy(certificate);
    int32_t keeps_reason = row && is_text(store, row->record, CVM_C_STATE, "retiring") &&
                           is_text(store, certificate, CVM_C_STATE, "revoked");
    if (copy && row &&
        (host->set_text(copy, CVM_C_PEM, host->text(row->record, CVM_C_PEM)) ||
            (keeps_reason &&
                host->set_text(copy, CVM_C_REASON, host->text(row->record, CVM_C_REASON))))) {
        host->record_free(copy);
        copy = NULL;
    }
    return put(store, CVM_RECORD_CERTIFICATE, copy) ? CVM_ANSWER_OK : CVM_ANSWER_UNKNOWN;
}

/* Is the certificate current once the first ones of a list are written? was: whether it is now. */
static int is_current_after(struct store *store, const char *id, int was,
    const cvm_record_t *const *written, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (is_text(store, written[i], ID, id) && is_writable(store, written[i]))
            was = is_text(store, written[i], CVM_C_STATE, "current");
    return was;
}

/* Would the last one of a list be a second current one of its device? */
static int is_second_current(
    struct store *store, const cvm_record_t *const *written, uint32_t count)
{
    const cvm_record_t *last = written[count - 1];
    const char *uid = store->host->text(last, CVM_C_DEVICE_UID);
    const char *id = store->host->text(last, ID);
    if (!is_text(store, last, CVM_C_STATE, "current") || !is_writable(store, last))
        return 0;
    for (const struct row *row = store->rows; row; row = row->next)
        if (row->kind == CVM_RECORD_CERTIFICATE && !is_text(store, row->record, ID, id) &&
            is_text(store, row->record, CVM_C_DEVICE_UID, uid) &&
            is_current_after(store, store->host->text(row->record, ID),
                is_text(store, row->record, CVM_C_STATE, "current"), written, count))
            return 1;
    for (uint32_t i = 0; i < count; i++)
        if (!is_text(store, written[i], ID, id) &&
            is_text(store, written[i], CVM_C_DEVICE_UID, uid) &&
            is_current_after(store, store->host->text(written[i], ID), 0, written, count))
            return 1;
    return 0;
}

static int has_two_current(struct store *store, const cvm_record_t *const *written, uint32_t count)
{
    for (uint32_t i = 1; i <= count; i++)
        if (is_second_current(store, written, i))
            return 1;
    return 0;
}

/* Is the device as it was read? */
static int is_as_read(struct store *store, const cvm_change_t *change)
{
    const cvm_record_t *subject = change->as_read ? change->as_read : change->wanted;
    const struct row *row = *find(store, CVM_RECORD_DEVICE, store->host->text(subject, ID));
    return (row ? store->host->number(row->record, CVM_D_REVISION) : 0) ==
           (change->as_read ? store->host->number(change->as_read, CVM_D_REVISION) : 0);
}

static cvm_answer_t write_device(struct store *store, const cvm_change_t *change)
{
    const cvm_host_t *host = store->host;
    if (change->wanted)
        return put_device(store, change->wanted,
            change->as_read ? host->number(change->as_read, CVM_D_REVISION) + 1 : next_row(store));
    take_out(store, find(store, CVM_RECORD_DEVICE, host->text(change->as_read, ID)));
    return CVM_ANSWER_OK;
}

/* First whether it can be, then what it is. */
static cvm_answer_t change_rows(struct store *store, const cvm_change_t *change)
{
    int has_device = change->as_read || change->wanted;
    uint32_t written = 0;
    if ((has_device && !is_as_read(store, change)) ||
        has_two_current(store, change->certificates, change->certificate_count))
        return CVM_ANSWER_CONFLICT;
    cvm_answer_t answer = has_device ? write_device(store, change) : CVM_ANSWER_OK;
    for (uint32_t i = 0; i < change->certificate_count && answer == CVM_ANSWER_OK; i++) {
        if (!is_writable(store, change->certificates[i]))
            continue;
        written++;
        answer = put_certificate(store, change->certificates[i]);
    }
    return answer == CVM_ANSWER_OK && !has_device && !written ? CVM_ANSWER_NOT_FOUND : answer;
}

/* --- The verbs -------------------------------------------------------------------------------- */

static void get(void *self, cvm_op_t *op, const char *device_uid)
{
    struct store *store = self;
    const struct row *row = *find(store, CVM_RECORD_DEVICE, device_uid);
    int32_t failed = row && store->host->op_add_record(op, store->host->record_copy(row->record));
    store->host->complete(op,
        failed ? CVM_ANSWER_UNAVAILABLE
        : row  ? CVM_ANSWER_OK
               : CVM_ANSWER_NOT_FOUND,
        NULL);
}

/* Also remove: what is wanted is nothing then. */
static void swap(void *self, cvm_op_t *op, const cvm_change_t *change)
{
    struct store *store = self;
    store->host->complete(op, change_rows(store, change), NULL);
}

/* Is the row what a scan looks for? */
static int is_sought(struct store *store, const struct row *row, cvm_scan_t what, int64_t before_ms)
{
    const cvm_host_t *host = store->host;
    const cvm_record_t *record = row->record;
    if (row->kind == CVM_RECORD_VALUE || what == CVM_SCAN_META)
        return row->kind == CVM_RECORD_VALUE && what == CVM_SCAN_META;
    const char *state = row->kind == CVM_RECORD_CERTIFICATE ? host->text(record, CVM_C_STATE) : "";
    int is_due =
        strcmp(state, "retiring") == 0 && host->number(record, CVM_C_REVOKE_AFTER) <= before_ms;
    int lives = strcmp(state, "current") == 0 || strcmp(state, "retiring") == 0;
    if (row->kind == CVM_RECORD_DEVICE)
        return what == CVM_SCAN_DEVICES ||
               (what == CVM_SCAN_UNSUSPENDED && *host->text(record, CVM_D_CERTIFICATE_ID) &&
                   host->number(record, CVM_D_IS_SUSPENDED) ==
                       host->number(record, CVM_D_IS_ENABLED)) ||
               (what == CVM_SCAN_ENDED_LEASES &&
                   host->number(record, CVM_D_LEASE_UNTIL) <= before_ms &&
                   (*host->text(record, CVM_D_LEASE_OWNER) ||
                       *host->text(record, CVM_D_LEASE_CERTIFICATE_ID)));
    if (what == CVM_SCAN_SUSPENDED && lives) {
        const struct row *device =
            *find(store, CVM_RECORD_DEVICE, host->text(record, CVM_C_DEVICE_UID));
        return device && !host->number(device->record, CVM_D_IS_ENABLED) &&
               host->number(record, CVM_C_NOT_AFTER) > before_ms;
    }
    return what == CVM_SCAN_CERTIFICATES || (what == CVM_SCAN_DUE && is_due) ||
           (what == CVM_SCAN_REVOKED && (is_due || strcmp(state, "revoked") == 0) &&
               host->number(record, CVM_C_NOT_AFTER) > before_ms);
}

/* Answers a copy; with_pem: as a scan it leaves that out. */
static int32_t add_copy(struct store *store, cvm_op_t *op, const struct row *row, int with_pem)
{
    cvm_record_t *copy = store->host->record_copy(row->record);
    if (copy && row->kind == CVM_RECORD_CERTIFICATE && !with_pem)
        (void)store->host->set_text(copy, CVM_C_PEM, NULL);
    return store->host->op_add_record(op, copy);
}

/* Rows have rising numbers; the cursor is the last one's that was answered. */
static void scan(void *self, cvm_op_t *op, cvm_scan_t what, const char *cursor, int64_t before_ms,
    uint32_t limit)
{
    struct store *store = self;
    int64_t after = strtoll(cursor, NULL, 10);
    char last[24] = "";
    int32_t failed = 0;
    if (what < CVM_SCAN_DEVICES || what > CVM_SCAN_META) {
        store->host->complete(op, CVM_ANSWER_INVALID, "no such scan");
        return;
    }
    for (const struct row *row = store->rows; row && !failed; row = row->next) {
        if (row->number <= after || !is_sought(store, row, what, before_ms))
            continue;
        if (!limit--) {
            failed = store->host->op_set_text(op, CVM_OUT_CURSOR, last);
            break;
        }
        failed = add_copy(store, op, row, what == CVM_SCAN_CERTIFICATES);
        (void)snprintf(last, sizeof last, "%lld", (long long)row->number);
    }
    store->host->complete(op, failed ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK, NULL);
}

/* The newest of the device's certificates that came before that number, revoked or not. */
static const struct row *certificate_before(
    struct store *store, const char *device_uid, int64_t number, int is_revoked)
{
    const struct row *found = NULL;
    for (const struct row *row = store->rows; row && row->number < number; row = row->next)
        if (row->kind == CVM_RECORD_CERTIFICATE &&
            is_text(store, row->record, CVM_C_DEVICE_UID, device_uid) &&
            is_text(store, row->record, CVM_C_STATE, "revoked") == is_revoked)
            found = row;
    return found;
}

static void get_certificates(void *self, cvm_op_t *op, const char *device_uid, uint32_t limit)
{
    struct store *store = self;
    int32_t failed = 0;
    for (int is_revoked = 0; is_revoked <= 1; is_revoked++) {
        const struct row *row = NULL;
        int64_t number = INT64_MAX;
        while (
            !failed && limit && (row = certificate_before(store, device_uid, number, is_revoked))) {
            failed = add_copy(store, op, row, 1);
            number = row->number;
            limit--;
        }
    }
    store->host->complete(op, failed ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_OK, NULL);
}

/* --- Loads ------------------------------------------------------------------------------------ */

static cvm_answer_t load_device(
    struct store *store, const cvm_record_t *device, uint32_t flags, uint8_t *became)
{
    const cvm_host_t *host = store->host;
    const char *token = host->text(device, CVM_D_DEVICE_TOKEN);
    const struct row *row = *find(store, CVM_RECORD_DEVICE, host->text(device, ID));
    int64_t revision = host->number(row ? row->record : device, CVM_D_REVISION);
    if (!row) {
        *became = CVM_LOAD_INSERTED;
        return put_device(store, device, revision ? revision : next_row(store));
    }
    *became = is_text(store, row->record, CVM_D_DEVICE_TOKEN, token) ? CVM_LOAD_UNCHANGED
              : flags & CVM_LOAD_REPLACE_TOKENS                      ? CVM_LOAD_REPLACED
                                                                     : CVM_LOAD_CONFLICT;
    if (*became == CVM_LOAD_REPLACED &&
        (host->set_text(row->record, CVM_D_DEVICE_TOKEN, token) ||
            host->set_number(row->record, CVM_D_REVISION, revision + 1)))
        return CVM_ANSWER_UNKNOWN;
    return CVM_ANSWER_OK;
}

static void load(void *self, cvm_op_t *op, const cvm_loading_t *loading)
{
    struct store *store = self;
    cvm_answer_t answer = CVM_ANSWER_OK;
    if (has_two_current(store, loading->certificates, loading->certificate_count))
        answer = CVM_ANSWER_CONFLICT;
    for (uint32_t i = 0; i < loading->count && answer == CVM_ANSWER_OK; i++)
        answer = load_device(store, loading->devices[i], loading->flags, &loading->rows[i]);
    for (uint32_t i = 0; i < loading->certificate_count && answer == CVM_ANSWER_OK; i++)
        if (!*find(store, CVM_RECORD_CERTIFICATE, store->host->text(loading->certificates[i], ID)))
            answer = put_certificate(store, loading->certificates[i]);
    store->host->complete(op, answer, NULL);
}

/* --- Values ----------------------------------------------------------------------------------- */

static void meta_get(void *self, cvm_op_t *op, const char *name)
{
    struct store *store = self;
    const struct row *row = *find(store, CVM_RECORD_VALUE, name);
    if (row && (store->host->op_set_text(op, CVM_OUT_VALUE, row->text) ||
                   store->host->op_set_number(
                       op, CVM_OUT_VERSION, store->host->number(row->record, CVM_V_VERSION))))
        store->host->complete(op, CVM_ANSWER_UNAVAILABLE, NULL);
    else
        store->host->complete(op, row ? CVM_ANSWER_OK : CVM_ANSWER_NOT_FOUND, NULL);
}

static cvm_answer_t put_value(
    struct store *store, const char *name, const char *wanted, int64_t version)
{
    const cvm_host_t *host = store->host;
    cvm_record_t *record = host->record_new(CVM_RECORD_VALUE);
    size_t size = strlen(wanted) + 1;
    char *text = malloc(size);
    struct row *row = NULL;
    if (text)
        memcpy(text, wanted, size);
    if (record && text && !host->set_text(record, CVM_V_NAME, name) &&
        !host->set_number(record, CVM_V_VERSION, version))
        row = put(store, CVM_RECORD_VALUE, record);
    else
        host->record_free(record);
    free(row ? row->text : text);
    if (row)
        row->text = text;
    return row ? CVM_ANSWER_OK : CVM_ANSWER_UNAVAILABLE;
}

static void meta_put(
    void *self, cvm_op_t *op, const char *name, int64_t version, const char *wanted)
{
    struct store *store = self;
    struct row **link = find(store, CVM_RECORD_VALUE, name);
    cvm_answer_t answer = CVM_ANSWER_OK;
    if (version != (*link ? store->host->number((*link)->record, CVM_V_VERSION) : 0))
        answer = CVM_ANSWER_CONFLICT;
    else if (wanted)
        answer = put_value(store, name, wanted, ++store->last);
    else if (*link)
        take_out(store, link);
    (void)store->host->op_set_number(op, CVM_OUT_VERSION, store->last);
    store->host->complete(op, answer, NULL);
}

/* --- Life ------------------------------------------------------------------------------------- */

static cvm_answer_t create(const cvm_host_t *host, cvm_context_t *context, void *user_data,
    const char *location, void **result, char *error, size_t error_size)
{
    struct store *store = calloc(1, sizeof *store);
    (void)user_data;
    (void)location;
    if (!store) {
        strncpy(error, "out of memory", error_size);
        return CVM_ANSWER_INVALID;
    }
    store->host = host;
    store->last = host->now_ms(context); /* nothing outlives the process */
    *result = store;
    return CVM_ANSWER_OK;
}

static void open_store(void *self, cvm_op_t *op, uint32_t how)
{
    (void)how;
    ((struct store *)self)->host->complete(op, CVM_ANSWER_OK, NULL);
}

static void be_fine(void *self, cvm_op_t *op)
{
    ((struct store *)self)->host->complete(op, CVM_ANSWER_OK, NULL);
}

static void destroy(void *self)
{
    struct store *store = self;
    while (store->rows)
        take_out(store, &store->rows);
    free(store);
}

static const cvm_store_ops_t MEMORY = {
    .size = sizeof(cvm_store_ops_t),
    .flags = CVM_STORE_EXTRA_FIELDS, /* it copies records whole */
    .device_fields = CVM_DEVICE_FIELD_COUNT,
    .certificate_fields = CVM_CERTIFICATE_FIELD_COUNT,
    .create = create,
    .open = open_store,
    .ready = be_fine,
    .get = get,
    .swap = swap,
    .get_certificates = get_certificates,
    .scan = scan,
    .load = load,
    .meta_get = meta_get,
    .meta_put = meta_put,
    .remove = swap,
    .close = be_fine,
    .destroy = destroy,
};

/* Also to be handed to cvm_conf_add_plugin(), by a program that has this file in it. */
int32_t memory_plugin(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);

int32_t memory_plugin(const cvm_host_t *host, cvm_registry_t *registry, void *user_data)
{
    return host->add_store(registry, "memory", &MEMORY, user_data, NULL, 0);
}

CVM_MODULE(memory_plugin);
