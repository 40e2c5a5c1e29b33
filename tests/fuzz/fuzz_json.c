/* The strict JSON reader against jansson: both take or refuse the same objects, and read the same
 * values out of them, but for what is named below. */
#include "fuzz.h"

#include <string.h>

#include <jansson.h>

#include "base/json.h"

/* Limits of ours that jansson does not have. */
static int32_t is_limit_of_ours(const char *why)
{
    static const char *const LIMITS[] = {
        "nested too deep", "too many members", "expected an object", "a number is too long"};
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++)
        if (strcmp(why, LIMITS[i]) == 0)
            return 1;
    return 0;
}

static void compare(const cJSON *ours, const json_t *theirs);

static void compare_object(const cJSON *ours, const json_t *theirs)
{
    size_t count = 0;
    for (const cJSON *member = ours->child; member; member = member->next, count++) {
        CHECK(member->string);
        compare(member, json_object_get(theirs, member->string));
    }
    CHECK(count == json_object_size(theirs));
}

static void compare_array(const cJSON *ours, const json_t *theirs)
{
    size_t count = 0;
    for (const cJSON *item = ours->child; item; item = item->next, count++)
        compare(item, json_array_get(theirs, count));
    CHECK(count == json_array_size(theirs));
}

static void compare(const cJSON *ours, const json_t *theirs)
{
    CHECK(theirs);
    CHECK(!cJSON_IsObject(ours) == !json_is_object(theirs));
    CHECK(!cJSON_IsArray(ours) == !json_is_array(theirs));
    CHECK(!cJSON_IsString(ours) == !json_is_string(theirs));
    CHECK(!cJSON_IsNumber(ours) == !json_is_number(theirs));
    CHECK(!cJSON_IsTrue(ours) == !json_is_true(theirs));
    CHECK(!cJSON_IsFalse(ours) == !json_is_false(theirs));
    CHECK(!cJSON_IsNull(ours) == !json_is_null(theirs));
    if (cJSON_IsObject(ours))
        compare_object(ours, theirs);
    else if (cJSON_IsArray(ours))
        compare_array(ours, theirs);
    else if (cJSON_IsString(ours))
        CHECK(strlen(ours->valuestring) == json_string_length(theirs) &&
              strcmp(ours->valuestring, json_string_value(theirs)) == 0);
    else if (cJSON_IsNumber(ours))
        CHECK(ours->valuedouble == json_number_value(theirs));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *why = "";
    json_error_t error;
    cJSON *ours = cvm_json_object((const char *)data, size, &why);
    json_t *theirs = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &error);
    CHECK(!ours == !!why);
    CHECK(!ours || !memchr(data, 0, size));
    if (ours && theirs)
        compare(ours, theirs);
    else if (theirs) /* jansson passes over a NUL behind a number */
        CHECK(is_limit_of_ours(why) || memchr(data, 0, size));
    else if (ours)
        CHECK(json_error_code(&error) == json_error_numeric_overflow);
    json_decref(theirs);
    cvm_json_wipe(ours);
    return 0;
}
