/* What is answered. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

int run_get(struct store *store, MDB_txn *txn, struct job *job)
{
    int rc;
    cvm_record_t *row = row_get(store, txn, CVM_RECORD_DEVICE, job->name, NULL, &rc);
    return row && store->host->op_add_record(job->op, row) ? ENOMEM : rc;
}

/* --- A device's certificates ------------------------------------------------------------------ */

struct place {
    char id[65];
    int is_revoked;
    int64_t sequence;
};

struct places {
    struct store *store;
    MDB_txn *txn;
    struct place *list;
    size_t count, size;
};

static int note_place(void *argument, const char *id)
{
    struct places *places = argument;
    int rc;
    if (places->count == places->size) {
        size_t size = places->size ? places->size * 2 : 16;
        struct place *more = realloc(places->list, size * sizeof *more);
        if (!more)
            return ENOMEM;
        places->list = more;
        places->size = size;
    }
    struct place *place = &places->list[places->count++];
    (void)snprintf(place->id, sizeof place->id, "%s", id);
    cvm_record_t *row =
        row_get(places->store, places->txn, CVM_RECORD_CERTIFICATE, id, &place->sequence, &rc);
    place->is_revoked = row && is_text(places->store, row, CVM_C_STATE, "revoked");
    places->store->host->record_free(row);
    return rc;
}

/* What is not revoked first, then the newest. */
static int by_place(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->is_revoked != b->is_revoked)
        return a->is_revoked - b->is_revoked;
    return (a->sequence < b->sequence) - (a->sequence > b->sequence);
}

int run_get_certificates(struct store *store, MDB_txn *txn, struct job *job)
{
    char prefix[KEY_SIZE];
    struct places places = {.store = store, .txn = txn};
    size_t length = index_key(prefix, OF_DEVICE, job->name, "");
    int rc = index_visit(store, txn, prefix, length, NULL, note_place, &places);
    if (!rc && places.count)
        qsort(places.list, places.count, sizeof *places.list, by_place);
    for (size_t i = 0; i < places.count && i < job->limit && !rc; i++) {
        cvm_record_t *row =
            row_get(store, txn, CVM_RECORD_CERTIFICATE, places.list[i].id, NULL, &rc);
        if (row && store->host->op_add_record(job->op, row))
            rc = ENOMEM;
    }
    free(places.list);
    return rc;
}

/* --- Scans ------------------------------------------------------------------------------------ */

struct scan {
    struct store *store;
    MDB_txn *txn;
    struct job *job;
    uint32_t left;              /* of the page */
    char last[CVM_CURSOR_SIZE]; /* what was answered last */
    const char *uid;            /* of the device whose certificates are looked through */
};

/* Takes record over. STOP once the page is full: then the cursor is told. */
static int scan_answer(struct scan *scan, cvm_record_t *record, const char *place)
{
    const cvm_host_t *host = scan->store->host;
    if (!scan->left) {
        host->record_free(record);
        return host->op_set_text(scan->job->op, CVM_OUT_CURSOR, scan->last) ? ENOMEM : STOP;
    }
    scan->left--;
    (void)snprintf(scan->last, sizeof scan->last, "%s", place);
    return host->op_add_record(scan->job->op, record) ? ENOMEM : 0;
}

static int scan_is_sought(const struct scan *scan, const cvm_record_t *record)
{
    const cvm_host_t *host = scan->store->host;
    int64_t before_ms = scan->job->before_ms;
    int is_due = host->number(record, CVM_C_REVOKE_AFTER) <= before_ms;
    switch (scan->job->what) {
    case CVM_SCAN_ENDED_LEASES:
        return host->number(record, CVM_D_LEASE_UNTIL) <= before_ms;
    case CVM_SCAN_DUE:
        return is_due;
    case CVM_SCAN_REVOKED:
        return host->number(record, CVM_C_NOT_AFTER) > before_ms &&
               (is_due || is_text(scan->store, record, CVM_C_STATE, "revoked"));
    case CVM_SCAN_SUSPENDED:
        return host->number(record, CVM_C_NOT_AFTER) > before_ms &&
               (is_text(scan->store, record, CVM_C_STATE, "current") ||
                   is_text(scan->store, record, CVM_C_STATE, "retiring"));
    default:
        return 1;
    }
}

static int scan_look(struct scan *scan, cvm_record_kind_t kind, const char *id, const char *place)
{
    int rc;
    cvm_record_t *record = row_get(scan->store, scan->txn, kind, id, NULL, &rc);
    if (!record)
        return rc;
    if (!scan_is_sought(scan, record)) {
        scan->store->host->record_free(record);
        return 0;
    }
    if (kind == CVM_RECORD_CERTIFICATE)
        (void)scan->store->host->set_text(record, CVM_C_PEM, NULL);
    return scan_answer(scan, record, place);
}

static int scan_device(void *argument, const char *uid)
{
    return scan_look(argument, CVM_RECORD_DEVICE, uid, uid);
}

static int scan_certificate(void *argument, const char *id)
{
    return scan_look(argument, CVM_RECORD_CERTIFICATE, id, id);
}

/* One certificate of a disabled device: its place is "UID ID", and no uid has a space. */
static int scan_suspended(void *argument, const char *id)
{
    struct scan *scan = argument;
    char place[CVM_CURSOR_SIZE];
    (void)snprintf(place, sizeof place, "%s %s", scan->uid, id);
    return scan_look(scan, CVM_RECORD_CERTIFICATE, id, place);
}

static int scan_certificates_of(struct scan *scan, const char *uid, const char *after)
{
    char prefix[KEY_SIZE];
    size_t length = index_key(prefix, OF_DEVICE, uid, "");
    scan->uid = uid;
    return index_visit(scan->store, scan->txn, prefix, length, after, scan_suspended, scan);
}

static int scan_disabled(void *argument, const char *uid)
{
    return scan_certificates_of(argument, uid, NULL);
}

static int is_disabled(struct scan *scan, const char *uid, int *is_so)
{
    int rc;
    const cvm_host_t *host = scan->store->host;
    cvm_record_t *device = row_get(scan->store, scan->txn, CVM_RECORD_DEVICE, uid, NULL, &rc);
    *is_so = device && !host->number(device, CVM_D_IS_ENABLED);
    host->record_free(device);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* First what is left of the device where the last page ended. */
static int scan_all_suspended(struct scan *scan)
{
    static const char PREFIX[] = {OF_DISABLED};
    char uid[CVM_CURSOR_SIZE];
    const char *cursor = scan->job->name, *space = strchr(cursor, ' ');
    int is_so = 0, rc = 0;
    (void)snprintf(uid, sizeof uid, "%.*s", (int)(space ? space - cursor : 0), cursor);
    if (space)
        rc = is_disabled(scan, uid, &is_so);
    if (!rc && is_so)
        rc = scan_certificates_of(scan, uid, space + 1);
    return rc ? rc
              : index_visit(scan->store, scan->txn, PREFIX, sizeof PREFIX, *uid ? uid : NULL,
                    scan_disabled, scan);
}

/* The record of a value: its name and version. */
static cvm_record_t *scan_value(const cvm_host_t *host, const char *name, const MDB_val *bytes)
{
    cvm_record_t *record = host->record_new(CVM_RECORD_VALUE);
    if (record && (host->set_text(record, CVM_V_NAME, name) ||
                      host->set_number(record, CVM_V_VERSION, strtoll(bytes->mv_data, NULL, 10)))) {
        host->record_free(record);
        return NULL;
    }
    return record;
}

/* Goes through all that there is of a kind. */
static int scan_whole(struct scan *scan, enum db db, cvm_record_kind_t kind)
{
    const char *after = scan->job->name;
    MDB_cursor *cursor;
    MDB_val key = {strlen(after), (void *)after}, value;
    int rc = mdb_cursor_open(scan->txn, scan->store->env->dbs[db], &cursor);
    if (rc)
        return rc;
    for (rc = mdb_cursor_get(cursor, &key, &value, *after ? MDB_SET_RANGE : MDB_FIRST); !rc;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        char id[CVM_CURSOR_SIZE];
        (void)snprintf(id, sizeof id, "%.*s", (int)key.mv_size, (const char *)key.mv_data);
        if (strcmp(id, after) == 0)
            continue;
        cvm_record_t *record = kind == CVM_RECORD_VALUE ? scan_value(scan->store->host, id, &value)
                                                        : row_read(scan->store->host, kind, &value);
        if ((rc = record ? scan_answer(scan, record, id) : ENOMEM))
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int scan_index(struct scan *scan, char letter, visit_fn visit)
{
    const char *after = *scan->job->name ? scan->job->name : NULL;
    return index_visit(scan->store, scan->txn, &letter, 1, after, visit, scan);
}

static int scan_run(struct scan *scan)
{
    switch (scan->job->what) {
    case CVM_SCAN_DEVICES:
        return scan_whole(scan, DEVICES, CVM_RECORD_DEVICE);
    case CVM_SCAN_CERTIFICATES:
        return scan_whole(scan, CERTIFICATES, CVM_RECORD_CERTIFICATE);
    case CVM_SCAN_META:
        return scan_whole(scan, VALUES, CVM_RECORD_VALUE);
    case CVM_SCAN_UNSUSPENDED:
        return scan_index(scan, OF_UNSUSPENDED, scan_device);
    case CVM_SCAN_ENDED_LEASES:
        return scan_index(scan, OF_LEASED, scan_device);
    case CVM_SCAN_DUE:
        return scan_index(scan, OF_RETIRING, scan_certificate);
    case CVM_SCAN_REVOKED:
        return scan_index(scan, OF_REVOKED, scan_certificate);
    case CVM_SCAN_SUSPENDED:
        return scan_all_suspended(scan);
    default:
        scan->job->answer = CVM_ANSWER_INVALID;
        scan->job->text = "no such scan";
        return 0;
    }
}

int run_scan(struct store *store, MDB_txn *txn, struct job *job)
{
    struct scan scan = {.store = store, .txn = txn, .job = job, .left = job->limit};
    int rc = scan_run(&scan);
    return rc == STOP ? 0 : rc;
}

/* --- Finding ---------------------------------------------------------------------------------- */

struct finding {
    struct store *store;
    MDB_txn *txn;
    struct job *job;
};

static int find_answer(struct finding *finding, const char *uid)
{
    return finding->store->host->op_set_text(finding->job->op, CVM_OUT_VALUE, uid) ? ENOMEM : STOP;
}

/* An entry leads to the device itself, or to a certificate of it. */
static int find_device(void *argument, const char *uid)
{
    return find_answer(argument, uid);
}

static int find_certificate(void *argument, const char *id)
{
    struct finding *finding = argument;
    struct store *store = finding->store;
    int rc;
    cvm_record_t *row = row_get(store, finding->txn, CVM_RECORD_CERTIFICATE, id, NULL, &rc);
    if (row)
        rc = find_answer(finding, store->host->text(row, CVM_C_DEVICE_UID));
    store->host->record_free(row);
    return rc;
}

/* The first of the entries under that name. */
static int find_entry(struct finding *finding, char letter, visit_fn visit)
{
    char prefix[KEY_SIZE];
    size_t length = index_key(prefix, letter, finding->job->name, "");
    int rc = index_visit(finding->store, finding->txn, prefix, length, NULL, visit, finding);
    return rc ? rc : MDB_NOTFOUND;
}

static int find_run(struct finding *finding)
{
    int rc;
    switch (finding->job->what) {
    case CVM_FIND_CERTIFICATE:
        return find_certificate(finding, finding->job->name);
    case CVM_FIND_THING:
        return find_entry(finding, OF_THING, find_device);
    case CVM_FIND_KEY:
        rc = find_entry(finding, OF_KEY, find_device);
        return rc == MDB_NOTFOUND ? find_entry(finding, OF_CERTIFIED, find_certificate) : rc;
    default:
        finding->job->answer = CVM_ANSWER_INVALID;
        finding->job->text = "it can't be looked for by that";
        return 0;
    }
}

int run_find(struct store *store, MDB_txn *txn, struct job *job)
{
    struct finding finding = {store, txn, job};
    int rc = find_run(&finding);
    return rc == STOP ? 0 : rc;
}

int run_meta_get(struct store *store, MDB_txn *txn, struct job *job)
{
    MDB_val key = {strlen(job->name), (void *)job->name}, value;
    int rc = mdb_get(txn, store->env->dbs[VALUES], &key, &value);
    if (rc)
        return rc;
    const char *version = value.mv_data;
    return store->host->op_set_number(job->op, CVM_OUT_VERSION, strtoll(version, NULL, 10)) ||
                   store->host->op_set_text(job->op, CVM_OUT_VALUE, version + strlen(version) + 1)
               ? ENOMEM
               : 0;
}
