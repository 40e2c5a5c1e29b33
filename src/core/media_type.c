/* JSON goes by many names: besides its own, small stacks and curl -d send what their authors never
 * set. What is in the payload is read strictly all the same. */
#include "media_type.h"

#include <string.h>
#include <strings.h>

static const char *const TAKEN_AS_JSON[] = {
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
};

/* A type under "text/", or one with the suffix of RFC 6839 §3.1. */
static int32_t is_like_json(const char *type, size_t length)
{
    static const char TEXT[] = "text/", JSON[] = "+json";
    const size_t text = sizeof TEXT - 1, json = sizeof JSON - 1;
    const char *slash = memchr(type, '/', length);
    return (length > text && strncasecmp(type, TEXT, text) == 0) ||
           (length > json && slash && slash > type && slash < type + length - json - 1 &&
               strncasecmp(type + length - json, JSON, json) == 0);
}

int32_t cvm_media_type_is_taken(const char *media_type)
{
    size_t length = media_type ? strcspn(media_type, "; \t") : 0;
    for (size_t i = 0; i < sizeof TAKEN_AS_JSON / sizeof TAKEN_AS_JSON[0]; i++)
        if (strlen(TAKEN_AS_JSON[i]) == length &&
            strncasecmp(media_type, TAKEN_AS_JSON[i], length) == 0)
            return 1;
    return !length || is_like_json(media_type, length);
}
