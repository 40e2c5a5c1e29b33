/* A configuration inside the library: properties by name, as text and as number. */
#ifndef CVM_CORE_CONF_H
#define CVM_CORE_CONF_H

#include "cvm/cvm.h"
#include "log.h"

cvm_conf_t *cvm_conf_copy(const cvm_conf_t *conf);
/* Reads a configuration file's bytes. file names it in errors; folder is put before relative paths.
 */
cvm_error_t *cvm_conf_parse(
    cvm_conf_t *conf, const char *bytes, size_t length, const char *file, const char *folder);
/* The library's own look-ups: of a name that is none, a debug build stops. */
const char *cvm_conf_own(const cvm_conf_t *conf, const char *name);
int64_t cvm_conf_own_number(const cvm_conf_t *conf, const char *name);
/* Where log and audit go instead of a file. */
const struct cvm_log_sink *cvm_conf_log(const cvm_conf_t *conf);
const struct cvm_log_sink *cvm_conf_audit(const cvm_conf_t *conf);

#endif
