/* The thing's name, made from thing.name_format and the device's uid. */
#ifndef CVM_CORE_THING_H
#define CVM_CORE_THING_H

#include "cvm/cvm.h"

#define CVM_THING_NAME_SIZE 129

/* 1 if the format holds %DEVICE_UID% exactly once, among a name's characters, and leaves room for a
 * uid in a name of that length. */
int32_t cvm_thing_format_is_valid(const char *format, int32_t longest);
/* Whether thing.name_format leaves room for a uid on the instance's platform. NULL, or an error. */
cvm_error_t *cvm_thing_check_format(const cvm_t *cvm);
/* NULL, or "invalid_request" when the uid is invalid or makes no valid name. */
cvm_error_t *cvm_thing_name(const cvm_t *cvm, const char *uid, char name[CVM_THING_NAME_SIZE]);

#endif
