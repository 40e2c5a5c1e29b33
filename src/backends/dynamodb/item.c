/* Items and expressions. Names stand behind #, since many words are reserved. */
#include "item.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_PART                                                                               \
    (2u << 20) /* of an expression: names and values with a PEM or a value among them */

/* --- Reading ---------------------------------------------------------------------------------- */

static const cJSON *typed(const cJSON *item, const char *name, const char *type)
{
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(item, name), type);
}

const char *cvm_dynamo_text(const cJSON *item, const char *name)
{
    const char *text = cJSON_GetStringValue(typed(item, name, "S"));
    return text ? text : "";
}

int64_t cvm_dynamo_number(const cJSON *item, const char *name)
{
    const char *text = cJSON_GetStringValue(typed(item, name, "N"));
    char *end = NULL;
    long long number = text ? strtoll(text, &end, 10) : 0;
    return text && !*end ? number : 0;
}

int32_t cvm_dynamo_has(const cJSON *item, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(item, name) != NULL;
}

enum flag cvm_dynamo_flag(const cJSON *item, const char *name)
{
    const cJSON *is_on = typed(item, name, "BOOL");
    const char *text = cJSON_GetStringValue(typed(item, name, "N"));
    if (!text)
        text = cJSON_GetStringValue(typed(item, name, "S"));
    if (!cvm_dynamo_has(item, name))
        return FLAG_MISSING;
    if (cJSON_IsBool(is_on))
        return cJSON_IsTrue(is_on) ? FLAG_ON : FLAG_OFF;
    if (text && strcmp(text, "1") == 0)
        return FLAG_ON;
    return text && strcmp(text, "0") == 0 ? FLAG_OFF : FLAG_UNKNOWN;
}

const cJSON *cvm_dynamo_members(const cJSON *item, const char *name)
{
    const cJSON *texts = typed(item, name, "SS");
    return cJSON_IsArray(texts) ? texts->child : NULL;
}

const char *cvm_dynamo_member(const cJSON *item, const char *name, uint32_t i)
{
    const cJSON *texts = cvm_dynamo_members(item, name);
    while (texts && i--)
        texts = texts->next;
    return cJSON_GetStringValue(texts);
}

/* --- Keys ------------------------------------------------------------------------------------- */

static void print_text(struct cvm_buffer *to, const char *before, const char *text)
{
    cvm_buffer_text(to, before);
    cvm_buffer_json(to, text);
    cvm_buffer_text(to, "}");
}

void cvm_dynamo_print_key(struct cvm_buffer *to, const char *pk, const char *sk)
{
    print_text(to, sk ? "{\"pk\":{\"S\":" : "{\"device_uid\":{\"S\":", pk);
    if (sk)
        print_text(to, ",\"sk\":{\"S\":", sk);
    cvm_buffer_text(to, "}");
}

void cvm_dynamo_print_table(struct cvm_buffer *to, const char *table)
{
    cvm_buffer_text(to, "{\"TableName\":");
    cvm_buffer_json(to, table);
}

void cvm_dynamo_print_target(
    struct cvm_buffer *to, const char *table, const char *pk, const char *sk)
{
    cvm_dynamo_print_table(to, table);
    cvm_buffer_text(to, ",\"Key\":");
    cvm_dynamo_print_key(to, pk, sk);
}

/* --- Names and values ------------------------------------------------------------------------- */

static void each_part(struct expression *expression, void (*call)(struct cvm_buffer *part))
{
    struct cvm_buffer *const PARTS[] = {&expression->set, &expression->remove, &expression->add,
        &expression->condition, &expression->names, &expression->values};
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        call(PARTS[i]);
        PARTS[i]->most = LARGEST_PART;
    }
    expression->name_count = expression->value_count = 0;
    expression->failed = 0;
}

void cvm_dynamo_expression_clear(struct expression *expression)
{
    each_part(expression, cvm_buffer_clear);
}

void cvm_dynamo_expression_free(struct expression *expression)
{
    each_part(expression, cvm_buffer_free);
}

/* Of a form each # and : is a name's or a value's, and gets the next number behind it. */
static void print_numbered(struct cvm_buffer *to, const char *form, va_list numbers)
{
    while (*form) {
        size_t length = strcspn(form, "#:");
        int32_t is_numbered = form[length] != 0;
        cvm_buffer_add(to, form, length + (size_t)is_numbered);
        if (is_numbered)
            cvm_buffer_number(to, va_arg(numbers, uint32_t));
        form += length + (size_t)is_numbered;
    }
}

static void print_form(struct cvm_buffer *to, const char *form, ...)
{
    va_list numbers;
    va_start(numbers, form);
    print_numbered(to, form, numbers);
    va_end(numbers);
}

uint32_t cvm_dynamo_name(struct expression *expression, const char *name)
{
    uint32_t number = expression->name_count++;
    print_form(&expression->names, number ? ",\"#" : "\"#", number);
    cvm_buffer_text(&expression->names, "\":");
    cvm_buffer_json(&expression->names, name);
    return number;
}

/* Declares a value that follows. */
static uint32_t value_number(struct expression *expression)
{
    uint32_t number = expression->value_count++;
    print_form(&expression->values, number ? ",\":" : "\":", number);
    cvm_buffer_text(&expression->values, "\":");
    return number;
}

uint32_t cvm_dynamo_value_text(struct expression *expression, const char *text)
{
    uint32_t number = value_number(expression);
    print_text(&expression->values, "{\"S\":", text);
    return number;
}

uint32_t cvm_dynamo_value_number(struct expression *expression, int64_t number)
{
    uint32_t value = value_number(expression);
    cvm_buffer_text(&expression->values, "{\"N\":\"");
    cvm_buffer_number(&expression->values, number);
    cvm_buffer_text(&expression->values, "\"}");
    return value;
}

uint32_t cvm_dynamo_value_nul(struct expression *expression)
{
    uint32_t value = value_number(expression);
    cvm_buffer_text(&expression->values, "{\"S\":\"\\u0000\"}");
    return value;
}

uint32_t cvm_dynamo_value_bool(struct expression *expression, int32_t is_on)
{
    uint32_t value = value_number(expression);
    cvm_buffer_text(&expression->values, is_on ? "{\"BOOL\":true}" : "{\"BOOL\":false}");
    return value;
}

/* --- The update ------------------------------------------------------------------------------- */

void cvm_dynamo_set(struct expression *expression, const char *name, uint32_t value)
{
    print_form(&expression->set,
        expression->set.length ? ",#=:" : "SET #=:", cvm_dynamo_name(expression, name), value);
}

void cvm_dynamo_remove(struct expression *expression, const char *name)
{
    print_form(&expression->remove, expression->remove.length ? ",#" : "REMOVE #",
        cvm_dynamo_name(expression, name));
}

void cvm_dynamo_set_text(struct expression *expression, const char *name, const char *text)
{
    if (*text)
        cvm_dynamo_set(expression, name, cvm_dynamo_value_text(expression, text));
    else
        cvm_dynamo_remove(expression, name);
}

void cvm_dynamo_set_number(struct expression *expression, const char *name, int64_t number)
{
    if (number)
        cvm_dynamo_set(expression, name, cvm_dynamo_value_number(expression, number));
    else
        cvm_dynamo_remove(expression, name);
}

void cvm_dynamo_set_flag(struct expression *expression, const char *name, int32_t is_on)
{
    cvm_dynamo_set(expression, name, cvm_dynamo_value_number(expression, is_on != 0));
}

static void add_set_once(struct expression *expression, const char *name, uint32_t value)
{
    uint32_t number = cvm_dynamo_name(expression, name);
    print_form(&expression->set,
        expression->set.length ? ",#=if_not_exists(#,:)" : "SET #=if_not_exists(#,:)", number,
        number, value);
}

void cvm_dynamo_set_once(struct expression *expression, const char *name, const char *text)
{
    if (*text)
        add_set_once(expression, name, cvm_dynamo_value_text(expression, text));
}

void cvm_dynamo_set_number_once(struct expression *expression, const char *name, int64_t number)
{
    if (number)
        add_set_once(expression, name, cvm_dynamo_value_number(expression, number));
}

void cvm_dynamo_add_members(
    struct expression *expression, const char *name, const char *const *texts, uint32_t count)
{
    if (!count)
        return;
    uint32_t value = value_number(expression);
    cvm_buffer_text(&expression->values, "{\"SS\":[");
    for (uint32_t i = 0; i < count; i++) {
        cvm_buffer_text(&expression->values, i ? "," : "");
        cvm_buffer_json(&expression->values, texts[i]);
    }
    cvm_buffer_text(&expression->values, "]}");
    print_form(&expression->add, "ADD # :", cvm_dynamo_name(expression, name), value);
}

/* --- The condition ---------------------------------------------------------------------------- */

void cvm_dynamo_and(struct expression *expression, const char *form, ...)
{
    va_list numbers;
    va_start(numbers, form);
    cvm_buffer_text(&expression->condition, expression->condition.length ? " AND " : "");
    print_numbered(&expression->condition, form, numbers);
    va_end(numbers);
}

void cvm_dynamo_and_missing(struct expression *expression, const char *name)
{
    cvm_dynamo_and(expression, "attribute_not_exists(#)", cvm_dynamo_name(expression, name));
}

void cvm_dynamo_and_text(struct expression *expression, const char *name, const char *text)
{
    if (*text)
        cvm_dynamo_and(expression, "#=:", cvm_dynamo_name(expression, name),
            cvm_dynamo_value_text(expression, text));
    else
        cvm_dynamo_and_missing(expression, name);
}

void cvm_dynamo_and_number(struct expression *expression, const char *name, int64_t number)
{
    if (number)
        cvm_dynamo_and(expression, "#=:", cvm_dynamo_name(expression, name),
            cvm_dynamo_value_number(expression, number));
    else
        cvm_dynamo_and_missing(expression, name);
}

/* --- Printing --------------------------------------------------------------------------------- */

static void print_part(struct cvm_buffer *to, const char *before, const struct cvm_buffer *part)
{
    if (!part->length)
        return;
    cvm_buffer_text(to, before);
    cvm_buffer_add(to, part->text, part->length);
    cvm_buffer_text(to, "}");
}

static void print_update(struct cvm_buffer *to, const struct expression *expression)
{
    const struct cvm_buffer *const PARTS[] = {
        &expression->set, &expression->remove, &expression->add};
    int32_t is_first = 1;
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        if (!PARTS[i]->length)
            continue;
        cvm_buffer_text(to, is_first ? ",\"UpdateExpression\":\"" : " ");
        cvm_buffer_add(to, PARTS[i]->text, PARTS[i]->length);
        is_first = 0;
    }
    cvm_buffer_text(to, is_first ? "" : "\"");
}

void cvm_dynamo_print_expression(
    struct cvm_buffer *to, const struct expression *expression, int32_t is_open)
{
    to->failed |= expression->failed || expression->set.failed || expression->remove.failed ||
                  expression->add.failed || expression->condition.failed ||
                  expression->names.failed || expression->values.failed;
    if (to->failed)
        return;
    print_update(to, expression);
    if (expression->condition.length) {
        cvm_buffer_text(to, ",\"ConditionExpression\":\"");
        cvm_buffer_add(to, expression->condition.text, expression->condition.length);
        cvm_buffer_text(to, "\"");
    }
    print_part(to, ",\"ExpressionAttributeNames\":{", &expression->names);
    print_part(to, ",\"ExpressionAttributeValues\":{", &expression->values);
    cvm_buffer_text(to, is_open ? "" : "}");
}
