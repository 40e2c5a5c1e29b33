/* A configuration file: what is taken reads back by cvm_conf_get as an independent reading of the
 * lines says, the last line of a name winning; numbers lie within their property's range. */
#include "fuzz.h"

#include <string.h>

#include "conf.h"
#include "error.h"
#include "properties.h"

#define MOST_PROPERTIES 128
#define FOLDER          "/folder"
#define SPACE           " \t\n\v\f\r"

/* Cuts white space off; in place. */
static char *trim(char *text)
{
    text += strspn(text, SPACE);
    for (size_t length = strlen(text); length && strchr(SPACE, text[length - 1]); length--)
        text[length - 1] = 0;
    return text;
}

static const struct cvm_property *find(const char *name)
{
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++)
        if (strcmp(CVM_PROPERTIES[i].name, name) == 0)
            return &CVM_PROPERTIES[i];
    return NULL;
}

/* The value as it must read back: relative paths lie in the folder. */
static char *expected(const struct cvm_property *property, const char *value)
{
    char *text = NULL;
    const char *path = ""; /* none */
    if (property->type == TYPE_PATH)
        path = value;
    else if (strcmp(property->name, "store") == 0 && strncmp(value, "file:", 5) == 0)
        path = value + 5;
    else if (strcmp(property->name, "platform") == 0 && strncmp(value, "local:", 6) == 0)
        path = value + 6;
    if (*path && *path != '/')
        CHECK(asprintf(&text, "%.*s" FOLDER "/%s", (int)(path - value), value, path) >= 0);
    else
        text = strdup(value);
    CHECK(text);
    return text;
}

/* What the accepted file says of each property; NULL where it says nothing. */
struct reading {
    char *values[MOST_PROPERTIES];
    uint32_t kept; /* for plugins that may come */
};

static void read_line(struct reading *reading, char *line)
{
    line = trim(line);
    if (!*line || *line == '#')
        return;
    char *equals = strchr(line, '=');
    CHECK(equals);
    *equals = 0;
    const struct cvm_property *property = find(trim(line));
    if (!property) {
        CHECK(strchr(line, '.') && !cvm_property_is_library(trim(line)));
        reading->kept++;
        return;
    }
    char **value = &reading->values[property - CVM_PROPERTIES];
    free(*value);
    *value = expected(property, trim(equals + 1));
}

static void read_file(struct reading *reading, struct fuzz_bytes bytes)
{
    if (bytes.left >= 3 && memcmp(bytes.at, "\xef\xbb\xbf", 3) == 0) {
        bytes.at += 3;
        bytes.left -= 3;
    }
    CHECK(!bytes.left || !memchr(bytes.at, 0, bytes.left));
    while (bytes.left) {
        char *line = fuzz_text(&bytes, '\n');
        CHECK(strlen(line) < 4096);
        read_line(reading, line);
        free(line);
    }
}

static int32_t has_number(const struct cvm_property *property)
{
    return property->type == TYPE_COUNT || property->type == TYPE_DURATION ||
           property->type == TYPE_RATE;
}

/* The range's ends are values as well. */
static void check_range(const struct cvm_property *property, int64_t number)
{
    char least[32];
    const char *to = strstr(property->range, " to ");
    int64_t from, until;
    CHECK(to && (size_t)(to - property->range) < sizeof least);
    (void)snprintf(least, sizeof least, "%.*s", (int)(to - property->range), property->range);
    CHECK(!cvm_property_parse(property, least, &from));
    CHECK(!cvm_property_parse(property, to + strlen(" to "), &until));
    CHECK(number >= from && number <= until);
}

static void check_property(const cvm_conf_t *conf, uint32_t i, const char *value)
{
    const struct cvm_property *property = &CVM_PROPERTIES[i];
    const char *text = cvm_conf_get(conf, property->name);
    int64_t number = cvm_conf_number(conf, property->name);
    CHECK(text && strcmp(text, value ? value : property->default_text) == 0);
    if (has_number(property))
        check_range(property, number);
    if (property->type == TYPE_BOOL)
        CHECK(number == (strcmp(text, "true") == 0 || strcmp(text, "on") == 0));
    if (property->type == TYPE_BACKEND)
        CHECK(strcspn(text, ":"));
}

/* What reads back is taken again, and then reads the same. */
static void check_again(const cvm_conf_t *conf)
{
    cvm_conf_t *again = cvm_conf_new(), *copy = cvm_conf_copy(conf);
    CHECK(again && copy);
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++) {
        const char *name = CVM_PROPERTIES[i].name, *text = cvm_conf_get(conf, name);
        CHECK(!cvm_conf_set(again, name, text));
        CHECK(strcmp(cvm_conf_get(again, name), text) == 0);
        CHECK(strcmp(cvm_conf_get(copy, name), text) == 0);
        CHECK(cvm_conf_number(again, name) == cvm_conf_number(conf, name));
        CHECK(cvm_conf_number(copy, name) == cvm_conf_number(conf, name));
    }
    cvm_conf_free(again);
    cvm_conf_free(copy);
}

static void check_accepted(cvm_conf_t *conf, struct fuzz_bytes bytes)
{
    struct reading reading = {.kept = 0};
    CHECK(CVM_PROPERTY_COUNT <= MOST_PROPERTIES);
    read_file(&reading, bytes);
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++) {
        check_property(conf, i, reading.values[i]);
        free(reading.values[i]);
    }
    check_again(conf);
    if (*cvm_conf_get(conf, "module"))
        return;
    cvm_error_t *error = cvm_conf_load_modules(conf); /* there are none */
    CHECK((error != NULL) == (reading.kept > 0));
    cvm_error_free(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cvm_conf_t *conf = cvm_conf_new();
    CHECK(conf);
    cvm_error_t *error = cvm_conf_parse(conf, (const char *)data, size, "cvm.conf", FOLDER);
    if (error)
        CHECK(error->reason == REASON_configuration &&
              strncmp(cvm_error_text(error), "cvm.conf:", 9) == 0);
    else
        check_accepted(conf, (struct fuzz_bytes){data, size});
    cvm_error_free(error);
    cvm_conf_free(conf);
    return 0;
}
