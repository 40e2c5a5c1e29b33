/* Records as bytes: a number that says in which order certificates came, then names and values,
 * each ended by a 0; what isn't set is left out. So fields that a later release adds are kept by
 * their names. Beside them an index, whose entries are made anew with each write. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define MOST_MARKS 5
#define ID         0 /* the first field of each kind */

static const enum db DB_OF[] = {
    [CVM_RECORD_DEVICE] = DEVICES, [CVM_RECORD_CERTIFICATE] = CERTIFICATES};

int is_text(struct store *store, const cvm_record_t *record, uint32_t field, const char *text)
{
    return strcmp(store->host->text(record, field), text) == 0;
}

/* --- Bytes ------------------------------------------------------------------------------------ */

struct buffer {
    char *bytes;
    size_t length, size;
    int failed;
};

/* With its 0. */
static void buffer_add(struct buffer *buffer, const char *text)
{
    size_t length = strlen(text) + 1;
    if (buffer->length + length > buffer->size) {
        size_t size = (buffer->length + length) * 2;
        char *more = realloc(buffer->bytes, size);
        buffer->failed |= !more;
        if (!more)
            return;
        buffer->bytes = more;
        buffer->size = size;
    }
    memcpy(buffer->bytes + buffer->length, text, length);
    buffer->length += length;
}

static void buffer_add_number(struct buffer *buffer, int64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, number);
    buffer_add(buffer, text);
}

static void row_print(const cvm_host_t *host, cvm_record_kind_t kind, const cvm_record_t *record,
    int64_t sequence, struct buffer *buffer)
{
    buffer_add_number(buffer, sequence);
    for (uint32_t i = 0; i < host->field_count(kind); i++) {
        int is_number = host->field_kind(kind, i) == CVM_FIELD_NUMBER;
        if (is_number ? !host->number(record, i) : !*host->text(record, i))
            continue;
        buffer_add(buffer, host->field_name(kind, i));
        if (is_number)
            buffer_add_number(buffer, host->number(record, i));
        else
            buffer_add(buffer, host->text(record, i));
    }
}

/* Past the end for a name that isn't known. */
static uint32_t row_field(const cvm_host_t *host, cvm_record_kind_t kind, const char *name)
{
    uint32_t i = 0;
    while (host->field_name(kind, i) && strcmp(host->field_name(kind, i), name) != 0)
        i++;
    return i;
}

cvm_record_t *row_read(const cvm_host_t *host, cvm_record_kind_t kind, const MDB_val *bytes)
{
    cvm_record_t *record = host->record_new(kind);
    const char *at = bytes->mv_data, *end = at + bytes->mv_size;
    at += strlen(at) + 1; /* the sequence */
    while (record && at < end) {
        const char *name = at, *value = name + strlen(name) + 1;
        uint32_t field = row_field(host, kind, name);
        if (host->field_kind(kind, field) == CVM_FIELD_NUMBER)
            (void)host->set_number(record, field, strtoll(value, NULL, 10));
        else if (host->field_name(kind, field) && host->set_text(record, field, value)) {
            host->record_free(record);
            return NULL;
        }
        at = value + strlen(value) + 1;
    }
    return record;
}

/* --- The index -------------------------------------------------------------------------------- */

struct mark {
    char key[KEY_SIZE];
    size_t length;
};

struct marks {
    struct mark list[MOST_MARKS];
    int count;
};

size_t index_key(char key[KEY_SIZE], char letter, const char *first, const char *second)
{
    size_t length = 1, part = strlen(first);
    key[0] = letter;
    memcpy(key + length, first, part);
    length += part;
    if (!second)
        return length;
    key[length++] = 0;
    part = strlen(second);
    memcpy(key + length, second, part);
    return length + part;
}

static void marks_add(struct marks *marks, char letter, const char *first, const char *second)
{
    struct mark *mark = &marks->list[marks->count++];
    mark->length = index_key(mark->key, letter, first, second);
}

static void marks_of_device(struct store *store, const cvm_record_t *device, struct marks *marks)
{
    const cvm_host_t *host = store->host;
    const char *uid = host->text(device, CVM_D_DEVICE_UID);
    const char *thing = host->text(device, CVM_D_THING_NAME);
    const char *key = host->text(device, CVM_D_PUBLIC_KEY_SHA256);
    int is_enabled = host->number(device, CVM_D_IS_ENABLED) != 0;
    if (*thing)
        marks_add(marks, OF_THING, thing, uid);
    if (*key)
        marks_add(marks, OF_KEY, key, uid);
    if (*host->text(device, CVM_D_LEASE_OWNER) || *host->text(device, CVM_D_LEASE_CERTIFICATE_ID))
        marks_add(marks, OF_LEASED, uid, NULL);
    if (!is_enabled)
        marks_add(marks, OF_DISABLED, uid, NULL);
    if (*host->text(device, CVM_D_CERTIFICATE_ID) &&
        (host->number(device, CVM_D_IS_SUSPENDED) != 0) == is_enabled)
        marks_add(marks, OF_UNSUSPENDED, uid, NULL);
}

static void marks_of_certificate(
    struct store *store, const cvm_record_t *certificate, struct marks *marks)
{
    const cvm_host_t *host = store->host;
    const char *id = host->text(certificate, CVM_C_CERTIFICATE_ID);
    const char *uid = host->text(certificate, CVM_C_DEVICE_UID);
    const char *key = host->text(certificate, CVM_C_PUBLIC_KEY_SHA256);
    int is_retiring = is_text(store, certificate, CVM_C_STATE, "retiring");
    marks_add(marks, OF_DEVICE, uid, id);
    if (*key)
        marks_add(marks, OF_CERTIFIED, key, id);
    if (is_retiring)
        marks_add(marks, OF_RETIRING, id, NULL);
    if (is_retiring || is_text(store, certificate, CVM_C_STATE, "revoked"))
        marks_add(marks, OF_REVOKED, id, NULL);
}

/* Writes the record's entries, or removes them. */
static int row_mark(struct store *store, MDB_txn *txn, cvm_record_kind_t kind,
    const cvm_record_t *record, int is_there)
{
    struct marks marks = {.count = 0};
    int rc = 0;
    if (kind == CVM_RECORD_DEVICE)
        marks_of_device(store, record, &marks);
    else
        marks_of_certificate(store, record, &marks);
    for (int i = 0; i < marks.count && !rc; i++) {
        struct mark *mark = &marks.list[i];
        MDB_val key = {mark->length, mark->key}, value = {0, NULL};
        rc = is_there ? mdb_put(txn, store->env->dbs[INDEX], &key, &value, 0)
                      : mdb_del(txn, store->env->dbs[INDEX], &key, NULL);
    }
    return rc;
}

int index_visit(struct store *store, MDB_txn *txn, const char *prefix, size_t length,
    const char *after, visit_fn visit, void *argument)
{
    char from[KEY_SIZE], rest[KEY_SIZE];
    MDB_cursor *cursor;
    size_t behind = after ? strlen(after) : 0;
    MDB_val key = {length + behind, from}, value;
    if (length + behind >= sizeof from)
        return EINVAL;
    memcpy(from, prefix, length);
    if (after)
        memcpy(from + length, after, behind + 1);
    int rc = mdb_cursor_open(txn, store->env->dbs[INDEX], &cursor);
    if (rc)
        return rc;
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !rc;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size < length || memcmp(key.mv_data, prefix, length) != 0)
            break;
        size_t left = key.mv_size - length;
        memcpy(rest, (const char *)key.mv_data + length, left);
        rest[left] = 0;
        if (after && strcmp(rest, after) == 0)
            continue;
        if ((rc = visit(argument, rest)))
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* --- Rows ------------------------------------------------------------------------------------- */

cvm_record_t *row_get(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const char *id,
    int64_t *sequence, int *rc)
{
    MDB_val key = {strlen(id), (void *)id}, value;
    *rc = *id ? mdb_get(txn, store->env->dbs[DB_OF[kind]], &key, &value) : MDB_NOTFOUND;
    if (*rc)
        return NULL;
    if (sequence)
        *sequence = strtoll(value.mv_data, NULL, 10);
    cvm_record_t *record = row_read(store->host, kind, &value);
    *rc = record ? 0 : ENOMEM;
    return record;
}

/* What is there goes, with its entries. */
static int row_unmark(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const char *id)
{
    int rc;
    cvm_record_t *before = row_get(store, txn, kind, id, NULL, &rc);
    if (before)
        rc = row_mark(store, txn, kind, before, 0);
    store->host->record_free(before);
    return rc;
}

int row_put(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const cvm_record_t *record,
    int64_t sequence)
{
    struct buffer buffer = {.bytes = NULL};
    const char *id = store->host->text(record, ID);
    int rc = row_unmark(store, txn, kind, id);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    row_print(store->host, kind, record, sequence, &buffer);
    MDB_val key = {strlen(id), (void *)id}, value = {buffer.length, buffer.bytes};
    rc = buffer.failed ? ENOMEM : mdb_put(txn, store->env->dbs[DB_OF[kind]], &key, &value, 0);
    free(buffer.bytes);
    return rc ? rc : row_mark(store, txn, kind, record, 1);
}

int row_delete(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const char *id)
{
    MDB_val key = {strlen(id), (void *)id};
    int rc = row_unmark(store, txn, kind, id);
    return rc ? rc : mdb_del(txn, store->env->dbs[DB_OF[kind]], &key, NULL);
}

int sequence_next(struct store *store, MDB_txn *txn, int64_t *number)
{
    static char name[] = "#";
    char text[24];
    MDB_val key = {1, name}, value;
    int rc = mdb_get(txn, store->env->dbs[INDEX], &key, &value);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    *number = rc ? 1 : strtoll(value.mv_data, NULL, 10) + 1;
    value = (MDB_val){(size_t)snprintf(text, sizeof text, "%" PRId64, *number) + 1, text};
    return mdb_put(txn, store->env->dbs[INDEX], &key, &value, 0);
}
