/* CSV (RFC 4180), a line at a time. A quoted field may not run over a line's end: nothing that is
 * imported holds one, and a forgotten quote must not swallow the lines behind it. */
#include "import_csv.h"

#include <stdio.h>
#include <string.h>

#define COLUMN_NAMES "device_uid, device_token and is_enabled"

enum { UID, TOKEN, IS_ENABLED };

static const char *const NAMES[IMPORT_COLUMNS] = {"device_uid", "device_token", "is_enabled"};

/* Takes the quotes off the field at text. What stands behind it, or NULL if it has no end. */
static char *unquote(char *text)
{
    char *to = text;
    for (char *from = text + 1; *from; from++) {
        if (*from == '"' && *++from != '"') {
            char *rest = from;
            *to = 0;
            return rest;
        }
        *to++ = *from;
    }
    return NULL;
}

/* Takes a field off *rest, which becomes NULL behind the last one. NULL, or what is wrong. */
static const char *take_field(char **rest, char **field)
{
    char *end;
    *field = *rest;
    if (**rest == '"') {
        end = unquote(*rest);
        if (!end)
            return "a quoted field does not end on its line";
        if (*end && *end != ',')
            return "a quoted field is followed by something else than a comma";
    } else {
        end = *rest + strcspn(*rest, ",\"");
        if (*end == '"')
            return "a quote stands inside a field that does not begin with one";
    }
    *rest = *end ? end + 1 : NULL;
    *end = 0;
    return NULL;
}

/* A header's column, or IMPORT_COLUMNS for an unknown one. */
static uint32_t column_named(const char *name)
{
    uint32_t i = 0;
    while (i < IMPORT_COLUMNS && strcmp(name, NAMES[i]) != 0)
        i++;
    return i;
}

static int32_t is_shown_as_is(const char *name)
{
    size_t length = strlen(name);
    for (const char *c = name; *c; c++)
        if (*c < ' ' || *c > '~')
            return 0;
    return length > 0 && length <= 40;
}

static const char *unknown_column(struct import_csv *csv, const char *name, uint32_t position)
{
    if (is_shown_as_is(name))
        (void)snprintf(csv->complaint, sizeof csv->complaint,
            "unknown column \"%s\": there are " COLUMN_NAMES, name);
    else
        (void)snprintf(csv->complaint, sizeof csv->complaint,
            "unknown column at place %u: there are " COLUMN_NAMES, position);
    return csv->complaint;
}

/* What is wrong with the columns as a whole. */
static const char *check_columns(uint32_t seen, int32_t tokens_are_computed)
{
    if (seen & 1U << TOKEN && tokens_are_computed)
        return "there is a column device_token, and --salt-file computes tokens: leave one away";
    if (!(seen & 1U << TOKEN) && !tokens_are_computed)
        return "there is no column device_token (or compute tokens by --salt-file)";
    return NULL;
}

/* Reads the names. unknown: the first that isn't a column's, and its place. */
static const char *read_names(
    struct import_csv *csv, char *text, uint32_t *seen, const char **unknown, uint32_t *place)
{
    uint32_t position = 0;
    for (char *rest = text, *name; rest;) {
        const char *complaint = take_field(&rest, &name);
        if (complaint)
            return complaint;
        uint32_t column = column_named(name);
        position++;
        if (column < IMPORT_COLUMNS) {
            if (*seen & 1U << column)
                return "a column is there twice";
            *seen |= 1U << column;
            csv->meaning[csv->count++] = column;
        } else if (!*unknown) {
            *unknown = name;
            *place = position;
        }
    }
    return NULL;
}

const char *import_csv_header(struct import_csv *csv, char *text, int32_t tokens_are_computed)
{
    uint32_t seen = 0, place = 0;
    const char *unknown = NULL;
    csv->count = 0;
    const char *complaint = read_names(csv, text, &seen, &unknown, &place);
    if (complaint)
        return complaint;
    /* Without a header the first line is a device: its fields, a token among them, stay unprinted.
     */
    if (!(seen & 1U << UID))
        return "the first line must be a header with device_uid, device_token and, if you want, "
               "is_enabled";
    if (unknown)
        return unknown_column(csv, unknown, place);
    return check_columns(seen, tokens_are_computed);
}

static void assign(struct import_fields *fields, uint32_t column, const char *text)
{
    if (column == UID)
        fields->uid = text;
    else if (column == TOKEN)
        fields->token = text;
    else
        fields->is_enabled = text;
}

const char *import_csv_line(struct import_csv *csv, char *text, struct import_fields *fields)
{
    uint32_t count = 0;
    *fields = (struct import_fields){0};
    for (char *rest = text, *field; rest; count++) {
        const char *complaint = take_field(&rest, &field);
        if (complaint)
            return complaint;
        if (count < csv->count)
            assign(fields, csv->meaning[count], field);
    }
    if (count == csv->count)
        return NULL;
    (void)snprintf(csv->complaint, sizeof csv->complaint,
        "the line has %u fields and the header %u", count, csv->count);
    return csv->complaint;
}
