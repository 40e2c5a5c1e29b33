/* What the target has: a copy that was cut short goes on where it was. */
#include <string.h>

#include <openssl/sha.h>

#include "copy.h"

#define PAGE 1000

/* What of a certificate changes, as a number. */
static int64_t look_state_of(const cvm_record_t *certificate)
{
    static const uint32_t TEXTS[] = {CVM_C_STATE, CVM_C_REASON, CVM_C_SUCCESSOR};
    uint8_t digest[SHA256_DIGEST_LENGTH], bytes[256];
    size_t length = 0;
    int64_t numbers[] = {cvm_record_number(certificate, CVM_C_REVOKE_AFTER),
        cvm_record_number(certificate, CVM_C_REVOKED_AT)};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        const char *text = cvm_record_text(certificate, TEXTS[i]);
        size_t size = strlen(text) + 1; /* 8, 24 and 64 at most */
        memcpy(bytes + length, text, size);
        length += size;
    }
    memcpy(bytes + length, numbers, sizeof numbers);
    (void)SHA256(bytes, length + sizeof numbers, digest);
    memcpy(numbers, digest, sizeof numbers[0]);
    return numbers[0];
}

struct copy_map *cvm_copy_map_of(struct copy *copy, cvm_record_kind_t kind)
{
    return kind == CVM_RECORD_DEVICE ? &copy->devices : &copy->certificates;
}

int64_t cvm_copy_value_of(cvm_record_kind_t kind, const cvm_record_t *record)
{
    return kind == CVM_RECORD_DEVICE ? cvm_record_number(record, CVM_D_REVISION)
                                     : look_state_of(record);
}

int32_t cvm_copy_remember(struct copy *copy, cvm_record_kind_t kind, const cvm_record_t *record)
{
    struct copy_row *row =
        cvm_copy_map_add(cvm_copy_map_of(copy, kind), cvm_record_text(record, 0));
    if (!row)
        return -1;
    row->value = cvm_copy_value_of(kind, record);
    row->pass = copy->pass;
    return 0;
}

static void look_page(struct copy *copy, cvm_op_t *op)
{
    for (uint32_t i = 0; i < op->record_count; i++)
        if (cvm_copy_remember(copy, copy->kind, op->records[i])) {
            cvm_copy_fail(copy, cvm_error_out_of_memory());
            return;
        }
    if (!cvm_copy_tell(
            copy, "rows that are there already", cvm_copy_map_of(copy, copy->kind)->count))
        cvm_copy_scan_on(copy, cvm_copy_next);
}

void cvm_copy_look_for_devices(struct copy *copy)
{
    cvm_copy_scan_rows(copy, copy->to, CVM_RECORD_DEVICE, PAGE, look_page);
}

void cvm_copy_look_for_certificates(struct copy *copy)
{
    cvm_copy_scan_rows(copy, copy->to, CVM_RECORD_CERTIFICATE, PAGE, look_page);
}
