/* Properties: the plugin's own with their defaults, and what the command line sets. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "host.h"

#define MOST_SETTINGS 64

struct setting {
    char *name, *value;
    const char *range;
    cvm_property_type_t type;
    bool is_known; /* a property of the plugin's, or of the library's that stores ask for */
};

static struct setting settings[MOST_SETTINGS] = {
    {"store.create", "on", NULL, CVM_TYPE_BOOL, true}, /* a check begins without a store */
};
static uint32_t count = 1;

/* Also one that is to be made; NULL if there are too many. */
static struct setting *settings_find(const char *name, bool makes)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
    if (!makes || count == MOST_SETTINGS)
        return NULL;
    settings[count].name = strdup(name);
    return settings[count].name ? &settings[count++] : NULL;
}

int32_t settings_add(const char *text)
{
    const char *equals = strchr(text, '=');
    char *name = equals ? strndup(text, (size_t)(equals - text)) : NULL;
    struct setting *setting = name ? settings_find(name, true) : NULL;
    free(name);
    if (!setting)
        return -1;
    setting->value = strdup(equals + 1);
    return setting->value ? 0 : -1;
}

static int32_t settings_make(
    const char *name, const char *value, cvm_property_type_t type, const char *range)
{
    struct setting *setting = settings_find(name, true);
    if (!setting || (!setting->value && !(setting->value = strdup(value ? value : ""))))
        return -1;
    setting->type = type;
    setting->range = range;
    setting->is_known = true;
    return 0;
}

int32_t settings_add_row(
    cvm_registry_t *registry, const cvm_property_row_t *row, char *error, size_t error_size)
{
    char file[128];
    (void)registry;
    int32_t failed = settings_make(row->name, row->default_text, row->type, row->range);
    if (!failed && (row->flags & CVM_PROPERTY_SECRET)) {
        (void)snprintf(file, sizeof file, "%.100s_file", row->name);
        failed = settings_make(file, "", CVM_TYPE_PATH, NULL);
    }
    if (failed && error)
        (void)snprintf(error, error_size, "there is no room for %s", row->name);
    return failed;
}

const char *settings_text(cvm_context_t *context, const char *name)
{
    (void)context;
    const struct setting *setting = settings_find(name, false);
    return setting && setting->is_known ? setting->value : NULL;
}

static int64_t settings_choice(const char *choices, const char *value)
{
    size_t length = strlen(value);
    for (int64_t i = 0; choices; i++) {
        if (strncmp(choices, value, length) == 0 && (choices[length] == '|' || !choices[length]))
            return i;
        choices = strchr(choices, '|');
        choices += choices != NULL;
    }
    return 0;
}

static bool settings_is_true(const char *value)
{
    return strcasecmp(value, "on") == 0 || strcasecmp(value, "true") == 0 ||
           strcasecmp(value, "yes") == 0 || strcmp(value, "1") == 0;
}

static int64_t settings_scale(cvm_property_type_t type, const char *unit)
{
    static const struct {
        cvm_property_type_t type;
        const char *unit;
        int64_t scale;
    } UNITS[] = {{CVM_TYPE_DURATION, "s", 1000}, {CVM_TYPE_DURATION, "min", 60000},
        {CVM_TYPE_DURATION, "h", 3600000}, {CVM_TYPE_DURATION, "d", 86400000},
        {CVM_TYPE_COUNT, "k", 1024}, {CVM_TYPE_COUNT, "M", 1048576},
        {CVM_TYPE_COUNT, "G", 1073741824}};
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
        if (UNITS[i].type == type && strcmp(UNITS[i].unit, unit) == 0)
            return UNITS[i].scale;
    return 1;
}

int64_t settings_number(cvm_context_t *context, const char *name)
{
    char *unit;
    (void)context;
    const struct setting *setting = settings_find(name, false);
    if (!setting || !setting->is_known)
        return 0;
    if (setting->type == CVM_TYPE_BOOL)
        return settings_is_true(setting->value);
    if (setting->type == CVM_TYPE_CHOICE)
        return settings_choice(setting->range, setting->value);
    int64_t number = strtoll(setting->value, &unit, 10);
    return number * settings_scale(setting->type, unit);
}

int32_t settings_secret(
    cvm_context_t *context, const char *name, char *to, size_t size, char *error, size_t error_size)
{
    char file_name[128], line[1024] = "";
    const char *value = settings_text(context, name);
    (void)snprintf(file_name, sizeof file_name, "%.100s_file", name);
    const char *path = settings_text(context, file_name);
    *to = 0;
    if (!value || !path) {
        (void)snprintf(error, error_size, "there is no secret '%.64s'", name);
        return -1;
    }
    if (*path) {
        FILE *file = fopen(path, "re");
        if (!file || !fgets(line, sizeof line, file))
            (void)snprintf(error, error_size, "%.120s can't be read", path);
        if (file)
            (void)fclose(file);
        line[strcspn(line, "\r\n")] = 0;
        value = line;
        if (!*line)
            return -1;
    }
    if (strlen(value) >= size) {
        (void)snprintf(error, error_size, "%.64s is too long", name);
        return -1;
    }
    return snprintf(to, size, "%s", value);
}

const char *settings_unknown(void)
{
    for (uint32_t i = 0; i < count; i++)
        if (!settings[i].is_known)
            return settings[i].name;
    return NULL;
}
