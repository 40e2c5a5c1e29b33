/* Certificates that another system made for a device: its thing leads to them, and no row. Such a
 * system may be at work beside this one's times: what it made last is not what was found before. */
#ifndef CVM_CORE_INHERITED_H
#define CVM_CORE_INHERITED_H

#include "call.h"

/* 1 if it was registered, or has a thing. */
int32_t cvm_has_thing(const cvm_record_t *device);
/* 1 if the platform is to be asked: the device has a thing, and neither rows nor a current
 * certificate; or it was registered last by another system. */
int32_t cvm_may_inherit(const cvm_t *cvm, const cvm_record_t *device, uint32_t row_count);
/* Asks the platform what hangs on the device's thing, and the store about each of that which is not
 * among the device's rows (the caller's until it is done): these are left out, and one whose row is
 * another device's too (in a store that can't find it is not). op has the platform's answer then,
 * or that of the store if it failed. */
void cvm_inherit_ask(cvm_t *cvm, cvm_op_t *op, const cvm_record_t *device,
    cvm_record_t *const *rows, uint32_t row_count, cvm_op_done done);
/* Takes what it answered into list, of room for most, as rows of the device: the newest that is
 * accepted as its current one, and first, unless it has one or is revoked; others live on as
 * retiring until they end, a revoked device's retire at once. Those that are revoked are none any
 * more. Their number, or -1 if there are more, one can't be read, or without memory. */
int32_t cvm_inherit_take(
    cvm_op_t *op, const cvm_record_t *device, cvm_record_t **list, uint32_t most);

#endif
