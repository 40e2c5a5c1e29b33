/* Records. A value is a text or a number, as the field tables in plugin.h say. */
#include "record.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

struct field {
    const char *name;
    uint32_t kind, longest;
};

#define ROW(id, name, kind, longest) {#name, CVM_FIELD_##kind, longest},
static const struct field DEVICE_FIELDS[] = {CVM_DEVICE_FIELDS(ROW)};
static const struct field CERTIFICATE_FIELDS[] = {CVM_CERTIFICATE_FIELDS(ROW)};
static const struct field VALUE_FIELDS[] = {CVM_VALUE_FIELDS(ROW)};
#undef ROW

static const struct {
    const struct field *fields;
    uint32_t count;
} KINDS[] = {
    [CVM_RECORD_DEVICE] = {DEVICE_FIELDS, CVM_DEVICE_FIELD_COUNT},
    [CVM_RECORD_CERTIFICATE] = {CERTIFICATE_FIELDS, CVM_CERTIFICATE_FIELD_COUNT},
    [CVM_RECORD_VALUE] = {VALUE_FIELDS, CVM_VALUE_FIELD_COUNT},
};

union value {
    char *text;
    int64_t number;
};

struct cvm_record_s {
    cvm_record_kind_t kind;
    union value values[];
};

/* The field's row if the record has it and it is of that kind. */
static const struct field *field_of(const cvm_record_t *record, uint32_t field, uint32_t kind)
{
    if (!record || field >= KINDS[record->kind].count)
        return NULL;
    const struct field *row = &KINDS[record->kind].fields[field];
    return row->kind == kind ? row : NULL;
}

static const struct field *field_row(cvm_record_kind_t kind, uint32_t field)
{
    return field < cvm_field_count(kind) ? &KINDS[kind].fields[field] : NULL;
}

uint32_t cvm_field_count(cvm_record_kind_t kind)
{
    return (uint32_t)kind < sizeof KINDS / sizeof KINDS[0] ? KINDS[kind].count : 0;
}

const char *cvm_field_name(cvm_record_kind_t kind, uint32_t field)
{
    const struct field *row = field_row(kind, field);
    return row ? row->name : NULL;
}

cvm_field_kind_t cvm_field_kind(cvm_record_kind_t kind, uint32_t field)
{
    const struct field *row = field_row(kind, field);
    return row ? (cvm_field_kind_t)row->kind : CVM_FIELD_TEXT;
}

uint32_t cvm_field_longest(cvm_record_kind_t kind, uint32_t field)
{
    const struct field *row = field_row(kind, field);
    return row ? row->longest : 0;
}

cvm_record_t *cvm_record_new(cvm_record_kind_t kind)
{
    if (!cvm_field_count(kind))
        return NULL;
    cvm_record_t *record = calloc(1, sizeof *record + KINDS[kind].count * sizeof record->values[0]);
    if (record)
        record->kind = kind;
    return record;
}

cvm_record_t *cvm_record_copy(const cvm_record_t *record)
{
    cvm_record_t *copy = cvm_record_new(record->kind);
    for (uint32_t i = 0; copy && i < KINDS[record->kind].count; i++) {
        if (KINDS[record->kind].fields[i].kind == CVM_FIELD_NUMBER) {
            copy->values[i].number = record->values[i].number;
        } else if (record->values[i].text && cvm_record_set_text(copy, i, record->values[i].text)) {
            cvm_record_free(copy);
            return NULL;
        }
    }
    return copy;
}

void cvm_record_free(cvm_record_t *record)
{
    if (!record)
        return;
    for (uint32_t i = 0; i < KINDS[record->kind].count; i++)
        if (KINDS[record->kind].fields[i].kind == CVM_FIELD_TEXT)
            cvm_secret_free_text(record->values[i].text);
    free(record);
}

const char *cvm_record_text(const cvm_record_t *record, uint32_t field)
{
    const char *text = field_of(record, field, CVM_FIELD_TEXT) ? record->values[field].text : NULL;
    return text ? text : "";
}

int64_t cvm_record_number(const cvm_record_t *record, uint32_t field)
{
    return field_of(record, field, CVM_FIELD_NUMBER) ? record->values[field].number : 0;
}

int32_t cvm_record_set_text(cvm_record_t *record, uint32_t field, const char *value)
{
    const struct field *row = field_of(record, field, CVM_FIELD_TEXT);
    if (!row)
        return -1;
    char *copy = NULL;
    if (value && *value) {
        size_t length = strlen(value);
        if (length > row->longest || !(copy = malloc(length + 1)))
            return -1;
        memcpy(copy, value, length + 1);
    }
    cvm_secret_free_text(record->values[field].text);
    record->values[field].text = copy;
    return 0;
}

int32_t cvm_record_set_number(cvm_record_t *record, uint32_t field, int64_t value)
{
    if (!field_of(record, field, CVM_FIELD_NUMBER))
        return -1;
    record->values[field].number = value;
    return 0;
}

int32_t cvm_record_set_state(
    cvm_record_t *certificate, const char *state, const char *reason, int64_t revoke_after_ms)
{
    return cvm_record_set_text(certificate, CVM_C_STATE, state) ||
                   cvm_record_set_text(certificate, CVM_C_REASON, reason) ||
                   cvm_record_set_number(certificate, CVM_C_REVOKE_AFTER, revoke_after_ms)
               ? -1
               : 0;
}

int32_t cvm_record_set_lease(cvm_record_t *device, const char *owner, int64_t until_ms,
    const char *public_key_sha256, const char *certificate_id)
{
    return cvm_record_set_text(device, CVM_D_LEASE_OWNER, owner) ||
                   cvm_record_set_number(device, CVM_D_LEASE_UNTIL, until_ms) ||
                   cvm_record_set_text(device, CVM_D_LEASE_PUBLIC_KEY_SHA256, public_key_sha256) ||
                   cvm_record_set_text(device, CVM_D_LEASE_CERTIFICATE_ID, certificate_id)
               ? -1
               : 0;
}

int32_t cvm_record_says(const cvm_record_t *record, uint32_t field, const char *text)
{
    return strcmp(cvm_record_text(record, field), text) == 0;
}

int32_t cvm_record_is_state(const cvm_record_t *certificate, const char *state)
{
    return cvm_record_says(certificate, CVM_C_STATE, state);
}
