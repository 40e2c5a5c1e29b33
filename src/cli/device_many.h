/* A change of many devices at once: `cvm device VERB UID... | --from FILE`. */
#ifndef CVM_CLI_DEVICE_MANY_H
#define CVM_CLI_DEVICE_MANY_H

#include "cli.h"
#include "device_print.h"

struct device_many {
    enum device_change change;
    const struct cli_list *operands;
    const char *from; /* a file with a uid a line, "-" for standard input; NULL: the operands */
    int32_t dry_run, json;
    int32_t spares_registered; /* a registered device will be refused */
    int32_t is_published;      /* the platform has to carry it out */
    const char *ca;            /* folder, to name the CRL that says so; NULL on another platform */
    int32_t is_shared;         /* there may be other servers */
    /* Starts the change of one device. */
    cvm_error_t *(*start)(
        cvm_t *cvm, const char *uid, const void *arguments, cvm_done_cb callback, void *user_data);
    const void *arguments;
};

/* Changes all of them, has that carried out together, and reports. 0 or an exit code: 65 if a uid
 * is unknown, else 75 if it is recorded and not carried out yet. */
int32_t device_change_many(cvm_t *cvm, const struct device_many *many);

#endif
