/* CSV (RFC 4180), a line at a time, also as spreadsheets write it. A quoted field may not run over
 * a line's end: nothing that is imported holds one, and a forgotten quote must not swallow the
 * lines behind it. */
#include "import_csv.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define COLUMN_NAMES "device_uid, device_token and is_enabled"

#define SEPARATORS ",;\t|"

enum { UID, TOKEN, IS_ENABLED };
#define NO_NAME IMPORT_COLUMNS /* a column without one is empty throughout */

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

static char *without_blanks(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length && strchr(" \t", text[length - 1]))
        text[--length] = 0;
    return text;
}

/* Takes a field off *rest, which becomes NULL behind the last one. Blanks around a field are
 * nobody's uid or token. NULL, or what is wrong. */
static const char *take_field(char **rest, char separator, char **field)
{
    const char stops[] = {separator, '"', 0};
    char *end;
    if (separator != '\t')
        *rest += strspn(*rest, " \t");
    *field = *rest;
    if (**rest == '"') {
        end = unquote(*rest);
        if (!end)
            return "a quoted field does not end on its line";
        if (separator != '\t')
            end += strspn(end, " \t");
        if (*end && *end != separator)
            return "a quoted field is followed by something else than a separator";
    } else {
        end = *rest + strcspn(*rest, stops);
        if (*end == '"')
            return "a quote stands inside a field that does not begin with one";
    }
    *rest = *end ? end + 1 : NULL;
    *end = 0;
    *field = without_blanks(*field);
    return NULL;
}

/* "Device UID" and "device-uid" are device_uid. */
static int32_t is_same_name(const char *name, const char *known)
{
    static const char IGNORED[] = " _-";
    for (;; name++, known++) {
        name += strspn(name, IGNORED);
        known += strspn(known, IGNORED);
        if (tolower((unsigned char)*name) != *known)
            return 0;
        if (!*name)
            return 1;
    }
}

/* A header's column, or IMPORT_COLUMNS for an unknown one. */
static uint32_t column_named(const char *name)
{
    uint32_t i = 0;
    while (i < IMPORT_COLUMNS && !is_same_name(name, NAMES[i]))
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
    csv->count = 0;
    for (char *rest = text, *name; rest; csv->count++) {
        const char *complaint = take_field(&rest, csv->separator, &name);
        if (complaint)
            return complaint;
        uint32_t column = *name ? column_named(name) : NO_NAME;
        if (csv->count == IMPORT_MOST_FIELDS)
            return "there are too many columns";
        csv->meaning[csv->count] = column;
        if (*seen & 1U << column)
            return "a column is there twice";
        if (column < IMPORT_COLUMNS) {
            *seen |= 1U << column;
        } else if (*name && !*unknown) {
            *unknown = name;
            *place = csv->count + 1;
        }
    }
    return NULL;
}

/* What stands behind device_uid in a header, or in front of it where it is the last name; a comma
 * if it is the only one. */
static char separator_of(const char *text)
{
    char nearest = 0; /* the last one that was passed */
    for (const char *at = text, *end; *at; at = end + (*end != 0)) {
        char name[32];
        at += strspn(at, " \"");
        end = at + strcspn(at, SEPARATORS);
        (void)snprintf(name, sizeof name, "%.*s", (int)(end - at), at);
        name[strcspn(name, "\"")] = 0;
        if (*end)
            nearest = *end;
        if (*name && column_named(name) == UID && nearest)
            return nearest;
    }
    return ',';
}

const char *import_csv_header(struct import_csv *csv, char *text, int32_t tokens_are_computed)
{
    uint32_t seen = 0, place = 0;
    const char *unknown = NULL;
    if (strchr(text, '\r'))
        return "the lines end in CR alone: save the file as UTF-8 CSV";
    csv->separator = separator_of(text);
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

static const char *complain_of(struct import_csv *csv, uint32_t column, const char *harm)
{
    (void)snprintf(csv->complaint, sizeof csv->complaint, "%s %s", NAMES[column], harm);
    return csv->complaint;
}

/* One field of a line. NULL, or what is wrong with it. */
static const char *take_value(
    struct import_csv *csv, struct import_fields *fields, uint32_t place, const char *text)
{
    uint32_t column = place < csv->count ? csv->meaning[place] : NO_NAME;
    if (column == NO_NAME && *text) {
        (void)snprintf(csv->complaint, sizeof csv->complaint,
            place < csv->count
                ? "there is a value at place %u, where the header has no name"
                : "the line has more fields than the header: there is a value at place %u",
            place + 1);
        return csv->complaint;
    }
    if (column == NO_NAME)
        return NULL;
    assign(fields, column, text);
    const char *harm = column == IS_ENABLED ? NULL : import_spreadsheet_harm(text);
    if (harm)
        return complain_of(csv, column, harm);
    if (column != IS_ENABLED)
        import_long_numbers_add(&csv->long_numbers[column], text);
    return NULL;
}

/* Spreadsheets leave empty cells away at a line's end; only is_enabled may be empty. NULL, or what
 * is wrong. */
static const char *fill_up(struct import_csv *csv, struct import_fields *fields, uint32_t count)
{
    for (uint32_t place = count; place < csv->count; place++) {
        if (csv->meaning[place] == NO_NAME)
            continue;
        if (csv->meaning[place] != IS_ENABLED) {
            (void)snprintf(csv->complaint, sizeof csv->complaint,
                "the line has %u fields and the header %u", count, csv->count);
            return csv->complaint;
        }
        fields->is_enabled = "";
    }
    return NULL;
}

const char *import_csv_line(struct import_csv *csv, char *text, struct import_fields *fields)
{
    uint32_t count = 0;
    int32_t has_text = 0;
    *fields = (struct import_fields){0};
    for (char *rest = text, *field; rest; count++) {
        const char *complaint = take_field(&rest, csv->separator, &field);
        if (!complaint)
            complaint = take_value(csv, fields, count, field);
        if (complaint)
            return complaint;
        has_text |= *field;
    }
    if (has_text)
        return fill_up(csv, fields, count);
    *fields = (struct import_fields){0};
    return NULL;
}

const char *import_csv_finish(struct import_csv *csv)
{
    for (uint32_t column = UID; column <= TOKEN; column++)
        if (import_long_numbers_are_cut(&csv->long_numbers[column]))
            return complain_of(csv, column,
                "has numbers of more than 15 digits, and all of them end in zeros from there: a "
                "spreadsheet keeps 15. Format the column as text and fill it from the source again "
                "(if they are right, import them as JSON lines)");
    return NULL;
}
