/* What is due of one device: a verb waits for it, and neither a pass over the store nor what is due
 * of others may hold it up. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "call.h"
#include "due.h"
#include "instance.h"
#include "record.h"

struct device_due {
    cvm_op_t op;
    cvm_t *cvm;
    char uid[129];
    uint32_t items;     /* in flight; one is held until all are started */
    cvm_error_t *error; /* the first */
    struct cvm_waiter waiter;
};

static void device_due_note(struct device_due *device, const cvm_error_t *error)
{
    if (error && !device->error)
        device->error = cvm_error_new(error->reason, "%s", error->text);
}

static void device_due_item_done(struct device_due *device)
{
    if (--device->items)
        return;
    device->waiter.callback(device->waiter.user_data, device->error);
    cvm_error_free(device->error);
    cvm_op_clear(&device->op);
    free(device);
}

static void device_due_carried_out(void *argument, const char *name, const cvm_error_t *error)
{
    (void)name;
    device_due_note(argument, error);
    device_due_item_done(argument);
}

/* Takes the record. */
static void device_due_start(
    struct device_due *device, const struct cvm_due_kind *kind, cvm_record_t *record)
{
    if (kind->is_outside && !cvm_is_outside(device->cvm)) {
        cvm_record_free(record);
        return;
    }
    if (!record || !kind->is_due(record, cvm_wall_ms(device->cvm) - kind->grace_ms)) {
        cvm_record_free(record);
        return;
    }
    device->items++;
    cvm_due_carry_out(device->cvm, kind, record, device_due_carried_out, device);
}

static void device_due_failed(struct device_due *device)
{
    cvm_error_t *error = cvm_op_error(&device->op);
    device_due_note(device, error);
    cvm_error_free(error);
    device_due_item_done(device);
}

static void device_due_got_certificates(cvm_op_t *op)
{
    struct device_due *device = CVM_CONTAINER(op, struct device_due, op);
    if (op->answer != CVM_ANSWER_OK) {
        device_due_failed(device);
        return;
    }
    for (uint32_t i = 0; i < op->record_count; i++)
        device_due_start(device, &CVM_DUE_KINDS[DUE_RETIREMENT], cvm_op_take(op, i));
    device_due_item_done(device);
}

static void device_due_read_certificates(struct device_due *device)
{
    cvm_store_get_certificates(
        device->cvm, &device->op, device->uid, CVM_MOST_CERTIFICATES, device_due_got_certificates);
}

static void device_due_read(struct device_due *device);

/* A suspension that ran has ended: what the record says now is what counts. */
static void device_due_go_on(void *argument)
{
    device_due_read(argument);
}

/* What an ended lease left retires by that: device and certificates are read after it. */
static void device_due_lease_ended(void *argument, const char *name, const cvm_error_t *error)
{
    (void)name;
    device_due_note(argument, error);
    if (error)
        device_due_read_certificates(argument);
    else
        device_due_read(argument);
}

static void device_due_got_device(cvm_op_t *op)
{
    struct device_due *device = CVM_CONTAINER(op, struct device_due, op);
    const struct cvm_due_kind *lease = &CVM_DUE_KINDS[DUE_LEASE];
    if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND) {
        device_due_failed(device);
        return;
    }
    cvm_record_t *record = cvm_op_take(op, 0); /* NULL: it was removed, and leaves certificates */
    if (record && cvm_is_outside(device->cvm) &&
        lease->is_due(record, cvm_wall_ms(device->cvm) - lease->grace_ms)) {
        cvm_due_carry_out(device->cvm, lease, record, device_due_lease_ended, device);
        return;
    }
    const struct cvm_due_kind *suspension = &CVM_DUE_KINDS[DUE_SUSPENSION];
    if (cvm_due_wait(device->cvm, suspension, device->uid, device_due_go_on, device)) {
        cvm_record_free(record);
        return;
    }
    device_due_start(device, suspension, record);
    device_due_read_certificates(device);
}

static void device_due_read(struct device_due *device)
{
    cvm_store_get(device->cvm, &device->op, device->uid, device_due_got_device);
}

void cvm_due_device(cvm_t *cvm, const char *uid, cvm_done_cb callback, void *user_data)
{
    cvm_error_t *doubt = cvm_is_started(cvm) ? cvm_clock_error(cvm)
                                             : cvm_error_new(REASON_unknown, "the instance stops");
    struct device_due *device = doubt ? NULL : calloc(1, sizeof *device);
    if (!device) {
        callback(user_data, doubt ? doubt : cvm_error_out_of_memory());
        cvm_error_free(doubt);
        return;
    }
    device->cvm = cvm;
    device->items = 1;
    device->waiter = (struct cvm_waiter){callback, user_data};
    (void)snprintf(device->uid, sizeof device->uid, "%s", uid);
    device_due_read(device);
}
