/* Calls of the backends' verbs. */
#include "call.h"

#include <stdio.h>
#include <string.h>

#include "certificate.h"
#include "instance.h"
#include "record.h"

/* Starts op; returns the backend to call, or NULL if it is closed: then op is completed. */
static void *start(cvm_t *cvm, cvm_op_t *op, enum cvm_side side, const char *call, cvm_op_done done)
{
    const struct cvm_context_s *context =
        side == SIDE_STORE ? &cvm->store_context : &cvm->platform_context;
    cvm_op_start(op, cvm, side, call, done);
    if (!context->is_closed)
        return context->self;
    CVM_HOST.complete(op, CVM_ANSWER_UNAVAILABLE, "the instance stops");
    return NULL;
}

void cvm_store_ready(cvm_t *cvm, cvm_op_t *op, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "ready", done);
    if (store)
        cvm->store.ready(store, op);
}

void cvm_store_get(cvm_t *cvm, cvm_op_t *op, const char *device_uid, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "get", done);
    if (store)
        cvm->store.get(store, op, device_uid);
}

void cvm_store_get_certificates(
    cvm_t *cvm, cvm_op_t *op, const char *device_uid, uint32_t limit, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "get_certificates", done);
    op->most_records = limit;
    if (store)
        cvm->store.get_certificates(store, op, device_uid, limit);
}

void cvm_store_swap(cvm_t *cvm, cvm_op_t *op, const cvm_change_t *change, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "swap", done);
    if (store)
        cvm->store.swap(store, op, change);
}

void cvm_store_remove(cvm_t *cvm, cvm_op_t *op, const cvm_change_t *change, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "remove", done);
    if (store)
        cvm->store.remove(store, op, change);
}

void cvm_store_load(cvm_t *cvm, cvm_op_t *op, const cvm_loading_t *loading, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "load", done);
    if (store)
        cvm->store.load(store, op, loading);
}

void cvm_store_find(cvm_t *cvm, cvm_op_t *op, cvm_find_by_t by, const char *value, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "find", done);
    if (store && cvm->store.find)
        cvm->store.find(store, op, by, value);
    else if (store)
        CVM_HOST.complete(op, CVM_ANSWER_INVALID, "the store can't find by that");
}

void cvm_store_check_page(cvm_t *cvm, cvm_op_t *op, const char *cursor, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "check", done);
    if (store)
        cvm->store.check(store, op, cursor);
}

void cvm_store_now(cvm_t *cvm, cvm_op_t *op, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "now", done);
    if (store)
        cvm->store.now(store, op);
}

void cvm_store_scan(cvm_t *cvm, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "scan", done);
    op->most_records = limit;
    if (store)
        cvm->store.scan(store, op, what, cursor, before_ms, limit);
}

void cvm_store_backup(cvm_t *cvm, cvm_op_t *op, const char *path, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "backup", done);
    if (store)
        cvm->store.backup(store, op, path);
}

void cvm_store_meta_get(cvm_t *cvm, cvm_op_t *op, const char *name, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "meta_get", done);
    if (store)
        cvm->store.meta_get(store, op, name);
}

void cvm_store_meta_put(cvm_t *cvm, cvm_op_t *op, const char *name, int64_t version,
    const char *wanted, cvm_op_done done)
{
    void *store = start(cvm, op, SIDE_STORE, "meta_put", done);
    int32_t is_too_large =
        strlen(name) > CVM_LONGEST_NAME || (wanted && strlen(wanted) > CVM_LARGEST_VALUE);
    if (store && is_too_large)
        CVM_HOST.complete(op, CVM_ANSWER_INVALID, "the value, or its name, is too long");
    else if (store)
        cvm->store.meta_put(store, op, name, version, wanted);
}

void cvm_platform_step(cvm_t *cvm, cvm_op_t *op, cvm_step_fn step, const char *call,
    const cvm_record_t *device, const cvm_record_t *certificate, struct cvm_key *key,
    cvm_op_done done)
{
    void *platform = start(cvm, op, SIDE_PLATFORM, call, done);
    if (!platform)
        return;
    op->key = key;
    if (step)
        step(platform, op, device, certificate);
    else
        CVM_HOST.complete(op, CVM_ANSWER_OK, NULL);
}

/* A verb without more than its operation, which a platform may not have. */
static void ask(cvm_t *cvm, cvm_op_t *op, void (*verb)(void *platform, cvm_op_t *op),
    const char *call, cvm_op_done done)
{
    void *platform = start(cvm, op, SIDE_PLATFORM, call, done);
    if (platform && verb)
        verb(platform, op);
    else if (platform)
        CVM_HOST.complete(op, CVM_ANSWER_OK, NULL);
}

void cvm_platform_reload(cvm_t *cvm, cvm_op_t *op, cvm_op_done done)
{
    ask(cvm, op, cvm->platform.reload, "reload", done);
}

void cvm_platform_ready(cvm_t *cvm, cvm_op_t *op, cvm_op_done done)
{
    ask(cvm, op, cvm->platform.ready, "ready", done);
}

void cvm_platform_find_lost(cvm_t *cvm, cvm_op_t *op, cvm_op_done done)
{
    ask(cvm, op, cvm->platform.find_lost, "find_lost", done);
}

cvm_record_t *cvm_take_leased(cvm_op_t *op, const char *certificate_id, const char *device_uid)
{
    for (uint32_t i = 0; i < op->record_count; i++)
        if (cvm_record_says(op->records[i], CVM_C_CERTIFICATE_ID, certificate_id))
            return cvm_op_take(op, i);
    cvm_record_t *certificate = cvm_record_new(CVM_RECORD_CERTIFICATE);
    if (certificate && (cvm_record_set_text(certificate, CVM_C_CERTIFICATE_ID, certificate_id) ||
                           cvm_record_set_text(certificate, CVM_C_DEVICE_UID, device_uid))) {
        cvm_record_free(certificate);
        certificate = NULL;
    }
    return certificate;
}

/* A lease may have been taken over, again and again, from one that could not look either: an outage
 * of the platform's lists is an hour or two. */
#define UNSETTLED_MS INT64_C(7200000)

cvm_record_t *cvm_platform_find_by_key(cvm_t *cvm, cvm_op_t *op, const cvm_record_t *device,
    const char *key_sha256, int64_t lease_until_ms, cvm_op_done done)
{
    cvm_record_t *probe = cvm_record_new(CVM_RECORD_CERTIFICATE);
    if (!probe || cvm_record_set_text(probe, CVM_C_PUBLIC_KEY_SHA256, key_sha256) ||
        cvm_record_set_number(probe, CVM_C_NOT_BEFORE, lease_until_ms - UNSETTLED_MS)) {
        cvm_record_free(probe);
        return NULL;
    }
    cvm_platform_step(cvm, op, cvm->platform.find_by_key, "find_by_key", device, probe, NULL, done);
    return probe;
}

cvm_record_t *cvm_take_found(
    cvm_op_t *op, const cvm_record_t *device, const char *device_uid, const char *key_sha256)
{
    if (op->answer != CVM_ANSWER_OK)
        return NULL;
    cvm_record_t *found = cvm_op_take(op, 0);
    if (cvm_certificate_is_of(found, device))
        op->answer = CVM_ANSWER_NOT_FOUND;
    else if (!found || cvm_certificate_found(found, device_uid, key_sha256))
        op->answer = CVM_ANSWER_BROKEN;
    if (op->answer == CVM_ANSWER_OK)
        return found;
    cvm_record_free(found);
    return NULL;
}

int32_t cvm_lacks_certificates(const cvm_op_t *op)
{
    uint32_t count = op->record_count;
    return count >= CVM_MOST_CERTIFICATES && op->records[count - 1] &&
           !cvm_record_is_state(op->records[count - 1], "revoked");
}

/* Brent's: the cursor of each page whose number is a power of two is kept, and met again by a scan
 * that goes round, however long its round is. */
int32_t cvm_paging_next(struct cvm_paging *paging, const cvm_op_t *op)
{
    const char *next = op->outs[CVM_OUT_CURSOR];
    int32_t goes_round = next && strcmp(next, paging->seen) == 0;
    if (!next || goes_round) {
        *paging = (struct cvm_paging){0};
        return goes_round ? -1 : 0;
    }
    (void)snprintf(paging->cursor, sizeof paging->cursor, "%s", next);
    paging->pages++;
    if (!(paging->pages & (paging->pages - 1)))
        memcpy(paging->seen, paging->cursor, sizeof paging->seen);
    return 1;
}
