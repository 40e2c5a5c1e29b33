/* What another system left: which of it counts, and as what. */
#include "inherited.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "certificate.h"
#include "instance.h"
#include "record.h"

int32_t cvm_has_thing(const cvm_record_t *device)
{
    return cvm_record_number(device, CVM_D_IS_REGISTERED) ||
           *cvm_record_text(device, CVM_D_THING_NAME);
}

/* Whoever registers a device here writes one time into both. */
static int32_t is_registered_elsewhere(const cvm_record_t *device)
{
    const char *on = cvm_record_text(device, CVM_D_REGISTERED_ON);
    int64_t on_ms = cvm_read_utc(on, "YYYY-MM-DDThh:mm:ss");
    return *on &&
           (on_ms < 0 || on_ms / 1000 != cvm_record_number(device, CVM_D_LAST_ISSUED_AT) / 1000);
}

int32_t cvm_may_inherit(const cvm_t *cvm, const cvm_record_t *device, uint32_t row_count)
{
    int32_t has_none = !row_count && !*cvm_record_text(device, CVM_D_CERTIFICATE_ID);
    return cvm->platform.find_certificates && cvm_has_thing(device) &&
           (has_none || is_registered_elsewhere(device));
}

/* What the platform answers is compared with the store's rows, one by one: a certificate may hang
 * on the things of several devices, and the one that has its row keeps it. */
struct asking {
    cvm_op_t op, find;
    cvm_op_t *asked_by;
    cvm_op_done done;
    cvm_record_t *const *rows; /* the device's own */
    uint32_t row_count;
    char device_uid[129], owner_uid[129];
    uint32_t at;
};

static void asking_finish(struct asking *asking)
{
    cvm_op_t *op = asking->asked_by;
    cvm_op_done done = asking->done;
    cvm_op_take_over(op, &asking->op);
    cvm_op_clear(&asking->find);
    free(asking);
    done(op);
}

static void asking_leave_out_rows(struct asking *asking)
{
    cvm_op_t *op = &asking->op;
    for (uint32_t i = 0; i < op->record_count; i++)
        if (op->records[i] &&
            cvm_certificate_is_listed(asking->rows, asking->row_count, op->records[i]))
            cvm_record_free(cvm_op_take(op, i));
}

/* A store that can't find what it holds can't tell either. */
static void asking_unchecked(cvm_op_t *op)
{
    struct asking *asking = CVM_CONTAINER(op, struct asking, op);
    asking_leave_out_rows(asking);
    asking_finish(asking);
}

static void asking_found(cvm_op_t *op);

/* It was left out, or is none any more. */
static int32_t is_settled(const cvm_record_t *certificate)
{
    return !certificate || cvm_record_is_state(certificate, "revoked");
}

static void asking_go_on(struct asking *asking)
{
    cvm_op_t *op = &asking->op;
    while (op->answer == CVM_ANSWER_OK && asking->at < op->record_count &&
           is_settled(op->records[asking->at]))
        asking->at++;
    if (op->answer != CVM_ANSWER_OK || asking->at == op->record_count) {
        asking_finish(asking);
        return;
    }
    cvm_record_t *certificate = op->records[asking->at];
    if (!cvm_certificate_complete(certificate)) {
        cvm_store_find(op->cvm, &asking->find, CVM_FIND_CERTIFICATE,
            cvm_record_text(certificate, CVM_C_CERTIFICATE_ID), asking_found);
        return;
    }
    op->answer = CVM_ANSWER_BROKEN;
    (void)snprintf(op->text, sizeof op->text, "what hangs on the thing can't be read");
    asking_finish(asking);
}

/* The store could not say whose it is: nothing is known then. 1 if it could. */
static int32_t asking_succeeded(struct asking *asking)
{
    cvm_answer_t answer = asking->find.answer;
    if (answer == CVM_ANSWER_OK || answer == CVM_ANSWER_NOT_FOUND)
        return 1;
    cvm_op_take_over(&asking->op, &asking->find);
    asking_finish(asking);
    return 0;
}

/* The one that it is said to be: does it have the row? */
static void asking_got_rows(cvm_op_t *op)
{
    struct asking *asking = CVM_CONTAINER(op, struct asking, find);
    if (!asking_succeeded(asking))
        return;
    int32_t is_theirs = op->record_count == CVM_MOST_CERTIFICATES; /* it may be beyond those */
    if (cvm_certificate_is_listed(op->records, op->record_count, asking->op.records[asking->at]) ||
        is_theirs)
        cvm_record_free(cvm_op_take(&asking->op, asking->at));
    asking->at++;
    asking_go_on(asking);
}

/* What the store finds is a hint. */
static void asking_found(cvm_op_t *op)
{
    struct asking *asking = CVM_CONTAINER(op, struct asking, find);
    if (!asking_succeeded(asking))
        return;
    const char *uid = op->answer == CVM_ANSWER_OK ? op->outs[CVM_OUT_VALUE] : NULL;
    if (uid && strcmp(uid, asking->device_uid) != 0) {
        (void)snprintf(asking->owner_uid, sizeof asking->owner_uid, "%s", uid);
        cvm_store_get_certificates(
            op->cvm, op, asking->owner_uid, CVM_MOST_CERTIFICATES, asking_got_rows);
        return;
    }
    asking->at++;
    asking_go_on(asking);
}

static void asking_answered(cvm_op_t *op)
{
    struct asking *asking = CVM_CONTAINER(op, struct asking, op);
    asking_leave_out_rows(asking);
    asking_go_on(asking);
}

void cvm_inherit_ask(cvm_t *cvm, cvm_op_t *op, const cvm_record_t *device,
    cvm_record_t *const *rows, uint32_t row_count, cvm_op_done done)
{
    struct asking *asking = calloc(1, sizeof *asking);
    if (!asking) {
        cvm_op_start(op, cvm, SIDE_PLATFORM, "find_certificates", done);
        CVM_HOST.complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
        return;
    }
    asking->asked_by = op;
    asking->done = done;
    asking->rows = rows;
    asking->row_count = row_count;
    asking->op.until_ms = asking->find.until_ms = op->until_ms;
    (void)snprintf(asking->device_uid, sizeof asking->device_uid, "%s",
        cvm_record_text(device, CVM_D_DEVICE_UID));
    cvm_platform_step(cvm, &asking->op, cvm->platform.find_certificates, "find_certificates",
        device, NULL, NULL, cvm->store.find ? asking_answered : asking_unchecked);
}

static int32_t is_newer(const cvm_record_t *a, const cvm_record_t *b)
{
    return cvm_record_number(a, CVM_C_NOT_BEFORE) > cvm_record_number(b, CVM_C_NOT_BEFORE);
}

/* Nobody knows whether the device works with it, so it lives on; a revoked one has none that does.
 */
static int32_t retire(cvm_record_t *found, const cvm_record_t *device)
{
    return cvm_record_number(device, CVM_D_IS_REVOKED)
               ? cvm_record_set_state(found, "retiring", "unspecified", CVM_AT_ONCE)
               : cvm_record_set_state(
                     found, "retiring", "superseded", cvm_record_number(found, CVM_C_NOT_AFTER));
}

/* The newest that is accepted comes first, and is the current one, unless the device has one or is
 * revoked. 0, or -1 without memory. */
static int32_t set_states(cvm_record_t **list, uint32_t count, const cvm_record_t *device)
{
    int32_t gets_current = !*cvm_record_text(device, CVM_D_CERTIFICATE_ID) &&
                           !cvm_record_number(device, CVM_D_IS_REVOKED);
    uint32_t current = count;
    int32_t failed = 0;
    for (uint32_t i = 0; i < count && gets_current; i++)
        if (cvm_record_is_state(list[i], "current") &&
            (current == count || is_newer(list[i], list[current])))
            current = i;
    for (uint32_t i = 0; i < count && !failed; i++)
        if (i != current)
            failed = retire(list[i], device);
    if (current < count) {
        cvm_record_t *first = list[0];
        list[0] = list[current];
        list[current] = first;
    }
    return failed ? -1 : 0;
}

int32_t cvm_inherit_take(
    cvm_op_t *op, const cvm_record_t *device, cvm_record_t **list, uint32_t most)
{
    const char *device_uid = cvm_record_text(device, CVM_D_DEVICE_UID);
    uint32_t count = 0;
    int32_t failed = 0;
    for (uint32_t i = 0; i < op->record_count && !failed; i++) {
        cvm_record_t *found = cvm_op_take(op, i);
        if (!found || cvm_record_is_state(found, "revoked") ||
            cvm_certificate_is_listed(list, count, found)) {
            cvm_record_free(found);
            continue;
        }
        failed = count == most || cvm_certificate_complete(found) ||
                 cvm_record_set_text(found, CVM_C_DEVICE_UID, device_uid);
        if (count < most)
            list[count++] = found;
        else
            cvm_record_free(found);
    }
    if (!failed && !set_states(list, count, device))
        return (int32_t)count;
    while (count)
        cvm_record_free(list[--count]);
    return -1;
}
