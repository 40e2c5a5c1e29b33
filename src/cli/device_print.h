/* Devices on standard output. */
#ifndef CVM_CLI_DEVICE_PRINT_H
#define CVM_CLI_DEVICE_PRINT_H

#include "cvm/cvm.h"

/* All of one device; pem adds each certificate. 0, or -1 without memory. */
int32_t device_print(const cvm_device_t *device, int32_t json, int32_t pem);
/* One line of a list. 0, or -1 without memory. */
int32_t device_print_line(const cvm_device_t *device, int32_t json);

#endif
