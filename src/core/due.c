/* What is due, and how it is carried out: the platform does it, then the record says so. */
#include "due.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/clock.h"
#include "base/hash.h"
#include "call.h"
#include "instance.h"
#include "record.h"
#include "registration/again.h"

struct due {
    cvm_op_t op;
    const struct cvm_due_kind *kind;
    cvm_due_done done;
    void *argument;
    cvm_record_t *record, *wanted, *certificate;
    cvm_record_t *left, *probe; /* of a lease: what it left, and what is looked for by its key */
    const cvm_record_t *changed;
    cvm_change_t change;
    struct due *next, **link; /* of the suspensions that run; NULL: not one of them */
    struct due_waiter *waiters;
};

struct due_waiter {
    struct due_waiter *next;
    void (*function)(void *argument);
    void *argument;
};

static void end_lease(struct due *due);
static void revoke(struct due *due);
static void suspend(struct due *due);
static void report_lease(const struct due *due);
static void report_revoked(const struct due *due);
static void report_suspended(const struct due *due);

static int32_t is_lease_due(const cvm_record_t *device, int64_t before_ms)
{
    return (*cvm_record_text(device, CVM_D_LEASE_OWNER) ||
               *cvm_record_text(device, CVM_D_LEASE_CERTIFICATE_ID)) &&
           cvm_record_number(device, CVM_D_LEASE_UNTIL) <= before_ms;
}

static int32_t is_retirement_due(const cvm_record_t *certificate, int64_t before_ms)
{
    return cvm_record_is_state(certificate, "retiring") &&
           cvm_record_number(certificate, CVM_C_REVOKE_AFTER) <= before_ms;
}

static int32_t is_suspension_due(const cvm_record_t *device, int64_t before_ms)
{
    (void)before_ms;
    return *cvm_record_text(device, CVM_D_CERTIFICATE_ID) &&
           cvm_record_number(device, CVM_D_IS_SUSPENDED) ==
               cvm_record_number(device, CVM_D_IS_ENABLED);
}

/* clang-format off */
const struct cvm_due_kind CVM_DUE_KINDS[DUE_KIND_COUNT] = {
    [DUE_LEASE] = {CVM_SCAN_ENDED_LEASES, 1, 1, CVM_LEASE_MS, 1, is_lease_due, end_lease, report_lease},
    [DUE_RETIREMENT] = {CVM_SCAN_DUE, 0, 0, 0, 0, is_retirement_due, revoke, report_revoked},
    [DUE_SUSPENSION] = {CVM_SCAN_UNSUSPENDED, 0, 1, 0, 0, is_suspension_due, suspend, report_suspended},
};
/* clang-format on */

/* --- One of them ------------------------------------------------------------------------------ */

static const char *uid_of(const struct due *due)
{
    return cvm_record_text(due->record, due->kind->is_device ? CVM_D_DEVICE_UID : CVM_C_DEVICE_UID);
}

const char *cvm_due_name(const struct cvm_due_kind *kind, const cvm_record_t *record)
{
    return cvm_record_text(record, kind->is_device ? CVM_D_DEVICE_UID : CVM_C_CERTIFICATE_ID);
}

/* --- Suspensions that run --------------------------------------------------------------------- */

static struct due **running_list(cvm_t *cvm, const char *name)
{
    return &cvm->suspending[(cvm_hash(name) >> 32) % CVM_SUSPENDING];
}

static struct due *running_find(cvm_t *cvm, const struct cvm_due_kind *kind, const char *name)
{
    struct due *due = kind == &CVM_DUE_KINDS[DUE_SUSPENSION] ? *running_list(cvm, name) : NULL;
    while (due && strcmp(cvm_due_name(kind, due->record), name) != 0)
        due = due->next;
    return due;
}

int32_t cvm_due_is_running(cvm_t *cvm, const struct cvm_due_kind *kind, const char *name)
{
    return running_find(cvm, kind, name) != NULL;
}

int32_t cvm_due_wait(cvm_t *cvm, const struct cvm_due_kind *kind, const char *name,
    void (*function)(void *argument), void *argument)
{
    struct due *due = running_find(cvm, kind, name);
    struct due_waiter *waiter = due ? malloc(sizeof *waiter) : NULL;
    if (!waiter)
        return 0; /* without memory it goes on beside the other */
    *waiter = (struct due_waiter){due->waiters, function, argument};
    due->waiters = waiter;
    return 1;
}

static void running_enter(struct due *due)
{
    if (due->kind != &CVM_DUE_KINDS[DUE_SUSPENSION])
        return;
    due->link = running_list(due->op.cvm, cvm_due_name(due->kind, due->record));
    due->next = *due->link;
    if (due->next)
        due->next->link = &due->next;
    *due->link = due;
}

static void running_leave(struct due *due)
{
    if (!due->link)
        return;
    *due->link = due->next;
    if (due->next)
        due->next->link = due->link;
}

static void tell_waiters(struct due_waiter *waiter)
{
    while (waiter) {
        struct due_waiter *next = waiter->next;
        waiter->function(waiter->argument);
        free(waiter);
        waiter = next;
    }
}

/* --- Its end ---------------------------------------------------------------------------------- */

static void finish(struct due *due, const cvm_error_t *error)
{
    struct due_waiter *waiters = due->waiters;
    running_leave(due);
    due->done(due->argument, cvm_due_name(due->kind, due->record), error);
    cvm_op_clear(&due->op);
    cvm_record_free(due->record);
    cvm_record_free(due->wanted);
    cvm_record_free(due->certificate);
    cvm_record_free(due->left);
    cvm_record_free(due->probe);
    free(due);
    tell_waiters(waiters);
}

static void give_up(struct due *due, enum cvm_reason reason, const char *text)
{
    cvm_error_t *error =
        cvm_error_new(reason, "%s: %s", due->op.call ? due->op.call : "reconcile", text);
    finish(due, error);
    cvm_error_free(error);
}

static void op_failed(struct due *due)
{
    give_up(due, cvm_op_reason(&due->op), *due->op.text ? due->op.text : "failed");
}

static void without_memory(struct due *due)
{
    give_up(due, REASON_internal, "out of memory");
}

static void recorded(cvm_op_t *op)
{
    struct due *due = CVM_CONTAINER(op, struct due, op);
    if (op->answer == CVM_ANSWER_OK)
        due->kind->report(due);
    /* What somebody else has changed is looked at again by a later pass; what somebody else has
     * written down is reported by him. */
    if (op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_CONFLICT ||
        op->answer == CVM_ANSWER_NOT_FOUND)
        finish(due, NULL);
    else
        op_failed(due);
}

/* The platform has done it. */
static int32_t is_carried_out(const struct due *due)
{
    return due->op.answer == CVM_ANSWER_OK || due->op.answer == CVM_ANSWER_NOT_FOUND;
}

static void write_down(struct due *due)
{
    cvm_store_swap(due->op.cvm, &due->op, &due->change, recorded);
}

void cvm_due_carry_out(cvm_t *cvm, const struct cvm_due_kind *kind, cvm_record_t *record,
    cvm_due_done done, void *argument)
{
    struct due *due = calloc(1, sizeof *due);
    if (!due) {
        done(argument, "", cvm_error_out_of_memory());
        cvm_record_free(record);
        return;
    }
    due->op.cvm = cvm;
    due->kind = kind;
    due->record = record;
    due->done = done;
    due->argument = argument;
    running_enter(due);
    kind->run(due);
}

/* --- Retirement ------------------------------------------------------------------------------- */

static void revoked(cvm_op_t *op)
{
    struct due *due = CVM_CONTAINER(op, struct due, op);
    if (!is_carried_out(due)) {
        op_failed(due);
    } else if (cvm_record_set_text(due->record, CVM_C_STATE, "revoked") ||
               cvm_record_set_number(due->record, CVM_C_REVOKED_AT, cvm_wall_ms(due->op.cvm))) {
        without_memory(due);
    } else {
        due->changed = due->record;
        due->change = cvm_change_of(NULL, NULL, &due->changed, 1);
        write_down(due);
    }
}

static void revoke(struct due *due)
{
    cvm_t *cvm = due->op.cvm;
    cvm_platform_step(
        cvm, &due->op, cvm->platform.revoke, "revoke", NULL, due->record, NULL, revoked);
}

static void report_revoked(const struct due *due)
{
    cvm_t *cvm = due->op.cvm;
    const char *reason = cvm_record_text(due->record, CVM_C_REASON);
    cvm_metrics_add(cvm->metrics, METRIC_CERTIFICATES_REVOKED, &reason, 1);
    cvm_audit(cvm, "certificate_revoked", uid_of(due), NULL, NULL,
        cvm_record_text(due->record, CVM_C_CERTIFICATE_ID), reason);
}

/* --- Suspension ------------------------------------------------------------------------------- */

static void suspended(cvm_op_t *op)
{
    struct due *due = CVM_CONTAINER(op, struct due, op);
    if (!is_carried_out(due)) {
        op_failed(due);
        return;
    }
    due->change = cvm_change_of(due->record, due->wanted, NULL, 0);
    write_down(due);
}

static void suspend(struct due *due)
{
    cvm_t *cvm = due->op.cvm;
    int64_t is_suspended = !cvm_record_number(due->record, CVM_D_IS_ENABLED);
    due->wanted = cvm_record_copy(due->record);
    if (!due->wanted || cvm_record_set_number(due->wanted, CVM_D_IS_SUSPENDED, is_suspended))
        without_memory(due);
    else
        cvm_platform_step(
            cvm, &due->op, cvm->platform.suspend, "suspend", due->wanted, NULL, NULL, suspended);
}

static void report_suspended(const struct due *due)
{
    cvm_audit(due->op.cvm,
        cvm_record_number(due->wanted, CVM_D_IS_SUSPENDED) ? "certificates_suspended"
                                                           : "certificates_resumed",
        uid_of(due), NULL, NULL, NULL, NULL);
}

/* --- Leases whose owners are gone ------------------------------------------------------------- */

/* What the owner recorded may be active by now: it retires, so that the same pass revokes it. 0, or
 * -1 without memory. */
static int32_t retire_left(struct due *due)
{
    cvm_record_t *left = due->left;
    due->left = NULL;
    if (cvm_record_is_state(left, "revoked")) {
        cvm_record_free(left);
        left = NULL;
    }
    due->changed = due->certificate = left;
    due->change = cvm_change_of(due->record, due->wanted, &due->changed, left != NULL);
    return left ? cvm_record_set_state(left, "retiring", "cessationOfOperation", CVM_AT_ONCE) : 0;
}

static void write_lease_ended(struct due *due)
{
    due->wanted = cvm_record_copy(due->record);
    if (!due->wanted || cvm_record_set_lease(due->wanted, NULL, 0, NULL, NULL) || retire_left(due))
        without_memory(due);
    else
        write_down(due);
}

/* The platform knows whether its owner had a certificate made that it did not come to record. */
static void found_left(cvm_op_t *op)
{
    struct due *due = CVM_CONTAINER(op, struct due, op);
    const char *key = cvm_record_text(due->record, CVM_D_LEASE_PUBLIC_KEY_SHA256);
    due->left = cvm_take_found(op, due->record, uid_of(due), key);
    if (due->left || op->answer == CVM_ANSWER_NOT_FOUND)
        write_lease_ended(due);
    else
        op_failed(due);
}

static void find_left(struct due *due)
{
    const char *key = cvm_record_text(due->record, CVM_D_LEASE_PUBLIC_KEY_SHA256);
    due->probe = cvm_platform_find_by_key(due->op.cvm, &due->op, due->record, key,
        cvm_record_number(due->record, CVM_D_LEASE_UNTIL), found_left);
    if (!due->probe)
        without_memory(due);
}

static void got_left(cvm_op_t *op)
{
    struct due *due = CVM_CONTAINER(op, struct due, op);
    if (op->answer != CVM_ANSWER_OK) {
        op_failed(due);
        return;
    }
    if (cvm_lacks_certificates(op)) {
        give_up(due, REASON_conflict, "it has too many certificates that are not revoked");
        return;
    }
    const char *id = cvm_record_text(due->record, CVM_D_LEASE_CERTIFICATE_ID);
    if (*id && !(due->left = cvm_take_leased(op, id, uid_of(due))))
        without_memory(due);
    else if (!*id && *cvm_record_text(due->record, CVM_D_LEASE_PUBLIC_KEY_SHA256) &&
             op->cvm->platform.find_by_key)
        find_left(due);
    else
        write_lease_ended(due);
}

static void end_lease(struct due *due)
{
    cvm_store_get_certificates(due->op.cvm, &due->op, uid_of(due), CVM_MOST_CERTIFICATES, got_left);
}

static void report_lease(const struct due *due)
{
    cvm_audit(due->op.cvm, "lease_ended", uid_of(due), NULL, NULL,
        cvm_record_text(due->certificate, CVM_C_CERTIFICATE_ID),
        "a registration did not end, and left this");
}
