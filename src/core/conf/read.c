/* A configuration read from a file and from the environment. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compat.h"
#include "conf.h"
#include "entry.h"
#include "error.h"

#define LONGEST_LINE 4096
#define LARGEST_FILE ((size_t)1 << 20)
#define ENV_PREFIX   "CVM_"
#define LONGEST_NAME 64

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

static cvm_error_t *parse_line(cvm_conf_t *conf, char *line, const struct cvm_place *place)
{
    line = trim(line);
    if (!*line || *line == '#')
        return NULL;
    char *equals = strchr(line, '=');
    if (!equals)
        return cvm_place_error(place, cvm_error_new(REASON_configuration, "expected name = value"));
    *equals = 0;
    return cvm_conf_set_at(conf, trim(line), trim(equals + 1), place);
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
    for (struct cvm_place place = {folder, file, 1, NULL}; length && !error; place.line++) {
        const char *end = memchr(bytes, '\n', length);
        size_t taken = end ? (size_t)(end - bytes) : length;
        if (taken >= sizeof line || memchr(bytes, 0, taken)) {
            error = cvm_place_error(
                &place, cvm_error_new(REASON_configuration, "the line is too long or holds a NUL"));
        } else {
            memcpy(line, bytes, taken);
            line[taken] = 0;
            error = parse_line(conf, line, &place);
        }
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

/* Its name without CVM_, and its value; NULL for what is none of ours. */
static const char *split_variable(const char *variable, char name[LONGEST_NAME + 1])
{
    if (strncmp(variable, ENV_PREFIX, strlen(ENV_PREFIX)) != 0)
        return NULL;
    variable += strlen(ENV_PREFIX);
    const char *equals = strchr(variable, '=');
    if (!equals)
        return NULL;
    (void)snprintf(name, LONGEST_NAME + 1, "%.*s", (int)(equals - variable), variable);
    return equals + 1;
}

static cvm_error_t *set_variable(cvm_conf_t *conf, const char *variable)
{
    char name[LONGEST_NAME + 1];
    const struct cvm_place place = {.variable = name};
    const char *value = split_variable(variable, name);
    const char *property = value ? cvm_conf_name_of_variable(conf, name) : NULL;
    return property ? cvm_conf_set_at(conf, property, value, &place) : NULL;
}

/* One that names nothing may be a plugin's. */
static void keep_variable(cvm_conf_t *conf, const char *variable, cvm_warn_cb warn, void *user_data)
{
    char name[LONGEST_NAME + 1], text[LONGEST_NAME + 80];
    const char *value = split_variable(variable, name);
    if (!value || cvm_conf_name_of_variable(conf, name) ||
        cvm_conf_keep_variable(conf, name, value) || !warn)
        return;
    (void)snprintf(
        text, sizeof text, "the variable " ENV_PREFIX "%s names no property; it is ignored", name);
    warn(user_data, text);
}

cvm_error_t *cvm_conf_load_environment(cvm_conf_t *conf, cvm_warn_cb warn, void *user_data)
{
    cvm_error_t *error = cvm_check_arguments(__func__, conf != NULL);
    for (char **variable = environ; variable && *variable && !error; variable++)
        error = set_variable(conf, *variable);
    for (char **variable = environ; variable && *variable && !error; variable++)
        keep_variable(conf, *variable, warn, user_data); /* `module` is known by now */
    return error;
}
