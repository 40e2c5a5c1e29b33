/* Devices and certificates as callers see them. */
#ifndef CVM_CORE_DEVICE_VIEW_H
#define CVM_CORE_DEVICE_VIEW_H

#include "cvm/cvm.h"
#include "op.h"

/* Builds a view over an operation's records: devices first to last, or one device and its
 * certificates. The records stay the operation's. */
cvm_device_t *cvm_device_view(const cvm_record_t *record, cvm_op_t *certificates);
void cvm_device_view_free(cvm_device_t *device);

#endif
