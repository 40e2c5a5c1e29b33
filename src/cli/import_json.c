/* JSON lines by cJSON, made strict: cJSON takes control characters as spaces, cuts a text at
 * \u0000, and allows names twice. Only known names pass, and what their values hold is checked
 * later. */
#include "import_json.h"

#include <stdint.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <openssl/crypto.h>

/* An escaped NUL: a backslash that isn't itself escaped, and u0000. */
static int32_t has_escaped_nul(const char *text)
{
    for (const char *c = strchr(text, '\\'); c; c = strchr(c + 2, '\\')) {
        if (strncmp(c + 1, "u0000", 5) == 0)
            return 1;
        if (!c[1])
            return 0;
    }
    return 0;
}

static int32_t has_control_characters(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < ' ' && text[i] != '\t')
            return 1;
    return 0;
}

/* true, false, 1, 0 and their texts; NULL for the rest. */
static const char *flag_of(const cJSON *item)
{
    if (cJSON_IsBool(item))
        return cJSON_IsTrue(item) ? "true" : "false";
    if (cJSON_IsString(item))
        return item->valuestring;
    if (cJSON_IsNumber(item) && item->valuedouble == 1)
        return "1";
    if (cJSON_IsNumber(item) && item->valuedouble == 0)
        return "0";
    return NULL;
}

static const char *take_member(const cJSON *item, struct import_fields *fields)
{
    const char **field;
    const char *text = cJSON_GetStringValue(item);
    if (strcmp(item->string, "device_uid") == 0) {
        field = &fields->uid;
    } else if (strcmp(item->string, "device_token") == 0) {
        field = &fields->token;
    } else if (strcmp(item->string, "is_enabled") == 0) {
        field = &fields->is_enabled;
        text = flag_of(item);
    } else {
        return "unknown name in the object: there are device_uid, device_token and is_enabled";
    }
    if (*field)
        return "a name is there twice";
    if (!text)
        return field == &fields->is_enabled ? "is_enabled is neither 1, 0, true nor false"
                                            : "device_uid and device_token must be texts";
    *field = text;
    return NULL;
}

const char *import_json_line(
    const char *text, size_t length, struct import_fields *fields, struct cJSON **object)
{
    *fields = (struct import_fields){0};
    *object = NULL;
    if (has_control_characters(text, length) || has_escaped_nul(text))
        return "the line holds a control character";
    *object = cJSON_ParseWithLengthOpts(text, length + 1, NULL, 1);
    if (!cJSON_IsObject(*object))
        return "the line is not one JSON object";
    const cJSON *item;
    cJSON_ArrayForEach(item, *object)
    {
        const char *complaint = take_member(item, fields);
        if (complaint)
            return complaint;
    }
    return NULL;
}

static void wipe(cJSON *item)
{
    for (; item; item = item->next) {
        if (item->valuestring)
            OPENSSL_cleanse(item->valuestring, strlen(item->valuestring));
        wipe(item->child);
    }
}

void import_json_forget(struct cJSON *object)
{
    wipe(object);
    cJSON_Delete(object);
}
