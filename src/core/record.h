/* Devices and certificates as rows of named fields: what stores read and write. */
#ifndef CVM_CORE_RECORD_H
#define CVM_CORE_RECORD_H

#include "cvm/plugin.h"

cvm_record_t *cvm_record_new(cvm_record_kind_t kind);
cvm_record_t *cvm_record_copy(const cvm_record_t *record);
/* Wipes and frees. NULL is fine. */
void cvm_record_free(cvm_record_t *record);
/* NULL reads like a record in which nothing is set. */
const char *cvm_record_text(const cvm_record_t *record, uint32_t field);
int64_t cvm_record_number(const cvm_record_t *record, uint32_t field);
/* 0, or -1 when it is too long, of the wrong kind, or memory is short. */
int32_t cvm_record_set_text(cvm_record_t *record, uint32_t field, const char *value);
int32_t cvm_record_set_number(cvm_record_t *record, uint32_t field, int64_t value);

#endif
