/* cvm_error_t and what is derived from the table of reasons. They are rendered in formats/. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct reason {
    const char *name;
    int32_t code, http_status, retryable;
    const char *text;
};

#define ROW(id, name, code, status, retryable, text)                                               \
    {name, CVM_CODE_##code, status, retryable, text},
static const struct reason REASONS[REASON_COUNT] = {CVM_REASON_MAP(ROW)};
#undef ROW

static struct cvm_error_s out_of_memory = {REASON_internal, 0, "", "out of memory", ""};

/* A name or path may be no UTF-8, and what is cut may end within a character: what is none becomes
 * "?".
 */
static void error_clean(char *text)
{
    unsigned char *at = (unsigned char *)text;
    for (size_t left = strlen(text), length; left; at += length, left -= length) {
        length = cvm_utf8_length(at, left);
        if (length)
            continue;
        *at = '?';
        length = 1;
    }
}

void cvm_error_set(cvm_error_t *error, enum cvm_reason reason, const char *text)
{
    error->reason = reason;
    error->retry_after_s = 0;
    error->step = "";
    *error->subject = 0;
    (void)snprintf(error->text, sizeof error->text, "%s", text ? text : REASONS[reason].text);
    error_clean(error->text);
}

cvm_error_t *cvm_error_about(cvm_error_t *error, const char *subject)
{
    if (!error || error == &out_of_memory)
        return error;
    size_t length = strlen(subject), most = sizeof error->subject - 1;
    (void)snprintf(error->subject, sizeof error->subject, "%s",
        length > most ? subject + length - most : subject);
    error_clean(error->subject);
    return error;
}

void cvm_error_retry_after(cvm_error_t *error, uint32_t seconds)
{
    if (error != &out_of_memory)
        error->retry_after_s = seconds;
}

static cvm_error_t *error_print(enum cvm_reason reason, const char *format, va_list arguments)
{
    cvm_error_t *error = malloc(sizeof *error);
    if (!error)
        return &out_of_memory;
    cvm_error_set(error, reason, NULL);
    if (format) {
        (void)vsnprintf(error->text, sizeof error->text, format, arguments);
        error_clean(error->text);
    }
    return error;
}

cvm_error_t *cvm_error_new(enum cvm_reason reason, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    cvm_error_t *error = error_print(reason, format, arguments);
    va_end(arguments);
    return error;
}

cvm_error_t *cvm_error_configuration(const char *subject, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    cvm_error_t *error = error_print(REASON_configuration, format, arguments);
    va_end(arguments);
    return cvm_error_about(error, subject);
}

cvm_error_t *cvm_error_out_of_memory(void)
{
    return &out_of_memory;
}

void cvm_error_free(cvm_error_t *error)
{
    if (error != &out_of_memory)
        free(error);
}

int32_t cvm_error_code(const cvm_error_t *error)
{
    return error ? REASONS[error->reason].code : CVM_CODE_OK;
}

const char *cvm_error_name(const cvm_error_t *error)
{
    return cvm_reason_name(error ? error->reason : REASON_ok);
}

const char *cvm_error_text(const cvm_error_t *error)
{
    return error ? error->text : REASONS[REASON_ok].text;
}

const char *cvm_error_step(const cvm_error_t *error)
{
    return error ? error->step : "";
}

const char *cvm_error_subject(const cvm_error_t *error)
{
    return error ? error->subject : "";
}

int32_t cvm_error_retryable(const cvm_error_t *error)
{
    return error ? REASONS[error->reason].retryable : 0;
}

uint32_t cvm_error_retry_after_s(const cvm_error_t *error)
{
    return error ? error->retry_after_s : 0;
}

const char *cvm_reason_name(enum cvm_reason reason)
{
    return REASONS[reason].name;
}

const char *cvm_reason_text(enum cvm_reason reason)
{
    return REASONS[reason].text;
}

int32_t cvm_reason_http_status(enum cvm_reason reason)
{
    return REASONS[reason].http_status;
}
