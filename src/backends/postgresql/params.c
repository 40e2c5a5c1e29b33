/* Parameters as texts, and PostgreSQL's array literals. */
#include "params.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"

/* --- An array that grows ---------------------------------------------------------------------- */

struct array {
    char *text;
    size_t length, size;
    int32_t failed;
};

static void array_add(struct array *array, const char *bytes, size_t length)
{
    if (array->failed)
        return;
    if (array->length + length + 1 > array->size) {
        size_t size = array->size ? array->size : 64;
        while (size < array->length + length + 1)
            size *= 2;
        char *larger = malloc(size); /* not realloc(): what is given back is wiped */
        if (!larger) {
            array->failed = 1;
            return;
        }
        if (array->text)
            memcpy(larger, array->text, array->length);
        cvm_secret_free(array->text, array->length);
        array->text = larger;
        array->size = size;
    }
    memcpy(array->text + array->length, bytes, length);
    array->length += length;
    array->text[array->length] = 0;
}

static void array_begin_element(struct array *array)
{
    array_add(array, array->length ? "," : "{", 1);
}

static void array_add_text(struct array *array, const char *text)
{
    array_begin_element(array);
    if (!*text) {
        array_add(array, "NULL", 4);
        return;
    }
    array_add(array, "\"", 1);
    while (*text) {
        size_t plain = strcspn(text, "\"\\");
        array_add(array, text, plain);
        text += plain;
        if (*text) {
            array_add(array, "\\", 1);
            array_add(array, text++, 1);
        }
    }
    array_add(array, "\"", 1);
}

static void array_add_number(struct array *array, int64_t number)
{
    char text[24];
    array_begin_element(array);
    array_add(array, text, (size_t)snprintf(text, sizeof text, "%" PRId64, number));
}

static void array_end(struct array *array, struct params *params)
{
    if (!array->length)
        array_add(array, "{", 1);
    array_add(array, "}", 1);
    params->failed |= array->failed;
    params->owned[params->count] = array->text;
    params->values[params->count++] = array->text;
}

/* --- Parameters ------------------------------------------------------------------------------- */

void cvm_params_text(struct params *params, const char *text)
{
    params->values[params->count++] = text && *text ? text : NULL;
}

void cvm_params_number(struct params *params, int64_t number)
{
    char *text = params->numbers[params->count];
    (void)snprintf(text, sizeof params->numbers[0], "%" PRId64, number);
    params->values[params->count++] = text;
}

void cvm_params_texts(struct params *params, const char *const *texts, uint32_t count)
{
    struct array array = {NULL, 0, 0, 0};
    for (uint32_t i = 0; i < count; i++)
        array_add_text(&array, texts[i]);
    array_end(&array, params);
}

void cvm_params_numbers(struct params *params, const int64_t *numbers, uint32_t count)
{
    struct array array = {NULL, 0, 0, 0};
    for (uint32_t i = 0; i < count; i++)
        array_add_number(&array, numbers[i]);
    array_end(&array, params);
}

void cvm_params_column(struct params *params, const cvm_host_t *host,
    const cvm_record_t *const *records, uint32_t count, cvm_record_kind_t kind, uint32_t field)
{
    struct array array = {NULL, 0, 0, 0};
    for (uint32_t i = 0; i < count; i++) {
        if (host->field_kind(kind, field) == CVM_FIELD_NUMBER)
            array_add_number(&array, host->number(records[i], field));
        else
            array_add_text(&array, host->text(records[i], field));
    }
    array_end(&array, params);
}

void cvm_params_clear(struct params *params)
{
    for (int i = 0; i < params->count; i++)
        if (params->owned[i])
            cvm_secret_free(params->owned[i], strlen(params->owned[i]));
    memset(params, 0, sizeof *params);
}
