/* The strict JSON reader: a check of the bytes, then cJSON, then a check for duplicate names. */
#include "json.h"

#include <ctype.h>
#include <pthread.h>
#include <string.h>

#include <openssl/crypto.h>

#include "utf8.h"

#define LONGEST_NUMBER 62 /* of which cJSON reads the whole */

/* Each parse of cJSON writes a global. */
static pthread_mutex_t parse_lock = PTHREAD_MUTEX_INITIALIZER;

struct limits {
    uint32_t depth, members;
    int32_t takes_nul;
};

static const struct limits REQUEST = {16, 64, 0}, ANSWER = {80, 1000, 1};

struct reader {
    const unsigned char *at, *end;
    const char *why;
    const struct limits *limits;
};

static int32_t refuse(struct reader *reader, const char *why)
{
    if (!reader->why)
        reader->why = why;
    return -1;
}

static int32_t peek(const struct reader *reader)
{
    return reader->at < reader->end ? *reader->at : -1;
}

static void skip_space(struct reader *reader)
{
    int32_t c;
    while ((c = peek(reader)) == ' ' || c == '\t' || c == '\r' || c == '\n')
        reader->at++;
}

/* Takes character if it is next. */
static int32_t take(struct reader *reader, char character)
{
    if (peek(reader) != character)
        return 0;
    reader->at++;
    return 1;
}

/* --- Strings ---------------------------------------------------------------------------------- */

/* Four hex digits; -1 if they aren't. */
static int32_t read_hex4(struct reader *reader)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int32_t c = peek(reader);
        if (c < 0 || !isxdigit(c))
            return -1;
        value = value * 16 + (isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
        reader->at++;
    }
    return value;
}

static int32_t check_unicode_escape(struct reader *reader)
{
    int32_t unit = read_hex4(reader);
    if (unit < 0)
        return refuse(reader, "bad \\u escape");
    if (!unit && !reader->limits->takes_nul)
        return refuse(reader, "NUL in a string");
    if (unit >= 0xdc00 && unit <= 0xdfff)
        return refuse(reader, "lone surrogate");
    if (unit < 0xd800 || unit > 0xdbff)
        return 0;
    if (!take(reader, '\\') || !take(reader, 'u'))
        return refuse(reader, "lone surrogate");
    unit = read_hex4(reader);
    return unit >= 0xdc00 && unit <= 0xdfff ? 0 : refuse(reader, "lone surrogate");
}

static int32_t check_escape(struct reader *reader)
{
    int32_t c = peek(reader);
    if (c <= 0 || !strchr("\"\\/bfnrtu", c))
        return refuse(reader, "bad escape");
    reader->at++;
    return c == 'u' ? check_unicode_escape(reader) : 0;
}

static int32_t check_utf8(struct reader *reader)
{
    size_t length = cvm_utf8_length(reader->at, (size_t)(reader->end - reader->at));
    reader->at += length;
    return length ? 0 : refuse(reader, "not UTF-8");
}

static int32_t check_string(struct reader *reader)
{
    if (!take(reader, '"'))
        return refuse(reader, "expected a string");
    for (;;) {
        int32_t c = peek(reader), bad = 0;
        if (c < 0)
            return refuse(reader, "unfinished string");
        if (c < 0x20)
            return refuse(reader, "control character in a string");
        if (c >= 0x80) {
            bad = check_utf8(reader);
        } else {
            reader->at++;
            if (c == '"')
                return 0;
            if (c == '\\')
                bad = check_escape(reader);
        }
        if (bad)
            return bad;
    }
}

/* --- Numbers and words ------------------------------------------------------------------------ */

static int32_t check_digits(struct reader *reader)
{
    if (peek(reader) < 0 || !isdigit(peek(reader)))
        return refuse(reader, "bad number");
    while (peek(reader) >= 0 && isdigit(peek(reader)))
        reader->at++;
    return 0;
}

static int32_t check_number_form(struct reader *reader)
{
    (void)take(reader, '-');
    if (!take(reader, '0') && check_digits(reader))
        return -1;
    if (take(reader, '.') && check_digits(reader))
        return -1;
    if (take(reader, 'e') || take(reader, 'E')) {
        if (!take(reader, '+'))
            (void)take(reader, '-');
        return check_digits(reader);
    }
    return 0;
}

static int32_t check_number(struct reader *reader)
{
    const unsigned char *start = reader->at;
    if (check_number_form(reader))
        return -1;
    return reader->at - start <= LONGEST_NUMBER ? 0 : refuse(reader, "a number is too long");
}

static int32_t check_word(struct reader *reader)
{
    static const char *const WORDS[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t length = strlen(WORDS[i]);
        if ((size_t)(reader->end - reader->at) >= length &&
            memcmp(reader->at, WORDS[i], length) == 0) {
            reader->at += length;
            return 0;
        }
    }
    return refuse(reader, "expected a value");
}

/* --- Values ----------------------------------------------------------------------------------- */

static int32_t check_value(struct reader *reader, uint32_t depth);

static int32_t check_member(struct reader *reader, uint32_t depth)
{
    skip_space(reader);
    if (check_string(reader))
        return -1;
    skip_space(reader);
    return take(reader, ':') ? check_value(reader, depth) : refuse(reader, "expected a colon");
}

/* What stands between the brackets that end with close. */
static int32_t check_items(struct reader *reader, uint32_t depth, char close)
{
    skip_space(reader);
    if (take(reader, close))
        return 0;
    for (uint32_t count = 1;; count++) {
        if (close == '}' && count > reader->limits->members)
            return refuse(reader, "too many members");
        if (close == '}' ? check_member(reader, depth) : check_value(reader, depth))
            return -1;
        skip_space(reader);
        if (take(reader, close))
            return 0;
        if (!take(reader, ','))
            return refuse(reader, "expected a comma");
    }
}

static int32_t check_value(struct reader *reader, uint32_t depth)
{
    if (depth == reader->limits->depth)
        return refuse(reader, "nested too deep");
    skip_space(reader);
    int32_t c = peek(reader);
    if (c == '"')
        return check_string(reader);
    if (take(reader, '{'))
        return check_items(reader, depth + 1, '}');
    if (take(reader, '['))
        return check_items(reader, depth + 1, ']');
    if (c == '-' || (c >= 0 && isdigit(c)))
        return check_number(reader);
    return check_word(reader);
}

/* Duplicates can only be told after the escapes in names are resolved. */
static int32_t has_duplicate(const cJSON *tree)
{
    for (const cJSON *item = tree->child; item; item = item->next) {
        for (const cJSON *other = item->next; cJSON_IsObject(tree) && other; other = other->next)
            if (strcmp(item->string, other->string) == 0)
                return 1;
        if (has_duplicate(item))
            return 1;
    }
    return 0;
}

static cJSON *parse_object(
    const char *bytes, size_t length, const struct limits *limits, const char **why)
{
    struct reader reader = {
        (const unsigned char *)bytes, (const unsigned char *)bytes + length, NULL, limits};
    skip_space(&reader);
    if (peek(&reader) != '{')
        (void)refuse(&reader, "expected an object");
    else
        (void)check_value(&reader, 0);
    skip_space(&reader);
    if (!reader.why && reader.at != reader.end)
        (void)refuse(&reader, "bytes behind the object");
    *why = reader.why;
    if (reader.why)
        return NULL;
    pthread_mutex_lock(&parse_lock);
    cJSON *tree = cJSON_ParseWithLength(bytes, length);
    pthread_mutex_unlock(&parse_lock);
    if (!tree) {
        *why = NULL; /* it is well-formed: there was no memory */
    } else if (has_duplicate(tree)) {
        *why = "duplicate name";
        cvm_json_wipe(tree);
        tree = NULL;
    }
    return tree;
}

cJSON *cvm_json_object(const char *bytes, size_t length, const char **why)
{
    return parse_object(bytes, length, &REQUEST, why);
}

/* The escape of NUL becomes that of U+FFFD, which is as long. */
static void replace_nul(char *bytes, size_t length)
{
    static const char NUL[] = "\\u0000";
    for (size_t i = 0; i + 6 <= length; i++) {
        if (bytes[i] != '\\')
            continue;
        if (memcmp(bytes + i, NUL, 6) == 0)
            memcpy(bytes + i + 2, "fffd", 4);
        i++; /* what it escapes is no beginning */
    }
}

cJSON *cvm_json_answer(char *bytes, size_t length, const char **why)
{
    replace_nul(bytes, length);
    return parse_object(bytes, length, &ANSWER, why);
}

static void wipe(const cJSON *tree)
{
    for (const cJSON *item = tree; item; item = item->next) {
        if (item->valuestring)
            OPENSSL_cleanse(item->valuestring, strlen(item->valuestring));
        wipe(item->child);
    }
}

void cvm_json_wipe(cJSON *tree)
{
    if (tree)
        wipe(tree);
    cJSON_Delete(tree);
}
