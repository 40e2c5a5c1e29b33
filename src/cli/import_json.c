/* JSON lines by the core's strict reader. Only known names pass, and what their values hold is
 * checked later. */
#include "import_json.h"

#include <string.h>

#include "base/json.h"

/* true, false, 1, 0 and their texts; NULL for the rest. */
static const char *flag_of(const cJSON *item)
{
    if (cJSON_IsBool(item))
        return cJSON_IsTrue(item) ? "true" : "false";
    if (cJSON_IsString(item) && *item->valuestring)
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
    if (!text)
        return field == &fields->is_enabled ? "is_enabled is neither 1, 0, true nor false"
                                            : "device_uid and device_token must be texts";
    *field = text;
    return NULL;
}

const char *import_json_line(
    const char *text, size_t length, struct import_fields *fields, struct cJSON **object)
{
    const char *why;
    *fields = (struct import_fields){0};
    *object = cvm_json_object(text, length, &why);
    if (!*object)
        return why ? why : "out of memory";
    const cJSON *item;
    cJSON_ArrayForEach(item, *object)
    {
        const char *complaint = take_member(item, fields);
        if (complaint)
            return complaint;
    }
    return NULL;
}

void import_json_forget(struct cJSON *object)
{
    cvm_json_wipe(object);
}
