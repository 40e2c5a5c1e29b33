/* Which format it is. */
#include "formats/format.h"

#include <string.h>
#include <strings.h>

static const struct cvm_format *const FORMATS[] = {&CVM_FORMAT_JSON};
#define FORMAT_COUNT (sizeof FORMATS / sizeof FORMATS[0])

const struct cvm_format *cvm_format_of(const char *media_type)
{
    size_t length = media_type ? strcspn(media_type, "; \t") : 0;
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (FORMATS[i]->takes(media_type ? media_type : "", length))
            return FORMATS[i];
    return NULL;
}

/* An element of an Accept field, without its parameters. */
static const struct cvm_format *named(const char *element, size_t length)
{
    for (size_t i = 0; i < FORMAT_COUNT; i++)
        if (strlen(FORMATS[i]->media_type) == length &&
            strncasecmp(FORMATS[i]->media_type, element, length) == 0)
            return FORMATS[i];
    return NULL;
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
