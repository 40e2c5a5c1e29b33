/* cvm_conf_t: values of the properties, set by name, from a file and from the environment. */
#include "conf.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compat.h"
#include "base/endpoint.h"
#include "entry.h"
#include "error.h"
#include "properties.h"

#define LONGEST_LINE 4096
#define LARGEST_FILE ((size_t)1 << 20)
#define ENV_PREFIX   "CVM_"
#define LONGEST_NAME 64

struct value {
    char *text; /* NULL: the default */
    int64_t number;
};

struct cvm_conf_s {
    struct value values[CVM_MOST_PROPERTIES];
    struct cvm_log_sink log, audit;
};

cvm_conf_t *cvm_conf_new(void)
{
    cvm_conf_t *conf = calloc(1, sizeof *conf);
    for (uint32_t i = 0; conf && i < CVM_PROPERTY_COUNT; i++)
        (void)cvm_property_parse(
            &CVM_PROPERTIES[i], CVM_PROPERTIES[i].default_text, &conf->values[i].number);
    return conf;
}

void cvm_conf_free(cvm_conf_t *conf)
{
    for (uint32_t i = 0; conf && i < CVM_PROPERTY_COUNT; i++)
        free(conf->values[i].text);
    free(conf);
}

cvm_conf_t *cvm_conf_copy(const cvm_conf_t *conf)
{
    cvm_conf_t *copy = cvm_conf_new();
    if (copy) {
        copy->log = conf->log;
        copy->audit = conf->audit;
    }
    for (uint32_t i = 0; copy && i < CVM_PROPERTY_COUNT; i++) {
        copy->values[i].number = conf->values[i].number;
        if (conf->values[i].text && !(copy->values[i].text = strdup(conf->values[i].text))) {
            cvm_conf_free(copy);
            return NULL;
        }
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

/* The property's index, or CVM_PROPERTY_COUNT. */
static uint32_t index_of(const char *name)
{
    uint32_t i = 0;
    while (i < CVM_PROPERTY_COUNT && strcmp(CVM_PROPERTIES[i].name, name) != 0)
        i++;
    return i;
}

const char *cvm_conf_get(const cvm_conf_t *conf, const char *name)
{
    uint32_t i = conf && name ? index_of(name) : CVM_PROPERTY_COUNT;
    if (i == CVM_PROPERTY_COUNT)
        return NULL;
    return conf->values[i].text ? conf->values[i].text : CVM_PROPERTIES[i].default_text;
}

int64_t cvm_conf_number(const cvm_conf_t *conf, const char *name)
{
    uint32_t i = conf && name ? index_of(name) : CVM_PROPERTY_COUNT;
    return i < CVM_PROPERTY_COUNT ? conf->values[i].number : 0;
}

const char *cvm_conf_own(const cvm_conf_t *conf, const char *name)
{
    const char *text = cvm_conf_get(conf, name);
    assert(text);
    return text;
}

int64_t cvm_conf_own_number(const cvm_conf_t *conf, const char *name)
{
    assert(index_of(name) < CVM_PROPERTY_COUNT);
    return cvm_conf_number(conf, name);
}

/* How many bytes of value come before the path in it; -1 if there is no path. */
static ptrdiff_t path_offset(const struct cvm_property *property, const char *value)
{
    static const char *const WITH_PATH[] = {"file:", "local:"};
    if (property->type == TYPE_PATH)
        return 0;
    for (size_t i = 0; property->type == TYPE_BACKEND && i < 2; i++)
        if (strncmp(value, WITH_PATH[i], strlen(WITH_PATH[i])) == 0)
            return (ptrdiff_t)strlen(WITH_PATH[i]);
    return -1;
}

/* value with folder before its path, if it has a relative one. NULL without memory. */
static char *resolved(const struct cvm_property *property, const char *value, const char *folder)
{
    ptrdiff_t offset = path_offset(property, value);
    if (!folder || offset < 0 || !value[offset] || value[offset] == '/')
        return strdup(value);
    size_t size = strlen(folder) + strlen(value) + 2;
    char *text = malloc(size);
    if (text)
        (void)snprintf(text, size, "%.*s%s/%s", (int)offset, value, folder, value + offset);
    return text;
}

/* The value as it is kept. NULL without memory. */
static char *kept(const struct cvm_property *property, const char *value, const char *folder)
{
    struct cvm_endpoint endpoint;
    char text[CVM_ENDPOINT_SIZE];
    if (property->type != TYPE_ENDPOINT)
        return resolved(property, value, folder);
    (void)cvm_endpoint_parse(value, CVM_MQTT_PORT, &endpoint); /* it was checked */
    cvm_endpoint_print(&endpoint, CVM_MQTT_PORT, text);
    return strdup(text);
}

/* Says what the property takes. A backend's location may hold a password: it is not repeated. */
static cvm_error_t *refused(const struct cvm_property *property, const char *value)
{
    char form[80];
    cvm_property_form(property, form, sizeof form);
    if (property->type == TYPE_BACKEND)
        return cvm_error_configuration(property->name,
            "%s takes %s; there is no ':' in what it is set to", property->name, form);
    return cvm_error_configuration(
        property->name, "%s does not take '%.64s'; it takes %s", property->name, value, form);
}

static cvm_error_t *set_in(
    cvm_conf_t *conf, const char *name, const char *value, const char *folder)
{
    uint32_t i = index_of(name);
    int64_t number;
    if (i == CVM_PROPERTY_COUNT)
        return cvm_error_configuration(
            name, "there is no property '%.64s'; `cvm config` lists them all", name);
    if (cvm_property_parse(&CVM_PROPERTIES[i], value, &number))
        return refused(&CVM_PROPERTIES[i], value);
    char *text = kept(&CVM_PROPERTIES[i], value, folder);
    if (!text)
        return cvm_error_out_of_memory();
    free(conf->values[i].text);
    conf->values[i] = (struct value){text, number};
    return NULL;
}

cvm_error_t *cvm_conf_set(cvm_conf_t *conf, const char *name, const char *value)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf && name && value);
    return error ? error : set_in(conf, name, value, NULL);
}

/* Cuts white space off both ends of text, in place. */
static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t length = strlen(text);
    while (length && isspace((unsigned char)text[length - 1]))
        text[--length] = 0;
    return text;
}

static cvm_error_t *parse_line(cvm_conf_t *conf, char *line, const char *folder)
{
    line = trim(line);
    if (!*line || *line == '#')
        return NULL;
    char *equals = strchr(line, '=');
    if (!equals)
        return cvm_error_new(REASON_configuration, "expected name = value");
    *equals = 0;
    return set_in(conf, trim(line), trim(equals + 1), folder);
}

/* Puts the place in front of what is wrong with the same subject. Frees error. */
static cvm_error_t *at_place(cvm_error_t *error, const char *place)
{
    if (!error)
        return NULL;
    cvm_error_t *located =
        cvm_error_new(REASON_configuration, "%.90s: %.165s", place, cvm_error_text(error));
    (void)cvm_error_about(located, cvm_error_subject(error));
    cvm_error_free(error);
    return located;
}

static cvm_error_t *at_line(cvm_error_t *error, const char *file, uint32_t line)
{
    char place[100];
    if (error && !*cvm_error_subject(error))
        (void)cvm_error_about(error, file);
    (void)snprintf(place, sizeof place, "%.78s:%u", file, line);
    return at_place(error, place);
}

cvm_error_t *cvm_conf_parse(
    cvm_conf_t *conf, const char *bytes, size_t length, const char *file, const char *folder)
{
    char line[LONGEST_LINE];
    cvm_error_t *error = NULL;
    if (length >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark */
        bytes += 3;
        length -= 3;
    }
    for (uint32_t number = 1; length && !error; number++) {
        const char *end = memchr(bytes, '\n', length);
        size_t taken = end ? (size_t)(end - bytes) : length;
        if (taken >= sizeof line || memchr(bytes, 0, taken)) {
            error = cvm_error_new(REASON_configuration, "the line is too long or holds a NUL");
        } else {
            memcpy(line, bytes, taken);
            line[taken] = 0;
            error = parse_line(conf, line, folder);
        }
        if (error)
            error = at_line(error, file, number);
        taken += end != NULL;
        bytes += taken;
        length -= taken;
    }
    return error;
}

/* The folder that path lies in, "." if it names none. Freed by the caller. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

cvm_error_t *cvm_conf_load(cvm_conf_t *conf, const char *path)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf && path);
    if (error)
        return error;
    char *bytes = malloc(LARGEST_FILE + 1), *folder = folder_of(path);
    FILE *file = fopen(path, "re");
    if (!bytes || !folder) {
        error = cvm_error_out_of_memory();
    } else if (!file) {
        error = cvm_error_configuration(path, "%.150s: %s", path, strerror(errno));
    } else {
        size_t length = fread(bytes, 1, LARGEST_FILE + 1, file);
        if (ferror(file) || length > LARGEST_FILE)
            error = cvm_error_configuration(path, "%.150s: can't be read, or too large", path);
        else
            error = cvm_conf_parse(conf, bytes, length, path, folder);
    }
    if (file)
        (void)fclose(file);
    free(folder);
    free(bytes);
    return error;
}

/* "http.tls_certificate" and "HTTP_TLS_CERTIFICATE" are the same name. */
static int32_t is_variable_of(const char *variable, size_t length, const char *name)
{
    if (strlen(name) != length)
        return 0;
    for (size_t i = 0; i < length; i++) {
        char expected = (char)(name[i] == '.' ? '_' : toupper((unsigned char)name[i]));
        if (variable[i] != expected)
            return 0;
    }
    return 1;
}

static cvm_error_t *at_variable(cvm_error_t *error, const char *variable)
{
    char place[LONGEST_NAME + 20];
    (void)snprintf(place, sizeof place, "the variable %.*s", (int)strcspn(variable, "="), variable);
    return at_place(error, place);
}

static cvm_error_t *load_variable(
    cvm_conf_t *conf, const char *variable, cvm_warn_cb warn, void *user_data)
{
    const char *name = variable + strlen(ENV_PREFIX), *equals = strchr(name, '=');
    if (!equals)
        return NULL;
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++)
        if (is_variable_of(name, (size_t)(equals - name), CVM_PROPERTIES[i].name))
            return at_variable(cvm_conf_set(conf, CVM_PROPERTIES[i].name, equals + 1), variable);
    if (warn) {
        char text[LONGEST_NAME + 80];
        (void)snprintf(text, sizeof text, "the variable %.*s names no property; it is ignored",
            (int)(equals - variable > LONGEST_NAME ? LONGEST_NAME : equals - variable), variable);
        warn(user_data, text);
    }
    return NULL;
}

cvm_error_t *cvm_conf_load_environment(cvm_conf_t *conf, cvm_warn_cb warn, void *user_data)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf != NULL);
    for (char **variable = environ; variable && *variable && !error; variable++)
        if (strncmp(*variable, ENV_PREFIX, strlen(ENV_PREFIX)) == 0)
            error = load_variable(conf, *variable, warn, user_data);
    return error;
}
