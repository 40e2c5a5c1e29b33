/* Which format it is, and errors in each. */
#include "formats/format.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "builtin.h"
#include "error.h"

const struct cvm_format *cvm_format_of(const char *media_type)
{
    size_t length = media_type ? strcspn(media_type, "; \t") : 0;
    const struct cvm_format *const *format = CVM_BUILTIN_FORMATS;
    while (*format && !(*format)->takes(media_type ? media_type : "", length))
        format++;
    return *format;
}

/* An element of an Accept field, without its parameters. */
static const struct cvm_format *format_named(const char *element, size_t length)
{
    const struct cvm_format *const *format = CVM_BUILTIN_FORMATS;
    while (*format && (strlen((*format)->media_type) != length ||
                          strncasecmp((*format)->media_type, element, length) != 0))
        format++;
    return *format;
}

/* Is there a weight of "0", "0.0" and so on among the parameters of an element? */
static int32_t format_is_refused(const char *parameters, size_t length)
{
    const char *at = parameters, *end = parameters + length;
    while ((at = memchr(at, ';', (size_t)(end - at)))) {
        at += 1 + strspn(at + 1, " \t");
        if (strncasecmp(at, "q=0", 3) != 0)
            continue;
        at += 3;
        at += *at == '.';
        at += strspn(at, "0");
        if (at >= end || strchr("; \t,", *at))
            return 1;
    }
    return 0;
}

const struct cvm_format *cvm_format_answered(const char *media_type, const char *accept)
{
    while (accept && *accept) {
        accept += strspn(accept, ", \t");
        size_t length = strcspn(accept, ","), type = strcspn(accept, ",; \t");
        const struct cvm_format *format = format_named(accept, type);
        if (format && !format_is_refused(accept + type, length - type))
            return format;
        accept += length;
    }
    const struct cvm_format *own = cvm_format_of(media_type);
    return own ? own : &CVM_FORMAT_JSON;
}

/* --- Errors ----------------------------------------------------------------------------------- */

static enum cvm_reason format_reason(const char *name)
{
    for (enum cvm_reason reason = REASON_ok; name && reason < REASON_COUNT; reason++)
        if (strcmp(cvm_reason_name(reason), name) == 0)
            return reason;
    return REASON_internal;
}

void cvm_format_render_error(const struct cvm_format *format, const cvm_error_t *error,
    const char *request_id, struct cvm_buffer *body)
{
    format->render_error(error, request_id, body);
    if (!body->failed)
        return;
    cvm_error_t plain = *error; /* by its reason's own text, which is short */
    cvm_error_set(&plain, error->reason, NULL);
    cvm_buffer_clear(body);
    format->render_error(&plain, NULL, body);
    if (body->failed)
        cvm_buffer_clear(body);
}

void cvm_format_name_error(cvm_error_t *error, const char *name, const char *message)
{
    cvm_error_set(error, format_reason(name), message);
}

/* For services with a server of their own. */
int32_t cvm_error_render(
    const char *name, const char *message, const char *request_id, char *body, size_t size)
{
    cvm_error_t error;
    struct cvm_buffer text = {.most = body ? size : 0};
    cvm_format_name_error(&error, name, message);
    int32_t status = cvm_reason_http_status(error.reason);
    CVM_FORMAT_JSON.render_error(&error, request_id, &text);
    if (body && size && !text.failed)
        memcpy(body, text.text, text.length + 1);
    else if (body && size)
        (void)snprintf(body, size, "{\"statusCode\":%d,\"status\":\"ERROR\"}", (int)status);
    cvm_buffer_free(&text);
    return status;
}
