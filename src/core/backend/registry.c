/* The registry: filled by plugins' entry functions, whose tables are read with care: they may have
 * been built for another release. */
#include "backend/registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "instance.h"

#define NAME_CHARACTERS     "abcdefghijklmnopqrstuvwxyz0123456789-"
#define PROPERTY_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789_."
#define LONGEST_RANGE       64
#define LONGEST_PROPERTY    (64 - (sizeof CVM_SECRET_FILE_SUFFIX - 1))
/* Of the first release: what came later is not looked for in a shorter one. */
#define FIRST_ROW_SIZE (offsetof(cvm_property_row_t, help) + sizeof(char *))

/* Says why to the plugin, and keeps it for who took the plugin. Returns -1. */
__attribute__((format(printf, 4, 5))) static int32_t refuse(
    cvm_registry_t *registry, char *error, size_t error_size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(registry->error, sizeof registry->error, format, arguments);
    va_end(arguments);
    if (error && error_size)
        (void)snprintf(error, error_size, "%s", registry->error);
    return -1;
}

/* --- Life ------------------------------------------------------------------------------------- */

struct cvm_registry_mark cvm_registry_mark(const struct cvm_registry_s *registry)
{
    struct cvm_registry_mark mark = {.rows = registry->row_count};
    for (uint32_t side = 0; side < CVM_SIDES; side++)
        for (const struct cvm_backend *backend = registry->backends[side]; backend;
             backend = backend->next)
            mark.backends[side]++;
    for (const struct cvm_default *row = registry->defaults; row; row = row->next)
        mark.defaults++;
    return mark;
}

/* From so many on, all go. */
static void cut_backends(struct cvm_backend **link, uint32_t count)
{
    while (*link && count--)
        link = &(*link)->next;
    while (*link) {
        struct cvm_backend *backend = *link;
        *link = backend->next;
        free(backend);
    }
}

static void cut_defaults(struct cvm_default **link, uint32_t count)
{
    while (*link && count--)
        link = &(*link)->next;
    while (*link) {
        struct cvm_default *row = *link;
        *link = row->next;
        free(row->property);
        free(row->value);
        free(row);
    }
}

void cvm_registry_cut(struct cvm_registry_s *registry, const struct cvm_registry_mark *mark)
{
    for (uint32_t side = 0; side < CVM_SIDES; side++)
        cut_backends(&registry->backends[side], mark->backends[side]);
    while (registry->row_count > mark->rows)
        free(registry->rows[--registry->row_count]);
    cut_defaults(&registry->defaults, mark->defaults);
}

void cvm_registry_clear(struct cvm_registry_s *registry)
{
    static const struct cvm_registry_mark NOTHING;
    cvm_registry_cut(registry, &NOTHING);
    free(registry->rows);
    registry->rows = NULL;
}

/* At the end of its list, so that the first to come is the first that is told. 0, or -1. */
static int32_t add_backend(struct cvm_registry_s *registry, enum cvm_side side, const char *name,
    const void *ops, void *user_data)
{
    struct cvm_backend **link = &registry->backends[side];
    struct cvm_backend *backend = calloc(1, sizeof *backend);
    if (!backend)
        return -1;
    (void)snprintf(backend->name, sizeof backend->name, "%s", name);
    backend->ops = ops;
    backend->user_data = user_data;
    backend->plugin = registry->taking;
    while (*link)
        link = &(*link)->next;
    *link = backend;
    return 0;
}

static int32_t add_default(
    struct cvm_registry_s *registry, const char *backend, const char *property, const char *value)
{
    struct cvm_default *row = calloc(1, sizeof *row);
    if (!row || !(row->property = strdup(property)) || !(row->value = strdup(value))) {
        if (row)
            free(row->property);
        free(row);
        return -1;
    }
    (void)snprintf(row->backend, sizeof row->backend, "%s", backend);
    struct cvm_default **link = &registry->defaults;
    while (*link)
        link = &(*link)->next;
    *link = row;
    return 0;
}

/* Takes row, also when it fails. */
static int32_t add_row(struct cvm_registry_s *registry, struct cvm_property *row)
{
    struct cvm_property **more =
        row ? realloc(registry->rows, (registry->row_count + 1) * sizeof(struct cvm_property *))
            : NULL;
    if (!more) {
        free(row);
        return -1;
    }
    registry->rows = more;
    registry->rows[registry->row_count++] = row;
    return 0;
}

/* A row, and what the library's own have not; its texts stand behind it. */
struct own_row {
    struct cvm_property property; /* the first: the registry has this */
    uint32_t flags;
};

int32_t cvm_registry_needs_restart(const struct cvm_property *row)
{
    return (((const struct own_row *)row)->flags & CVM_PROPERTY_NEEDS_RESTART) != 0;
}

/* Puts text, with suffix behind it, at *end, which moves on. */
static const char *put_text(char **end, const char *text, const char *suffix)
{
    char *at = *end;
    size_t size = strlen(text) + strlen(suffix) + 1;
    (void)snprintf(at, size, "%s%s", text, suffix);
    *end += size;
    return at;
}

/* A row with its texts behind it, in one piece; suffix is put behind its name. NULL without memory.
 */
static struct cvm_property *row_copy(
    const struct cvm_property *from, const char *suffix, uint32_t flags)
{
    const char *range = from->range ? from->range : "";
    struct own_row *own =
        malloc(sizeof *own + strlen(from->name) + strlen(suffix) + strlen(from->default_text) +
               strlen(range) + strlen(from->help) + 4);
    if (!own)
        return NULL;
    struct cvm_property *row = &own->property;
    char *end = (char *)(own + 1);
    *row = *from;
    own->flags = flags;
    row->name = put_text(&end, from->name, suffix);
    row->default_text = put_text(&end, from->default_text, "");
    row->range = from->range ? put_text(&end, range, "") : NULL;
    row->help = put_text(&end, from->help, "");
    return row;
}

int32_t cvm_registry_copy(struct cvm_registry_s *to, const struct cvm_registry_s *from)
{
    int32_t failed = 0;
    *to = (struct cvm_registry_s){.row_count = 0};
    for (uint32_t side = 0; side < CVM_SIDES; side++)
        for (const struct cvm_backend *backend = from->backends[side]; backend && !failed;
             backend = backend->next)
            failed = add_backend(
                to, (enum cvm_side)side, backend->name, backend->ops, backend->user_data);
    for (uint32_t i = 0; i < from->row_count && !failed; i++)
        failed = add_row(
            to, row_copy(from->rows[i], "", ((const struct own_row *)from->rows[i])->flags));
    for (const struct cvm_default *row = from->defaults; row && !failed; row = row->next)
        failed = add_default(to, row->backend, row->property, row->value);
    if (failed)
        cvm_registry_clear(to);
    return failed;
}

/* --- Finding ---------------------------------------------------------------------------------- */

int32_t cvm_backend_is(const char *value, const char *name)
{
    size_t length = strcspn(value, ":");
    return strlen(name) == length && memcmp(name, value, length) == 0;
}

const struct cvm_backend *cvm_registry_find(
    const struct cvm_registry_s *registry, enum cvm_side side, const char *value)
{
    const struct cvm_backend *backend = registry->backends[side];
    while (backend && !cvm_backend_is(value, backend->name))
        backend = backend->next;
    return backend;
}

void cvm_registry_list(
    const struct cvm_registry_s *registry, enum cvm_side side, char *text, size_t size)
{
    size_t length = 0;
    *text = 0;
    for (const struct cvm_backend *backend = registry->backends[side]; backend && length < size;
         backend = backend->next)
        length += (size_t)snprintf(
            text + length, size - length, "%s%s", length ? ", " : "", backend->name);
}

/* How each table begins. */
struct head {
    uint32_t size, flags;
};

static uint32_t size_of(const void *table)
{
    return ((const struct head *)table)->size;
}

uint32_t cvm_backend_flags(const struct cvm_backend *backend)
{
    return ((const struct head *)backend->ops)->flags;
}

void cvm_backend_table(const struct cvm_backend *backend, void *ops, uint32_t size)
{
    uint32_t theirs = size_of(backend->ops);
    memset(ops, 0, size);
    memcpy(ops, backend->ops, theirs < size ? theirs : size);
}

/* --- What plugins call ------------------------------------------------------------------------ */

static int32_t is_word(const char *text, const char *characters, size_t longest)
{
    size_t length = text ? strlen(text) : 0;
    return length && length <= longest && strspn(text, characters) == length;
}

/* least: up to the table's create, which nothing works without. */
static int32_t add_table(cvm_registry_t *registry, enum cvm_side side, const char *name,
    const void *ops, size_t least, void *user_data, char *error, size_t error_size)
{
    static const char *const WHAT[] = {"store", "platform"};
    if (!is_word(name, NAME_CHARACTERS, CVM_BACKEND_NAME_SIZE - 1))
        return refuse(registry, error, error_size,
            "'%.40s' can't be a %s's name: it takes 1 to %d of a-z 0-9 -", name ? name : "",
            WHAT[side], CVM_BACKEND_NAME_SIZE - 1);
    if (cvm_registry_find(registry, side, name))
        return refuse(registry, error, error_size, "there is a %s '%s' already", WHAT[side], name);
    if (!ops || size_of(ops) < least)
        return refuse(registry, error, error_size,
            "the table of the %s '%s' has %u bytes: it takes %zu at least", WHAT[side], name,
            ops ? size_of(ops) : 0, least);
    if (add_backend(registry, side, name, ops, user_data))
        return refuse(registry, error, error_size, "out of memory");
    return 0;
}

int32_t cvm_registry_add_store(cvm_registry_t *registry, const char *name,
    const cvm_store_ops_t *ops, void *user_data, char *error, size_t error_size)
{
    return add_table(registry, SIDE_STORE, name, ops, offsetof(cvm_store_ops_t, open), user_data,
        error, error_size);
}

int32_t cvm_registry_add_platform(cvm_registry_t *registry, const char *name,
    const cvm_platform_ops_t *ops, void *user_data, char *error, size_t error_size)
{
    return add_table(registry, SIDE_PLATFORM, name, ops, offsetof(cvm_platform_ops_t, open),
        user_data, error, error_size);
}

/* The property of that name, a plugin's or the library's; NULL if there is none. */
static const struct cvm_property *property_of(const cvm_registry_t *registry, const char *name)
{
    for (uint32_t i = 0; i < CVM_PROPERTY_COUNT; i++)
        if (strcmp(CVM_PROPERTIES[i].name, name) == 0)
            return &CVM_PROPERTIES[i];
    for (uint32_t i = 0; i < registry->row_count; i++)
        if (strcmp(registry->rows[i]->name, name) == 0)
            return registry->rows[i];
    return NULL;
}

static int32_t has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return 1;
    return 0;
}

/* At least two parts, and no part is empty. */
static int32_t has_parts(const char *name)
{
    size_t length = strlen(name);
    return strchr(name, '.') && *name != '.' && name[length - 1] != '.' && !strstr(name, "..");
}

static int32_t is_name_free(const cvm_registry_t *registry, const char *name)
{
    return has_parts(name) && !cvm_property_is_library(name) && !property_of(registry, name);
}

/* NULL if a row of a plugin's can be taken as what it says. */
static const char *row_fault(const struct cvm_property *row)
{
    int64_t number;
    int32_t is_number =
        row->type == TYPE_COUNT || row->type == TYPE_DURATION || row->type == TYPE_RATE;
    if (is_number && (!row->range || !strstr(row->range, " to ")))
        return "a number has a range, as in \"1 to 10\"";
    if (row->type == TYPE_CHOICE && !row->range)
        return "a choice has a range, as in \"a|b\"";
    if (row->range && strlen(row->range) > LONGEST_RANGE)
        return "its range is too long";
    if (row->type == TYPE_SECRET && *row->default_text)
        return "a secret has no default";
    if (has_control(row->default_text) || has_control(row->help))
        return "its default or its help has a line end, or another control character";
    if (cvm_property_parse(row, row->default_text, &number))
        return "it does not take its own default";
    return NULL;
}

int32_t cvm_registry_add_property(
    cvm_registry_t *registry, const cvm_property_row_t *theirs, char *error, size_t error_size)
{
    static const enum cvm_property_type TYPES[] = {
        TYPE_TEXT, TYPE_PATH, TYPE_BOOL, TYPE_COUNT, TYPE_DURATION, TYPE_RATE, TYPE_CHOICE};
    if (!theirs || theirs->size < FIRST_ROW_SIZE)
        return refuse(registry, error, error_size, "a property's row is too short");
    const char *name = theirs->name ? theirs->name : "";
    char file_name[100];
    (void)snprintf(file_name, sizeof file_name, "%.80s" CVM_SECRET_FILE_SUFFIX, name);
    int32_t has_file = (theirs->flags & CVM_PROPERTY_SECRET) != 0; /* a secret */
    if (!is_word(name, PROPERTY_CHARACTERS, LONGEST_PROPERTY) || !is_name_free(registry, name) ||
        (has_file && !is_name_free(registry, file_name)))
        return refuse(registry, error, error_size,
            "'%.64s' can't be a property's name: it is taken, or is not a word of the plugin's, a "
            "dot, and a-z 0-9 _",
            name);
    if ((uint32_t)theirs->type >= sizeof TYPES / sizeof TYPES[0] ||
        (has_file && theirs->type != CVM_TYPE_TEXT))
        return refuse(registry, error, error_size,
            "the property '%s' is of a type that this release does not know, or a secret that is "
            "no text",
            name);
    struct cvm_property row = {name, has_file ? TYPE_SECRET : TYPES[theirs->type],
        theirs->default_text ? theirs->default_text : "", theirs->range,
        theirs->help ? theirs->help : ""};
    const char *fault = row_fault(&row);
    if (fault)
        return refuse(registry, error, error_size, "the property '%s': %s", name, fault);
    int32_t failed = add_row(registry, row_copy(&row, "", theirs->flags));
    if (!failed && has_file) {
        row.type = TYPE_PATH;
        failed = add_row(registry, row_copy(&row, CVM_SECRET_FILE_SUFFIX, theirs->flags));
    }
    return failed ? refuse(registry, error, error_size, "out of memory") : 0;
}

int32_t cvm_registry_add_default(cvm_registry_t *registry, const char *backend,
    const char *property, const char *value, char *error, size_t error_size)
{
    const struct cvm_property *row = property ? property_of(registry, property) : NULL;
    int64_t number;
    if (!row || !value || row->type == TYPE_SECRET || cvm_property_parse(row, value, &number))
        return refuse(registry, error, error_size, "'%.64s' has no such default: %.64s",
            property ? property : "", value ? value : "");
    if (!is_word(backend, NAME_CHARACTERS, CVM_BACKEND_NAME_SIZE - 1))
        return refuse(
            registry, error, error_size, "'%.40s' is no backend's name", backend ? backend : "");
    if (add_default(registry, backend, property, value))
        return refuse(registry, error, error_size, "out of memory");
    return 0;
}

int32_t cvm_registry_has(const struct cvm_registry_s *registry, cvm_plugin_fn plugin)
{
    for (uint32_t side = 0; side < CVM_SIDES; side++)
        for (const struct cvm_backend *backend = registry->backends[side]; backend;
             backend = backend->next)
            if (backend->plugin == plugin)
                return 1;
    return 0;
}

cvm_error_t *cvm_registry_take(struct cvm_registry_s *registry, cvm_plugin_fn plugin,
    void *user_data, const char *subject, const char *who)
{
    struct cvm_registry_mark mark = cvm_registry_mark(registry);
    if (registry->taking)
        return cvm_error_new(REASON_conflict, "a plugin can't add another one while it is taken");
    *registry->error = 0;
    registry->taking = plugin;
    int32_t failed = plugin(&CVM_HOST, registry, user_data);
    registry->taking = NULL;
    if (!failed)
        return NULL;
    cvm_registry_cut(registry, &mark);
    return cvm_error_configuration(subject, "%.120s: %s", who,
        *registry->error ? registry->error : "it does not want to be used here, and says not why");
}
