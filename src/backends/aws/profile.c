/* The INI form that the SDKs agree on: [name] in the credentials file, [profile name] or [default]
 * in the config file, "name = value" lines, comments with # or ; at a line's start. Nested values
 * (an indented line) are passed over. */
#include "profile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/files.h"
#include "base/secret.h"
#include "environment.h"

#define LONGEST_PATH 4096
#define LONGEST_NAME 128

const char *cvm_aws_profile_name(void)
{
    const char *name = cvm_aws_either("AWS_PROFILE", "AWS_DEFAULT_PROFILE");
    return name ? name : "default";
}

static char *line_trim(char *line)
{
    line += strspn(line, " \t\r");
    size_t length = strlen(line);
    while (length && strchr(" \t\r", line[length - 1]))
        line[--length] = 0;
    return line;
}

/* Is "[…]" the profile's? */
static int32_t section_is(char *line, const char *profile, int32_t is_config)
{
    char *end = strchr(line, ']');
    if (!end)
        return 0;
    *end = 0;
    char *name = line_trim(line + 1);
    if (is_config && strncmp(name, "profile", 7) == 0 && strchr(" \t", name[7]) && name[7])
        name = line_trim(name + 8);
    else if (is_config && strcmp(name, "default") != 0)
        return 0;
    return strcmp(name, profile) == 0;
}

/* The value of a line of that name; NULL if it is another one. */
static const char *line_value(char *line, const char *name)
{
    char *equals = strchr(line, '=');
    if (!equals)
        return NULL;
    *equals = 0;
    return strcmp(line_trim(line), name) == 0 ? line_trim(equals + 1) : NULL;
}

/* Cuts text into lines. A copy of the value; NULL without one. */
static char *text_get(char *text, const char *profile, const char *name, int32_t is_config)
{
    int32_t is_in = 0;
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        if (*line == '[')
            is_in = section_is(line, profile, is_config);
        else if (is_in && !strchr(" \t#;", *line)) {
            const char *value = line_value(line, name);
            if (value)
                return strdup(value);
        }
    }
    return NULL;
}

static int32_t file_path(const char *variable, const char *usual, char path[LONGEST_PATH])
{
    const char *named = cvm_aws_variable(variable), *home = getenv("HOME");
    int length = named ? snprintf(path, LONGEST_PATH, "%s", named)
                       : snprintf(path, LONGEST_PATH, "%s/.aws/%s", home ? home : "", usual);
    return length > 0 && length < LONGEST_PATH ? 0 : -1;
}

static char *file_get(const char *path, const char *profile, const char *name, int32_t is_config,
    char *why, size_t why_size)
{
    size_t length;
    char error[256];
    char *text = cvm_files_read(path, &length, error, sizeof error);
    if (!text) {
        if (errno != ENOENT)
            (void)snprintf(why, why_size, "%s", error);
        return NULL;
    }
    char *value = text_get(text, profile, name, is_config);
    cvm_secret_free(text, length);
    return value;
}

char *cvm_aws_profile_get(const char *profile, const char *name, char *why, size_t why_size)
{
    static const struct {
        const char *variable, *usual;
    } FILES[] = {{"AWS_SHARED_CREDENTIALS_FILE", "credentials"}, {"AWS_CONFIG_FILE", "config"}};
    char path[LONGEST_PATH], *value = NULL;
    *why = 0;
    for (int32_t i = 0; i < 2 && !value; i++)
        if (!file_path(FILES[i].variable, FILES[i].usual, path))
            value = file_get(path, profile, name, i == 1, why, why_size);
    return value;
}
