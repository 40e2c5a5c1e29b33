/* What the plugins of a configuration have made known: stores and platforms by their names,
 * properties of their own, and what the library's are by default with them. */
#ifndef CVM_CORE_REGISTRY_H
#define CVM_CORE_REGISTRY_H

#include "cvm/plugin.h"
#include "error.h"
#include "properties.h"

enum cvm_side { SIDE_STORE, SIDE_PLATFORM };
#define CVM_SIDES 2

#define CVM_BACKEND_NAME_SIZE 32
/* A secret is in its property, or in the file that this one names. */
#define CVM_SECRET_FILE_SUFFIX "_file"

struct cvm_backend {
    struct cvm_backend *next;
    char name[CVM_BACKEND_NAME_SIZE];
    const void *ops; /* the plugin's */
    void *user_data;
    cvm_plugin_fn plugin; /* which made it known */
};

struct cvm_default {
    struct cvm_default *next;
    char backend[CVM_BACKEND_NAME_SIZE];
    char *property, *value;
};

struct cvm_registry_s {
    struct cvm_backend *backends[CVM_SIDES];
    struct cvm_property **rows; /* of plugins' own properties */
    uint32_t row_count;
    struct cvm_default *defaults;
    cvm_plugin_fn taking; /* the plugin that is in its entry function; NULL */
    char error[200];      /* why the last add_...() failed */
};

/* How far it is filled. */
struct cvm_registry_mark {
    uint32_t backends[CVM_SIDES], rows, defaults;
};
struct cvm_registry_mark cvm_registry_mark(const struct cvm_registry_s *registry);
/* Takes out what came after that. */
void cvm_registry_cut(struct cvm_registry_s *registry, const struct cvm_registry_mark *mark);
/* 0, or -1 without memory. */
int32_t cvm_registry_copy(struct cvm_registry_s *to, const struct cvm_registry_s *from);
void cvm_registry_clear(struct cvm_registry_s *registry);
/* Calls a plugin's entry function; one that gives up leaves nothing behind. subject and who: how an
 * error names it. */
cvm_error_t *cvm_registry_take(struct cvm_registry_s *registry, cvm_plugin_fn plugin,
    void *user_data, const char *subject, const char *who);
/* 1 if that plugin has made a backend known. */
int32_t cvm_registry_has(const struct cvm_registry_s *registry, cvm_plugin_fn plugin);
/* Loads a module and takes its plugin, unless it was taken, perhaps by another name of the file; it
 * stays loaded. */
cvm_error_t *cvm_registry_load(struct cvm_registry_s *registry, const char *path);
/* The backend that value ("NAME" or "NAME:LOCATION") names; NULL if there is none. */
const struct cvm_backend *cvm_registry_find(
    const struct cvm_registry_s *registry, enum cvm_side side, const char *value);
/* 1 if a change of a plugin's own property (a row of the registry) counts after a restart only. */
int32_t cvm_registry_needs_restart(const struct cvm_property *row);
/* The names of all that there are, separated by commas. */
void cvm_registry_list(
    const struct cvm_registry_s *registry, enum cvm_side side, char *text, size_t size);
/* 1 if a property's value ("NAME" or "NAME:LOCATION") names the backend of that name. */
int32_t cvm_backend_is(const char *value, const char *name);
/* The table's flags. */
uint32_t cvm_backend_flags(const struct cvm_backend *backend);
/* Copies the backend's table into ops, of size bytes; what it lacks is 0. */
void cvm_backend_table(const struct cvm_backend *backend, void *ops, uint32_t size);

/* The members of the host's table that plugins call while they are taken. */
int32_t cvm_registry_add_store(cvm_registry_t *registry, const char *name,
    const cvm_store_ops_t *ops, void *user_data, char *error, size_t error_size);
int32_t cvm_registry_add_platform(cvm_registry_t *registry, const char *name,
    const cvm_platform_ops_t *ops, void *user_data, char *error, size_t error_size);
int32_t cvm_registry_add_property(
    cvm_registry_t *registry, const cvm_property_row_t *theirs, char *error, size_t error_size);
int32_t cvm_registry_add_default(cvm_registry_t *registry, const char *backend,
    const char *property, const char *value, char *error, size_t error_size);

#endif
