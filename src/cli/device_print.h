/* Devices on standard output. */
#ifndef CVM_CLI_DEVICE_PRINT_H
#define CVM_CLI_DEVICE_PRINT_H

#include "cvm/cvm.h"

/* All of one device; pem adds each certificate. 0 or an exit code. */
int32_t device_print(const cvm_device_t *device, int32_t json, int32_t pem);
/* One line of a list. 0 or an exit code. */
int32_t device_print_line(const cvm_device_t *device, int32_t json);

enum device_change {
    DEVICE_NOT_CHANGED,
    DEVICE_ADDED,
    DEVICE_ENABLED,
    DEVICE_DISABLED,
    DEVICE_RESET,
    DEVICE_REVOKED,
    DEVICE_REMOVED
};

/* What a verb did, and what is so now. */
struct device_news {
    enum device_change change;
    const char *uid;
    const cvm_device_t *device; /* NULL: removed */
    int64_t crl_number;         /* of the crl.pem that says so; 0: there is none here */
    int32_t is_shared;          /* there may be other servers */
};

/* One line about a change that is done. 0 or an exit code. */
int32_t device_print_news(const struct device_news *news, int32_t json);

#endif
