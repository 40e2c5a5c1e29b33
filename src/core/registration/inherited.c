/* What another system left: which of it counts, and as what. */
#include "inherited.h"

#include <string.h>

#include "certificate.h"
#include "instance.h"
#include "record.h"

int32_t cvm_may_inherit(const cvm_t *cvm, const cvm_record_t *device, uint32_t row_count)
{
    return cvm->platform.find_certificates && !row_count &&
           !*cvm_record_text(device, CVM_D_CERTIFICATE_ID) &&
           (cvm_record_number(device, CVM_D_IS_REGISTERED) ||
               *cvm_record_text(device, CVM_D_THING_NAME));
}

void cvm_inherit_ask(cvm_t *cvm, cvm_op_t *op, const cvm_record_t *device, cvm_op_done done)
{
    cvm_platform_step(
        cvm, op, cvm->platform.find_certificates, "find_certificates", device, NULL, NULL, done);
}

static int32_t is_newer(const cvm_record_t *a, const cvm_record_t *b)
{
    return cvm_record_number(a, CVM_C_NOT_BEFORE) > cvm_record_number(b, CVM_C_NOT_BEFORE);
}

/* The newest that is accepted comes first, and is the current one; nobody knows which of the others
 * the device works with, so they live on. 0, or -1 without memory. */
static int32_t set_states(cvm_record_t **list, uint32_t count)
{
    uint32_t current = count;
    int32_t failed = 0;
    for (uint32_t i = 0; i < count; i++)
        if (cvm_record_is_state(list[i], "current") &&
            (current == count || is_newer(list[i], list[current])))
            current = i;
    for (uint32_t i = 0; i < count && !failed; i++)
        if (i != current)
            failed = cvm_record_set_state(
                list[i], "retiring", "superseded", cvm_record_number(list[i], CVM_C_NOT_AFTER));
    if (current < count) {
        cvm_record_t *first = list[0];
        list[0] = list[current];
        list[current] = first;
    }
    return failed ? -1 : 0;
}

static int32_t is_listed(cvm_record_t *const *list, uint32_t count, const cvm_record_t *certificate)
{
    const char *id = cvm_record_text(certificate, CVM_C_CERTIFICATE_ID);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(cvm_record_text(list[i], CVM_C_CERTIFICATE_ID), id) == 0)
            return 1;
    return 0;
}

int32_t cvm_inherit_take(cvm_op_t *op, const char *device_uid, cvm_record_t **list, uint32_t most)
{
    uint32_t count = 0;
    int32_t failed = 0;
    for (uint32_t i = 0; i < op->record_count && !failed; i++) {
        cvm_record_t *found = cvm_op_take(op, i);
        if (cvm_record_is_state(found, "revoked") || is_listed(list, count, found)) {
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
    if (!failed && !set_states(list, count))
        return (int32_t)count;
    while (count)
        cvm_record_free(list[--count]);
    return -1;
}
