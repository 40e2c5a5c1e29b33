/* A configuration inside the library: properties by name, as text and as number, and what plugins
 * have added to them. */
#ifndef CVM_CORE_CONF_H
#define CVM_CORE_CONF_H

#include "cvm/cvm.h"
#include "log.h"

struct cvm_property;
struct cvm_registry_s;

/* Where a setting was made: for errors, and for paths. All NULL: by cvm_conf_set(). */
struct cvm_place {
    const char *folder; /* put before relative paths */
    const char *file;
    uint32_t line;
    const char *variable; /* of the environment */
};

cvm_conf_t *cvm_conf_copy(const cvm_conf_t *conf);
/* A property of that name, or, of a name that may be a plugin's that is not known yet, kept for
 * it. An error names the place. */
cvm_error_t *cvm_conf_set_at(
    cvm_conf_t *conf, const char *name, const char *value, const struct cvm_place *place);
/* Puts the place before an error, and frees it; NULL is fine. */
cvm_error_t *cvm_place_error(const struct cvm_place *place, cvm_error_t *error);
/* The property that the variable of the environment (without CVM_) sets; NULL if there is none. */
const char *cvm_conf_name_of_variable(const cvm_conf_t *conf, const char *variable);
/* Keeps a variable of the environment that names nothing that is known yet: a plugin's property may
 * come. 0 if none can any more, as far as is known. */
int32_t cvm_conf_keep_variable(cvm_conf_t *conf, const char *name, const char *value);
/* Variable i that named nothing; NULL past the end. */
const char *cvm_conf_unknown_variable(const cvm_conf_t *conf, uint32_t i);
/* Property i, a plugin's behind the library's; NULL past the end. */
const struct cvm_property *cvm_conf_property(const cvm_conf_t *conf, uint32_t i);
/* Reads a configuration file's bytes. file names it in errors; folder is put before relative paths.
 */
cvm_error_t *cvm_conf_parse(
    cvm_conf_t *conf, const char *bytes, size_t length, const char *file, const char *folder);
/* An instance's own: with its modules, and with what its store and platform have for defaults. */
cvm_error_t *cvm_conf_settle(cvm_conf_t *conf);
/* The library's own look-ups: of a name that is none, a debug build stops. */
const char *cvm_conf_own(const cvm_conf_t *conf, const char *name);
int64_t cvm_conf_own_number(const cvm_conf_t *conf, const char *name);
/* Where log and audit go instead of a file. */
const struct cvm_log_sink *cvm_conf_log(const cvm_conf_t *conf);
const struct cvm_log_sink *cvm_conf_audit(const cvm_conf_t *conf);
/* The plugins' backends. */
const struct cvm_registry_s *cvm_conf_registry(const cvm_conf_t *conf);

#endif
