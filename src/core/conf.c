/* cvm_conf_t: the values of the properties, the library's own and those of plugins. What is set for
 * a plugin that is not known yet is kept until it is. */
#include "conf.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/registry.h"
#include "base/endpoint.h"
#include "base/secret.h"
#include "builtin.h"
#include "entry.h"
#include "error.h"
#include "properties.h"

#define MOST_KEPT 256 /* settings for plugins that are not known yet */

struct value {
    char *text;   /* NULL: the default */
    char *folder; /* of a backend that is not known yet: before its location, should it be a path */
    int64_t number;
};

/* A setting for a plugin that is not known yet. */
struct kept {
    struct kept *next;
    char *name, *value, *folder, *file;
    uint32_t line;
    int32_t is_variable; /* name is the environment's, without CVM_ */
};

struct cvm_conf_s {
    struct cvm_registry_s registry;
    struct value *values; /* of the library's properties, then of the plugins' */
    uint32_t count;
    struct kept *kept;
    int32_t has_modules;     /* they are loaded */
    int32_t tells_variables; /* those that name nothing are told once they are */
    struct cvm_log_sink log, audit;
};

/* --- Properties ------------------------------------------------------------------------------- */

const struct cvm_property *cvm_conf_property(const cvm_conf_t *conf, uint32_t i)
{
    if (i < CVM_PROPERTY_COUNT)
        return &CVM_PROPERTIES[i];
    i -= CVM_PROPERTY_COUNT;
    return conf && i < conf->registry.row_count ? conf->registry.rows[i] : NULL;
}

/* The property's index, or -1. */
static int32_t index_of(const cvm_conf_t *conf, const char *name)
{
    for (uint32_t i = 0; i < conf->count; i++)
        if (strcmp(cvm_conf_property(conf, i)->name, name) == 0)
            return (int32_t)i;
    return -1;
}

/* "HTTP_TLS_CERTIFICATE" is the variable of "http.tls_certificate". */
static int32_t is_variable_of(const char *variable, const char *name)
{
    for (; *variable && *name; variable++, name++) {
        char expected = (char)(*name == '.' ? '_' : toupper((unsigned char)*name));
        if (*variable != expected)
            return 0;
    }
    return !*variable && !*name;
}

static int32_t index_of_variable(const cvm_conf_t *conf, const char *variable)
{
    for (uint32_t i = 0; i < conf->count; i++)
        if (is_variable_of(variable, cvm_conf_property(conf, i)->name))
            return (int32_t)i;
    return -1;
}

const char *cvm_conf_name_of_variable(const cvm_conf_t *conf, const char *variable)
{
    int32_t i = index_of_variable(conf, variable);
    return i < 0 ? NULL : cvm_conf_property(conf, (uint32_t)i)->name;
}

uint32_t cvm_property_count(const cvm_conf_t *conf)
{
    return conf ? conf->count : CVM_PROPERTY_COUNT;
}

const char *cvm_property_name(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row ? row->name : NULL;
}

const char *cvm_property_default(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row ? row->default_text : NULL;
}

const char *cvm_property_help(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row ? row->help : NULL;
}

const char *cvm_property_type(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row ? cvm_property_type_name(row) : NULL;
}

const char *cvm_property_range(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row ? cvm_property_takes(row) : NULL;
}

int32_t cvm_property_is_secret(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row && row->type == TYPE_SECRET;
}

int32_t cvm_property_needs_restart(const cvm_conf_t *conf, uint32_t i)
{
    const struct cvm_property *row = cvm_conf_property(conf, i);
    return row && (i < CVM_PROPERTY_COUNT || cvm_registry_needs_restart(row));
}

/* --- Life ------------------------------------------------------------------------------------- */

static void kept_free(struct kept *kept)
{
    if (!kept)
        return;
    free(kept->name);
    cvm_secret_free_text(kept->value);
    free(kept->folder);
    free(kept->file);
    free(kept);
}

static void value_clear(struct value *value)
{
    cvm_secret_free_text(value->text);
    cvm_secret_free_text(value->folder);
    value->text = value->folder = NULL;
}

/* Room for the values of properties that were added, at their defaults. 0, or -1 without memory. */
static int32_t make_room(cvm_conf_t *conf)
{
    uint32_t count = CVM_PROPERTY_COUNT + conf->registry.row_count;
    struct value *more = realloc(conf->values, count * sizeof *more);
    if (!more)
        return -1;
    conf->values = more;
    for (; conf->count < count; conf->count++) {
        const struct cvm_property *row = cvm_conf_property(conf, conf->count);
        more[conf->count] = (struct value){.text = NULL};
        (void)cvm_property_parse(row, row->default_text, &more[conf->count].number);
    }
    return 0;
}

cvm_conf_t *cvm_conf_new(void)
{
    cvm_conf_t *conf = calloc(1, sizeof *conf);
    int32_t failed = conf ? make_room(conf) : -1;
    for (uint32_t i = 0; CVM_BUILTIN_PLUGINS[i] && !failed; i++) {
        cvm_error_t *error =
            cvm_registry_take(&conf->registry, CVM_BUILTIN_PLUGINS[i], NULL, "", "builtin");
        failed = error || make_room(conf);
        cvm_error_free(error);
    }
    if (!failed)
        return conf;
    cvm_conf_free(conf);
    return NULL;
}

void cvm_conf_free(cvm_conf_t *conf)
{
    if (!conf)
        return;
    for (uint32_t i = 0; i < conf->count; i++)
        value_clear(&conf->values[i]);
    free(conf->values);
    for (struct kept *kept = conf->kept, *next; kept; kept = next) {
        next = kept->next;
        kept_free(kept);
    }
    cvm_registry_clear(&conf->registry);
    free(conf);
}

/* A copy of text that may be NULL. *failed becomes 1 without memory. */
static char *copy_text(const char *text, int32_t *failed)
{
    char *copy = text ? strdup(text) : NULL;
    *failed |= text && !copy;
    return copy;
}

/* 0, or -1 without memory. */
static int32_t keep(cvm_conf_t *conf, const struct kept *wanted)
{
    struct kept **link = &conf->kept, *kept = calloc(1, sizeof *kept);
    int32_t failed = !kept;
    if (kept) {
        kept->name = copy_text(wanted->name, &failed);
        kept->value = copy_text(wanted->value, &failed);
        kept->folder = copy_text(wanted->folder, &failed);
        kept->file = copy_text(wanted->file, &failed);
        kept->line = wanted->line;
        kept->is_variable = wanted->is_variable;
    }
    if (failed) {
        kept_free(kept);
        return -1;
    }
    while (*link)
        link = &(*link)->next;
    *link = kept;
    return 0;
}

/* 0, or -1 without memory. */
static int32_t copy_values(cvm_conf_t *copy, const cvm_conf_t *conf)
{
    int32_t failed = 0;
    for (uint32_t i = 0; i < conf->count; i++) {
        copy->values[i].number = conf->values[i].number;
        copy->values[i].text = copy_text(conf->values[i].text, &failed);
        copy->values[i].folder = copy_text(conf->values[i].folder, &failed);
    }
    for (const struct kept *kept = conf->kept; kept && !failed; kept = kept->next)
        failed = keep(copy, kept);
    return failed ? -1 : 0;
}

cvm_conf_t *cvm_conf_copy(const cvm_conf_t *conf)
{
    cvm_conf_t *copy = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    copy->log = conf->log;
    copy->audit = conf->audit;
    copy->has_modules = conf->has_modules;
    copy->tells_variables = conf->tells_variables;
    if (cvm_registry_copy(&copy->registry, &conf->registry) || make_room(copy) ||
        copy_values(copy, conf)) {
        cvm_conf_free(copy);
        return NULL;
    }
    return copy;
}

cvm_error_t *cvm_conf_set_log(cvm_conf_t *conf, cvm_log_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf != NULL);
    if (!error)
        conf->log = (struct cvm_log_sink){callback, user_data};
    return error;
}

cvm_error_t *cvm_conf_set_audit(cvm_conf_t *conf, cvm_log_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf != NULL);
    if (!error)
        conf->audit = (struct cvm_log_sink){callback, user_data};
    return error;
}

const struct cvm_log_sink *cvm_conf_log(const cvm_conf_t *conf)
{
    return &conf->log;
}

const struct cvm_log_sink *cvm_conf_audit(const cvm_conf_t *conf)
{
    return &conf->audit;
}

const struct cvm_registry_s *cvm_conf_registry(const cvm_conf_t *conf)
{
    return &conf->registry;
}

/* --- Getting ---------------------------------------------------------------------------------- */

const char *cvm_conf_get(const cvm_conf_t *conf, const char *name)
{
    int32_t i = conf && name ? index_of(conf, name) : -1;
    if (i < 0)
        return NULL;
    const char *text = conf->values[i].text;
    return text ? text : cvm_conf_property(conf, (uint32_t)i)->default_text;
}

int64_t cvm_conf_number(const cvm_conf_t *conf, const char *name)
{
    int32_t i = conf && name ? index_of(conf, name) : -1;
    return i < 0 ? 0 : conf->values[i].number;
}

const char *cvm_conf_own(const cvm_conf_t *conf, const char *name)
{
    const char *text = cvm_conf_get(conf, name);
    assert(text);
    return text;
}

int64_t cvm_conf_own_number(const cvm_conf_t *conf, const char *name)
{
    assert(index_of(conf, name) >= 0);
    return cvm_conf_number(conf, name);
}

/* --- Setting ---------------------------------------------------------------------------------- */

static enum cvm_side side_of(const struct cvm_property *property)
{
    return strcmp(property->name, "store") == 0 ? SIDE_STORE : SIDE_PLATFORM;
}

/* How many bytes of value come before the path in it; -1 if there is no path. *is_known: whether
 * that is certain. */
static ptrdiff_t path_offset(const cvm_conf_t *conf, const struct cvm_property *property,
    const char *value, int32_t *is_known)
{
    *is_known = 1;
    if (property->type == TYPE_PATH)
        return 0;
    if (property->type != TYPE_BACKEND || !strchr(value, ':'))
        return -1;
    const struct cvm_backend *backend =
        cvm_registry_find(&conf->registry, side_of(property), value);
    *is_known = backend != NULL;
    return backend && cvm_backend_flags(backend) & CVM_LOCATION_IS_PATH
               ? strchr(value, ':') + 1 - value
               : -1;
}

/* value with folder before its path, if it has a relative one. NULL without memory. */
static char *resolved(const char *value, ptrdiff_t offset, const char *folder)
{
    if (!folder || offset < 0 || !value[offset] || value[offset] == '/')
        return strdup(value);
    size_t size = strlen(folder) + strlen(value) + 2;
    char *text = malloc(size);
    if (text)
        (void)snprintf(text, size, "%.*s%s/%s", (int)offset, value, folder, value + offset);
    return text;
}

/* The value as it is kept. 0, or -1 without memory. */
static int32_t make_value(const cvm_conf_t *conf, const struct cvm_property *property,
    const char *text, const char *folder, struct value *value)
{
    struct cvm_endpoint endpoint;
    char printed[CVM_ENDPOINT_SIZE];
    int32_t is_known;
    ptrdiff_t offset = path_offset(conf, property, text, &is_known);
    value->folder = NULL;
    if (property->type == TYPE_ENDPOINT) {
        (void)cvm_endpoint_parse(text, CVM_MQTT_PORT, &endpoint); /* it was checked */
        cvm_endpoint_print(&endpoint, CVM_MQTT_PORT, printed);
        value->text = strdup(printed);
    } else {
        value->text = resolved(text, offset, folder);
    }
    if (value->text && folder && !is_known && !(value->folder = strdup(folder))) {
        free(value->text);
        value->text = NULL;
    }
    return value->text ? 0 : -1;
}

/* Says what the property takes. A secret, and a backend's location, which may hold a password, are
 * not repeated. */
static cvm_error_t *refused(const struct cvm_property *property, const char *value)
{
    char form[80];
    cvm_property_form(property, form, sizeof form);
    if (property->type == TYPE_BACKEND || property->type == TYPE_SECRET)
        return cvm_error_configuration(property->name,
            "%s does not take what it is set to; it takes %s", property->name, form);
    return cvm_error_configuration(
        property->name, "%s does not take '%.64s'; it takes %s", property->name, value, form);
}

static cvm_error_t *set_value(cvm_conf_t *conf, uint32_t i, const char *text, const char *folder)
{
    const struct cvm_property *property = cvm_conf_property(conf, i);
    struct value value;
    if (cvm_property_parse(property, text, &value.number))
        return refused(property, text);
    if (make_value(conf, property, text, folder, &value))
        return cvm_error_out_of_memory();
    value_clear(&conf->values[i]);
    conf->values[i] = value;
    return NULL;
}

cvm_error_t *cvm_place_error(const struct cvm_place *place, cvm_error_t *error)
{
    char text[100];
    if (!error || (!place->file && !place->variable))
        return error;
    if (place->file)
        (void)snprintf(text, sizeof text, "%.78s:%u", place->file, place->line);
    else
        (void)snprintf(text, sizeof text, "the variable CVM_%.64s", place->variable);
    cvm_error_t *located =
        cvm_error_new(REASON_configuration, "%.90s: %.165s", text, cvm_error_text(error));
    const char *subject = cvm_error_subject(error);
    (void)cvm_error_about(located, *subject || !place->file ? subject : place->file);
    cvm_error_free(error);
    return located;
}

/* May a plugin have a property of that name, which is not known yet? */
static int32_t may_come(const cvm_conf_t *conf, const char *name)
{
    size_t length = strcspn(name, ".");
    if (!length || !name[length] || conf->has_modules || cvm_property_is_library(name))
        return 0;
    for (uint32_t i = 0; i < conf->registry.row_count; i++)
        if (strncmp(conf->registry.rows[i]->name, name, length + 1) == 0)
            return 0;
    return 1;
}

static uint32_t kept_count(const cvm_conf_t *conf)
{
    uint32_t count = 0;
    for (const struct kept *kept = conf->kept; kept; kept = kept->next)
        count++;
    return count;
}

static cvm_error_t *no_property(const char *name, const char *more)
{
    return cvm_error_configuration(
        name, "there is no property '%.64s'%s; `cvm config` lists them all", name, more);
}

cvm_error_t *cvm_conf_set_at(
    cvm_conf_t *conf, const char *name, const char *value, const struct cvm_place *place)
{
    int32_t i = index_of(conf, name);
    if (i >= 0)
        return cvm_place_error(place, set_value(conf, (uint32_t)i, value, place->folder));
    if (!may_come(conf, name) || kept_count(conf) >= MOST_KEPT)
        return cvm_place_error(place, no_property(name, ""));
    const struct kept wanted = {NULL, (char *)name, (char *)value, (char *)place->folder,
        (char *)place->file, place->line, 0};
    return keep(conf, &wanted) ? cvm_error_out_of_memory() : NULL;
}

cvm_error_t *cvm_conf_set(cvm_conf_t *conf, const char *name, const char *value)
{
    static const struct cvm_place NOWHERE;
    cvm_error_t *error = cvm_check_arguments(__func__, conf && name && value);
    return error ? error : cvm_conf_set_at(conf, name, value, &NOWHERE);
}

/* Modules that are yet to be loaded may have properties of any name. */
static int32_t has_modules_to_load(const cvm_conf_t *conf)
{
    return *cvm_conf_own(conf, "module") ||
           !cvm_registry_find(&conf->registry, SIDE_STORE, cvm_conf_own(conf, "store")) ||
           !cvm_registry_find(&conf->registry, SIDE_PLATFORM, cvm_conf_own(conf, "platform"));
}

int32_t cvm_conf_keep_variable(cvm_conf_t *conf, const char *name, const char *value)
{
    const struct kept wanted = {NULL, (char *)name, (char *)value, NULL, NULL, 0, 1};
    if (kept_count(conf) >= MOST_KEPT || keep(conf, &wanted))
        return 0;
    conf->tells_variables = has_modules_to_load(conf);
    return conf->tells_variables;
}

/* Without modules they were told when they were read. */
const char *cvm_conf_unknown_variable(const cvm_conf_t *conf, uint32_t i)
{
    if (!conf->tells_variables)
        return NULL;
    for (const struct kept *kept = conf->kept; kept; kept = kept->next)
        if (kept->is_variable && i-- == 0)
            return kept->name;
    return NULL;
}

/* --- Plugins ---------------------------------------------------------------------------------- */

/* What was kept for properties that are known by now is set, and backends that are known get their
 * locations. */
static cvm_error_t *set_kept(cvm_conf_t *conf)
{
    cvm_error_t *error = NULL;
    for (struct kept **link = &conf->kept; *link && !error;) {
        struct kept *kept = *link;
        int32_t i =
            kept->is_variable ? index_of_variable(conf, kept->name) : index_of(conf, kept->name);
        if (i < 0) {
            link = &kept->next;
            continue;
        }
        const struct cvm_place place = {
            kept->folder, kept->file, kept->line, kept->is_variable ? kept->name : NULL};
        error = cvm_place_error(&place, set_value(conf, (uint32_t)i, kept->value, kept->folder));
        *link = kept->next;
        kept_free(kept);
    }
    return error;
}

static cvm_error_t *resolve_backends(cvm_conf_t *conf)
{
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++) {
        struct value *value = &conf->values[i];
        struct value now = *value;
        if (!value->folder)
            continue;
        if (make_value(conf, &CVM_PROPERTIES[i], value->text, value->folder, &now))
            return cvm_error_out_of_memory();
        value_clear(value);
        *value = now;
    }
    return NULL;
}

/* After the registry has grown. */
static cvm_error_t *take_in(cvm_conf_t *conf)
{
    cvm_error_t *error = make_room(conf) ? cvm_error_out_of_memory() : set_kept(conf);
    return error ? error : resolve_backends(conf);
}

cvm_error_t *cvm_conf_add_plugin(cvm_conf_t *conf, cvm_plugin_cb function, void *user_data)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf && function);
    if (error)
        return error;
    error = cvm_registry_take(&conf->registry, function, user_data, "", "the program's own plugin");
    return error ? error : take_in(conf);
}

/* The library's own module of that name; it may not be installed. */
static cvm_error_t *load_own_module(cvm_conf_t *conf, const char *name, size_t name_length)
{
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/cvm-%.*s.so", cvm_conf_own(conf, "module.path"),
        (int)name_length, name);
    if (memchr(name, '/', name_length) || length < 0 || (size_t)length >= sizeof path ||
        access(path, F_OK) != 0)
        return NULL;
    return cvm_registry_load(&conf->registry, path);
}

/* For a backend that nothing else has. */
static cvm_error_t *load_backend(cvm_conf_t *conf, enum cvm_side side, const char *value)
{
    if (cvm_registry_find(&conf->registry, side, value))
        return NULL;
    return load_own_module(conf, value, strcspn(value, ":"));
}

/* For properties that nothing else has, though their backend is not the one in use: another one may
 * be for a command, or for a while. */
static cvm_error_t *load_for_kept(cvm_conf_t *conf)
{
    cvm_error_t *error = NULL;
    for (const struct kept *kept = conf->kept; kept && !error; kept = kept->next) {
        if (make_room(conf))
            return cvm_error_out_of_memory();
        if (!kept->is_variable && index_of(conf, kept->name) < 0)
            error = load_own_module(conf, kept->name, strcspn(kept->name, "."));
    }
    return error;
}

/* All of the list or none; those that are loaded stay so whatever their properties were set to. */
static cvm_error_t *load_modules(cvm_conf_t *conf)
{
    cvm_error_t *error = NULL;
    struct cvm_registry_mark mark = cvm_registry_mark(&conf->registry);
    char *list = strdup(cvm_conf_own(conf, "module")), *rest = list, *path;
    if (!list)
        return cvm_error_out_of_memory();
    while (!error && (path = strsep(&rest, ":")))
        if (*path)
            error = cvm_registry_load(&conf->registry, path);
    free(list);
    if (!error)
        error = load_backend(conf, SIDE_STORE, cvm_conf_own(conf, "store"));
    if (!error)
        error = load_backend(conf, SIDE_PLATFORM, cvm_conf_own(conf, "platform"));
    if (!error)
        error = load_for_kept(conf);
    conf->has_modules = !error;
    if (!error)
        return take_in(conf);
    cvm_registry_cut(&conf->registry, &mark);
    conf->count = CVM_PROPERTY_COUNT + conf->registry.row_count;
    return error;
}

cvm_error_t *cvm_conf_load_modules(cvm_conf_t *conf)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf != NULL);
    if (error)
        return error;
    if (!conf->has_modules)
        error = load_modules(conf);
    for (const struct kept *kept = conf->kept; kept && !error; kept = kept->next) {
        const struct cvm_place place = {kept->folder, kept->file, kept->line, NULL};
        if (!kept->is_variable)
            error = cvm_place_error(
                &place, no_property(kept->name, ", and no module or plugin that has one"));
    }
    return error;
}

cvm_error_t *cvm_conf_settle(cvm_conf_t *conf)
{
    cvm_error_t *error = cvm_conf_load_modules(conf);
    for (const struct cvm_default *row = conf->registry.defaults; row && !error; row = row->next) {
        int32_t i = index_of(conf, row->property);
        int32_t is_used = cvm_backend_is(cvm_conf_own(conf, "store"), row->backend) ||
                          cvm_backend_is(cvm_conf_own(conf, "platform"), row->backend);
        if (is_used && i >= 0 && !conf->values[i].text)
            error = set_value(conf, (uint32_t)i, row->value, NULL);
    }
    return error;
}
