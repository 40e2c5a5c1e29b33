/* The thing's name, made from thing.name_format and the device's uid. */
#ifndef CVM_CORE_THING_H
#define CVM_CORE_THING_H

#include "cvm/cvm.h"

#define CVM_THING_NAME_SIZE 129

/* Whether the format holds %DEVICE_UID% exactly once, among a name's characters. NULL, or what is
 * wrong with it. */
cvm_error_t *cvm_thing_check_format(const char *format);
/* NULL, or "invalid_request" when the uid is invalid or makes no valid name. */
cvm_error_t *cvm_thing_name(const cvm_t *cvm, const char *uid, char name[CVM_THING_NAME_SIZE]);

#endif
