/* Devices and certificates as rows of named fields: what stores read and write. */
#ifndef CVM_CORE_RECORD_H
#define CVM_CORE_RECORD_H

#include "cvm/plugin.h"

cvm_record_t *cvm_record_new(cvm_record_kind_t kind);
cvm_record_t *cvm_record_copy(const cvm_record_t *record);
/* What a kind of record is made of; see plugin.h. */
uint32_t cvm_field_count(cvm_record_kind_t kind);
const char *cvm_field_name(cvm_record_kind_t kind, uint32_t field);
cvm_field_kind_t cvm_field_kind(cvm_record_kind_t kind, uint32_t field);
uint32_t cvm_field_longest(cvm_record_kind_t kind, uint32_t field);
/* Wipes and frees. NULL is fine. */
void cvm_record_free(cvm_record_t *record);
/* NULL reads like a record in which nothing is set. */
const char *cvm_record_text(const cvm_record_t *record, uint32_t field);
int64_t cvm_record_number(const cvm_record_t *record, uint32_t field);
/* 0, or -1 when it is too long, of the wrong kind, or memory is short. */
int32_t cvm_record_set_text(cvm_record_t *record, uint32_t field, const char *value);
int32_t cvm_record_set_number(cvm_record_t *record, uint32_t field, int64_t value);

/* A change of one device's records; see plugin.h. */
static inline cvm_change_t cvm_change_of(const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count)
{
    return (cvm_change_t){sizeof(cvm_change_t), count, as_read, wanted, certificates};
}

/* What several change in the same way; 0 or -1 as above. */
/* A certificate that retires at once: not "now", since the clock may be set back. */
#define CVM_AT_ONCE INT64_C(0)
/* A certificate's way: pending, current, retiring (revoke_after_ms says until when), revoked. */
int32_t cvm_record_set_state(
    cvm_record_t *certificate, const char *state, const char *reason, int64_t revoke_after_ms);
/* A device's lease; all NULL and 0 ends it. */
int32_t cvm_record_set_lease(cvm_record_t *device, const char *owner, int64_t until_ms,
    const char *public_key_sha256, const char *certificate_id);
/* Does the field say that text? */
int32_t cvm_record_says(const cvm_record_t *record, uint32_t field, const char *text);
/* Is it in that state? */
int32_t cvm_record_is_state(const cvm_record_t *certificate, const char *state);

#endif
