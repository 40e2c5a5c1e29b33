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
static const struct cvm_format *named(const char *element, size_t length)
{
    const struct cvm_format *const *format = CVM_BUILTIN_FORMATS;
    while (*format && (strlen((*format)->media_type) != length ||
                          strncasecmp((*format)->media_type, element, length) != 0))
        format++;
    return *format;
}

/* "q=0", "q=0.0" and so on: anything but that. */
static int32_t is_refused(const char *parameters, size_t length)
{
    const char *q = memmem(parameters, length, "q=0", 3);
    if (!q)
        return 0;
    for (q += 3; q < parameters + length && *q != ','; q++)
        if (*q >= '1' && *q <= '9')
            return 0;
    return 1;
}

const struct cvm_format *cvm_format_accepted(
    const char *accept, const struct cvm_format *of_request)
{
    while (accept && *accept) {
        accept += strspn(accept, ", \t");
        size_t length = strcspn(accept, ","), type = strcspn(accept, ",; \t");
        const struct cvm_format *format = named(accept, type);
        if (format && !is_refused(accept + type, length - type))
            return format;
        accept += length;
    }
    return of_request;
}

const struct cvm_format *cvm_format_answered(const char *media_type, const char *accept)
{
    const struct cvm_format *format = cvm_format_of(media_type);
    return cvm_format_accepted(accept, format ? format : &CVM_FORMAT_JSON);
}

/* --- Errors ----------------------------------------------------------------------------------- */

static enum cvm_reason reason_named(const char *name)
{
    for (enum cvm_reason reason = REASON_ok; name && reason < REASON_COUNT; reason++)
        if (strcmp(cvm_reason_name(reason), name) == 0)
            return reason;
    return REASON_internal;
}

int32_t cvm_format_render_error(const struct cvm_format *format, const char *name,
    const char *message, const char *request_id, struct cvm_buffer *body)
{
    cvm_error_t error;
    cvm_error_set(&error, reason_named(name), message);
    format->render_error(&error, request_id, body);
    return cvm_reason_http_status(error.reason);
}

/* For services with a server of their own. */
int32_t cvm_error_render(
    const char *name, const char *message, const char *request_id, char *body, size_t size)
{
    struct cvm_buffer text = {.most = body ? size : 0};
    int32_t status = cvm_format_render_error(&CVM_FORMAT_JSON, name, message, request_id, &text);
    if (body && size && !text.failed)
        memcpy(body, text.text, text.length + 1);
    else if (body && size)
        (void)snprintf(body, size, "{\"statusCode\":%d,\"status\":\"ERROR\"}", (int)status);
    cvm_buffer_free(&text);
    return status;
}
