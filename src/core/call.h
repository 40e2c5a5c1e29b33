/* Calls of the store's and the platform's verbs. Each starts op, whose done() runs on the loop once
 * the backend has completed it; what it is handed is borrowed until then. A backend that is closed
 * already is not called: op completes with UNAVAILABLE. */
#ifndef CVM_CORE_CALL_H
#define CVM_CORE_CALL_H

#include "op.h"

typedef void (*cvm_op_done)(cvm_op_t *op);

void cvm_store_ready(cvm_t *cvm, cvm_op_t *op, cvm_op_done done);
void cvm_store_get(cvm_t *cvm, cvm_op_t *op, const char *device_uid, cvm_op_done done);
void cvm_store_get_certificates(
    cvm_t *cvm, cvm_op_t *op, const char *device_uid, uint32_t limit, cvm_op_done done);
void cvm_store_swap(cvm_t *cvm, cvm_op_t *op, const cvm_change_t *change, cvm_op_done done);
void cvm_store_remove(cvm_t *cvm, cvm_op_t *op, const cvm_change_t *change, cvm_op_done done);
void cvm_store_load(cvm_t *cvm, cvm_op_t *op, const cvm_loading_t *loading, cvm_op_done done);
/* The store has it: cvm->store.find isn't NULL. */
void cvm_store_find(
    cvm_t *cvm, cvm_op_t *op, cvm_find_by_t by, const char *value, cvm_op_done done);
/* Likewise. */
void cvm_store_check_page(cvm_t *cvm, cvm_op_t *op, const char *cursor, cvm_op_done done);
void cvm_store_now(cvm_t *cvm, cvm_op_t *op, cvm_op_done done);
void cvm_store_scan(cvm_t *cvm, cvm_op_t *op, cvm_scan_t what, const char *cursor,
    int64_t before_ms, uint32_t limit, cvm_op_done done);
void cvm_store_backup(cvm_t *cvm, cvm_op_t *op, const char *path, cvm_op_done done);
void cvm_store_meta_get(cvm_t *cvm, cvm_op_t *op, const char *name, cvm_op_done done);
void cvm_store_meta_put(cvm_t *cvm, cvm_op_t *op, const char *name, int64_t version,
    const char *wanted, cvm_op_done done);

/* A step of the platform's, or an undo; one that it does not offer is done at once. call: the name
 * in metrics and messages. key: what create_certificate certifies, or NULL. */
void cvm_platform_step(cvm_t *cvm, cvm_op_t *op, cvm_step_fn step, const char *call,
    const cvm_record_t *device, const cvm_record_t *certificate, struct cvm_key *key,
    cvm_op_done done);
void cvm_platform_reload(cvm_t *cvm, cvm_op_t *op, cvm_op_done done);
void cvm_platform_find_lost(cvm_t *cvm, cvm_op_t *op, cvm_op_done done);
void cvm_platform_ready(cvm_t *cvm, cvm_op_t *op, cvm_op_done done);

/* The most certificates of a device that are worked with: those that are not revoked come first,
 * and there are few of them. */
#define CVM_MOST_CERTIFICATES 64
/* Takes the certificate of that id out of what get_certificates answered for the device; makes one
 * up if its row is gone, since the lease that names it may lead to it alone. NULL without memory.
 */
cvm_record_t *cvm_take_leased(cvm_op_t *op, const char *certificate_id, const char *device_uid);
/* Asks a platform that has find_by_key for what was made for the device and that key, in a lease
 * that ended, or ends, then. The record that it is handed, which the caller frees once it is
 * answered. NULL without memory: then nothing is asked. */
cvm_record_t *cvm_platform_find_by_key(cvm_t *cvm, cvm_op_t *op, const cvm_record_t *device,
    const char *key_sha256, int64_t lease_until_ms, cvm_op_done done);
/* Takes what find_by_key answered for a device, complete and pending. NULL: then the operation's
 * answer says why, NOT_FOUND if there is none (what the device's record has already is none that is
 * looked for), BROKEN if it is of no use. */
cvm_record_t *cvm_take_found(
    cvm_op_t *op, const cvm_record_t *device, const char *device_uid, const char *key_sha256);
/* 1 if there may be more that are not revoked than get_certificates answered with that limit. */
int32_t cvm_lacks_certificates(const cvm_op_t *op);

#define CVM_GOES_ROUND "the store's scan goes round"

/* Where a scan has come to; all zero before its first page. */
struct cvm_paging {
    char cursor[CVM_CURSOR_SIZE]; /* of the next page */
    char seen[CVM_CURSOR_SIZE];   /* an earlier one */
    uint32_t pages;
};

/* Takes the cursor of a page that was answered. 1 if there is another page, 0 if it was the last,
 * -1 if the scan goes round: then it is over too. */
int32_t cvm_paging_next(struct cvm_paging *paging, const cvm_op_t *op);

#endif
