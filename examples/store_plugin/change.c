/* What is written: changes, loads and values. Each job is in a transaction of its own, so a rule
 * that is broken in the middle of it undoes it all. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "store.h"

/* Random, of 62 bits, so that a device that was removed and added anew is another one. */
static int first_revision(int64_t *revision)
{
    uint64_t bits;
    if (getentropy(&bits, sizeof bits))
        return errno;
    *revision = (int64_t)(bits >> 2) + 1;
    return 0;
}

static int put_device(
    struct store *store, MDB_txn *txn, const cvm_record_t *device, int64_t revision)
{
    cvm_record_t *copy = store->host->record_copy(device);
    int rc = copy && !store->host->set_number(copy, CVM_D_REVISION, revision)
                 ? row_put(store, txn, CVM_RECORD_DEVICE, copy, 0)
                 : ENOMEM;
    store->host->record_free(copy);
    return rc;
}

/* --- Keys ------------------------------------------------------------------------------------- */

struct key_look {
    struct store *store;
    MDB_txn *txn;
    const char *uid; /* of whoever is to have it */
    int is_load;     /* it had it elsewhere */
    int is_taken;
};

/* Another device has it. */
static int key_owner(void *argument, const char *uid)
{
    struct key_look *look = argument;
    look->is_taken = strcmp(uid, look->uid) != 0;
    return look->is_taken ? STOP : 0;
}

static int key_device_is_there(struct key_look *look, const char *uid, int *is_there)
{
    int rc;
    cvm_record_t *device = row_get(look->store, look->txn, CVM_RECORD_DEVICE, uid, NULL, &rc);
    look->store->host->record_free(device);
    *is_there = rc == 0;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* It was compromised, and is nobody's until that certificate ends; or another device's certificate
 * for it may still be accepted. */
static int key_certificate(void *argument, const char *id)
{
    struct key_look *look = argument;
    struct store *store = look->store;
    const cvm_host_t *host = store->host;
    int rc;
    cvm_record_t *row = row_get(store, look->txn, CVM_RECORD_CERTIFICATE, id, NULL, &rc);
    if (!row)
        return rc;
    int is_revoked = is_text(store, row, CVM_C_STATE, "revoked");
    int is_lost = (is_revoked || is_text(store, row, CVM_C_STATE, "retiring")) &&
                  is_text(store, row, CVM_C_REASON, "keyCompromise") &&
                  host->number(row, CVM_C_NOT_AFTER) > host->now_ms(store->context);
    int is_its_own = is_text(store, row, CVM_C_DEVICE_UID, look->uid);
    if (is_lost && !(look->is_load && is_its_own))
        look->is_taken = 1;
    else if (!is_revoked && !is_text(store, row, CVM_C_STATE, "pending") && !is_its_own)
        rc = key_device_is_there(look, host->text(row, CVM_C_DEVICE_UID), &look->is_taken);
    host->record_free(row);
    return rc ? rc : look->is_taken ? STOP : 0;
}

/* May the device not have that key? */
static int look_for_key(
    struct store *store, MDB_txn *txn, const char *key, const char *uid, int is_load, int *is_taken)
{
    char prefix[KEY_SIZE];
    struct key_look look = {store, txn, uid, is_load, 0};
    size_t length = index_key(prefix, OF_KEY, key, "");
    int rc = *key ? index_visit(store, txn, prefix, length, NULL, key_owner, &look) : 0;
    length = index_key(prefix, OF_CERTIFIED, key, "");
    if (!rc && *key)
        rc = index_visit(store, txn, prefix, length, NULL, key_certificate, &look);
    *is_taken = look.is_taken;
    return rc == STOP ? 0 : rc;
}

/* Does the change give the device a key anew, or certify it again? */
static int is_key_anew(struct store *store, const cvm_change_t *change)
{
    const cvm_host_t *host = store->host;
    const char *key = host->text(change->wanted, CVM_D_PUBLIC_KEY_SHA256);
    if (!change->as_read || !is_text(store, change->as_read, CVM_D_PUBLIC_KEY_SHA256, key))
        return 1;
    for (uint32_t i = 0; i < change->certificate_count; i++)
        if (is_text(store, change->certificates[i], CVM_C_STATE, "current") &&
            is_text(store, change->certificates[i], CVM_C_PUBLIC_KEY_SHA256, key))
            return 1;
    return 0;
}

/* --- Certificates ----------------------------------------------------------------------------- */

struct current_look {
    struct store *store;
    MDB_txn *txn;
    const char *id; /* of the one that is to be */
};

/* Another one that is current? */
static int find_other_current(void *argument, const char *id)
{
    const struct current_look *look = argument;
    int rc;
    if (strcmp(id, look->id) == 0)
        return 0;
    cvm_record_t *row = row_get(look->store, look->txn, CVM_RECORD_CERTIFICATE, id, NULL, &rc);
    if (row && is_text(look->store, row, CVM_C_STATE, "current"))
        rc = STOP;
    look->store->host->record_free(row);
    return rc;
}

static int check_current(
    struct store *store, MDB_txn *txn, struct job *job, const cvm_record_t *certificate)
{
    char prefix[KEY_SIZE];
    struct current_look look = {store, txn, store->host->text(certificate, CVM_C_CERTIFICATE_ID)};
    if (!is_text(store, certificate, CVM_C_STATE, "current"))
        return 0;
    size_t length =
        index_key(prefix, OF_DEVICE, store->host->text(certificate, CVM_C_DEVICE_UID), "");
    int rc = index_visit(store, txn, prefix, length, NULL, find_other_current, &look);
    if (rc != STOP)
        return rc;
    job->answer = CVM_ANSWER_CONFLICT;
    return 0;
}

/* What a certificate is, which stays. */
static int is_fixed(uint32_t field)
{
    static const uint32_t FIXED[] = {CVM_C_CERTIFICATE_ID, CVM_C_PEM, CVM_C_DEVICE_UID,
        CVM_C_SERIAL, CVM_C_ISSUER, CVM_C_NOT_BEFORE, CVM_C_NOT_AFTER, CVM_C_PUBLIC_KEY_SHA256};
    for (size_t i = 0; i < sizeof FIXED / sizeof FIXED[0]; i++)
        if (FIXED[i] == field)
            return 1;
    return 0;
}

/* All else changes, fields of later releases too; but the reason of one that retires stays. */
static int copy_state(struct store *store, cvm_record_t *to, const cvm_record_t *from)
{
    const cvm_host_t *host = store->host;
    int keeps_reason =
        is_text(store, to, CVM_C_STATE, "retiring") && is_text(store, from, CVM_C_STATE, "revoked");
    int32_t failed = 0;
    for (uint32_t i = 0; i < host->field_count(CVM_RECORD_CERTIFICATE); i++) {
        if (is_fixed(i) || (i == CVM_C_REASON && keeps_reason))
            continue;
        failed |= host->field_kind(CVM_RECORD_CERTIFICATE, i) == CVM_FIELD_NUMBER
                      ? host->set_number(to, i, host->number(from, i))
                      : host->set_text(to, i, host->text(from, i));
    }
    return failed ? ENOMEM : 0;
}

/* A row that is there: a revoked one stays as it is, and another device's. */
static int update_certificate(struct store *store, MDB_txn *txn, cvm_record_t *row,
    int64_t sequence, const cvm_record_t *certificate, uint32_t *written)
{
    if (is_text(store, row, CVM_C_STATE, "revoked") ||
        !is_text(store, row, CVM_C_DEVICE_UID, store->host->text(certificate, CVM_C_DEVICE_UID)))
        return 0;
    ++*written;
    int rc = copy_state(store, row, certificate);
    return rc ? rc : row_put(store, txn, CVM_RECORD_CERTIFICATE, row, sequence);
}

static int write_certificate(struct store *store, MDB_txn *txn, struct job *job,
    const cvm_record_t *certificate, uint32_t *written)
{
    int64_t sequence;
    int rc = check_current(store, txn, job, certificate);
    if (rc || job->answer != CVM_ANSWER_OK)
        return rc;
    cvm_record_t *row = row_get(store, txn, CVM_RECORD_CERTIFICATE,
        store->host->text(certificate, CVM_C_CERTIFICATE_ID), &sequence, &rc);
    if (row) {
        rc = update_certificate(store, txn, row, sequence, certificate, written);
    } else if (rc == MDB_NOTFOUND) {
        ++*written;
        rc = sequence_next(store, txn, &sequence);
        if (!rc)
            rc = row_put(store, txn, CVM_RECORD_CERTIFICATE, certificate, sequence);
    }
    store->host->record_free(row);
    return rc;
}

/* --- Changes ---------------------------------------------------------------------------------- */

/* Is the device as it was read, and may it have its key? */
static int check_device(struct store *store, MDB_txn *txn, struct job *job)
{
    const cvm_host_t *host = store->host;
    const cvm_change_t *change = job->change;
    const char *uid =
        host->text(change->as_read ? change->as_read : change->wanted, CVM_D_DEVICE_UID);
    int rc, is_taken = 0;
    cvm_record_t *row = row_get(store, txn, CVM_RECORD_DEVICE, uid, NULL, &rc);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    rc = 0;
    if (!row != !change->as_read ||
        (row && host->number(row, CVM_D_REVISION) != host->number(change->as_read, CVM_D_REVISION)))
        job->answer = CVM_ANSWER_CONFLICT;
    else if (change->wanted && is_key_anew(store, change))
        rc = look_for_key(
            store, txn, host->text(change->wanted, CVM_D_PUBLIC_KEY_SHA256), uid, 0, &is_taken);
    if (is_taken)
        job->answer = CVM_ANSWER_KEY_IN_USE;
    host->record_free(row);
    return rc;
}

static int write_device(struct store *store, MDB_txn *txn, const cvm_change_t *change)
{
    const cvm_host_t *host = store->host;
    int64_t revision = 0;
    if (!change->wanted)
        return row_delete(
            store, txn, CVM_RECORD_DEVICE, host->text(change->as_read, CVM_D_DEVICE_UID));
    int rc = change->as_read ? 0 : first_revision(&revision);
    if (change->as_read)
        revision = host->number(change->as_read, CVM_D_REVISION) + 1;
    return rc ? rc : put_device(store, txn, change->wanted, revision);
}

/* Also remove(): what is wanted is nothing then. */
int run_swap(struct store *store, MDB_txn *txn, struct job *job)
{
    const cvm_change_t *change = job->change;
    int has_device = change->as_read || change->wanted;
    uint32_t written = 0;
    int rc = has_device ? check_device(store, txn, job) : 0;
    if (!rc && job->answer == CVM_ANSWER_OK && has_device)
        rc = write_device(store, txn, change);
    for (uint32_t i = 0; i < change->certificate_count && !rc && job->answer == CVM_ANSWER_OK; i++)
        rc = write_certificate(store, txn, job, change->certificates[i], &written);
    if (!rc && job->answer == CVM_ANSWER_OK && !has_device && !written)
        job->answer = CVM_ANSWER_NOT_FOUND;
    return rc;
}

/* --- Loads ------------------------------------------------------------------------------------ */

static int insert_loaded(
    struct store *store, MDB_txn *txn, struct job *job, const cvm_record_t *device)
{
    const cvm_host_t *host = store->host;
    int64_t revision = host->number(device, CVM_D_REVISION);
    int is_taken = 0;
    int rc = look_for_key(store, txn, host->text(device, CVM_D_PUBLIC_KEY_SHA256),
        host->text(device, CVM_D_DEVICE_UID), 1, &is_taken);
    if (is_taken)
        job->answer = CVM_ANSWER_KEY_IN_USE;
    if (!rc && !revision)
        rc = first_revision(&revision);
    return rc ? rc : put_device(store, txn, device, revision);
}

static int replace_token(struct store *store, MDB_txn *txn, cvm_record_t *row, const char *token)
{
    if (store->host->set_text(row, CVM_D_DEVICE_TOKEN, token))
        return ENOMEM;
    return put_device(store, txn, row, store->host->number(row, CVM_D_REVISION) + 1);
}

static int load_device(struct store *store, MDB_txn *txn, struct job *job, uint32_t i)
{
    const cvm_host_t *host = store->host;
    const cvm_record_t *device = job->loading->devices[i];
    const char *token = host->text(device, CVM_D_DEVICE_TOKEN);
    uint8_t *became = &job->loading->rows[i];
    int rc;
    cvm_record_t *row =
        row_get(store, txn, CVM_RECORD_DEVICE, host->text(device, CVM_D_DEVICE_UID), NULL, &rc);
    if (rc == MDB_NOTFOUND) {
        *became = CVM_LOAD_INSERTED;
        return insert_loaded(store, txn, job, device);
    }
    if (!row)
        return rc;
    *became = is_text(store, row, CVM_D_DEVICE_TOKEN, token)  ? CVM_LOAD_UNCHANGED
              : job->loading->flags & CVM_LOAD_REPLACE_TOKENS ? CVM_LOAD_REPLACED
                                                              : CVM_LOAD_CONFLICT;
    if (*became == CVM_LOAD_REPLACED)
        rc = replace_token(store, txn, row, token);
    host->record_free(row);
    return rc;
}

/* One that is there already stays as it is. */
static int load_certificate(
    struct store *store, MDB_txn *txn, struct job *job, const cvm_record_t *certificate)
{
    uint32_t written = 0;
    int rc;
    cvm_record_t *row = row_get(store, txn, CVM_RECORD_CERTIFICATE,
        store->host->text(certificate, CVM_C_CERTIFICATE_ID), NULL, &rc);
    store->host->record_free(row);
    return rc == MDB_NOTFOUND ? write_certificate(store, txn, job, certificate, &written) : rc;
}

int run_load(struct store *store, MDB_txn *txn, struct job *job)
{
    const cvm_loading_t *loading = job->loading;
    int rc = 0;
    for (uint32_t i = 0; i < loading->count && !rc && job->answer == CVM_ANSWER_OK; i++)
        rc = load_device(store, txn, job, i);
    for (uint32_t i = 0; i < loading->certificate_count && !rc && job->answer == CVM_ANSWER_OK; i++)
        rc = load_certificate(store, txn, job, loading->certificates[i]);
    if ((rc || job->answer != CVM_ANSWER_OK) && loading->count)
        memset(loading->rows, CVM_LOAD_NONE, loading->count); /* nothing of it is kept */
    return rc;
}

/* --- Values ----------------------------------------------------------------------------------- */

static int put_value(struct store *store, MDB_txn *txn, struct job *job, MDB_val *key)
{
    int64_t version;
    int rc = sequence_next(store, txn, &version);
    size_t size = strlen(job->value) + 32;
    char *bytes = rc ? NULL : malloc(size);
    if (!bytes)
        return rc ? rc : ENOMEM;
    int length = snprintf(bytes, size, "%" PRId64 "%c%s", version, 0, job->value);
    MDB_val value = {(size_t)length + 1, bytes};
    rc = mdb_put(txn, store->env->dbs[VALUES], key, &value, 0);
    free(bytes);
    (void)store->host->op_set_number(job->op, CVM_OUT_VERSION, version);
    return rc;
}

int run_meta_put(struct store *store, MDB_txn *txn, struct job *job)
{
    MDB_val key = {strlen(job->name), (void *)job->name}, value;
    int rc = mdb_get(txn, store->env->dbs[VALUES], &key, &value);
    if (rc && rc != MDB_NOTFOUND)
        return rc;
    if ((rc ? 0 : strtoll(value.mv_data, NULL, 10)) != job->version) {
        job->answer = CVM_ANSWER_CONFLICT;
        return 0;
    }
    if (job->value)
        return put_value(store, txn, job, &key);
    return rc ? 0 : mdb_del(txn, store->env->dbs[VALUES], &key, NULL);
}

/* Whether a write would succeed is known by one. */
int run_ready(struct store *store, MDB_txn *txn, struct job *job)
{
    int64_t number;
    (void)job;
    return sequence_next(store, txn, &number);
}
