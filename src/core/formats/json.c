/* JSON: names and nesting are the reference system's. It goes by many media types: besides its own,
 * small stacks and curl -d send what their authors never set. What is in a payload is read strictly
 * all the same. */
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "base/json.h"
#include "error.h"
#include "formats/format.h"
#include "request.h"
#include "result.h"

/* --- Its media types -------------------------------------------------------------------------- */

static const char *const TAKEN_AS_JSON[] = {
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
};

/* A type under "text/", or one with the suffix of RFC 6839 §3.1. */
static int32_t json_is_like(const char *type, size_t length)
{
    static const char TEXT[] = "text/", JSON[] = "+json";
    const size_t text = sizeof TEXT - 1, json = sizeof JSON - 1;
    const char *slash = memchr(type, '/', length);
    return (length > text && strncasecmp(type, TEXT, text) == 0) ||
           (length > json && slash && slash > type && slash < type + length - json - 1 &&
               strncasecmp(type + length - json, JSON, json) == 0);
}

static int32_t json_takes(const char *media_type, size_t length)
{
    for (size_t i = 0; i < sizeof TAKEN_AS_JSON / sizeof TAKEN_AS_JSON[0]; i++)
        if (strlen(TAKEN_AS_JSON[i]) == length &&
            strncasecmp(media_type, TAKEN_AS_JSON[i], length) == 0)
            return 1;
    return !length || json_is_like(media_type, length);
}

/* --- Reading ---------------------------------------------------------------------------------- */

static cvm_error_t *json_read_member(cvm_request_t *request, const cJSON *member)
{
    for (size_t i = 0; i < REQUEST_FIELD_COUNT; i++) {
        const char *name = CVM_REQUEST_FIELD_NAMES[i];
        if (strcasecmp(member->string, name) != 0)
            continue;
        if (strcmp(member->string, name) != 0)
            return cvm_error_new(
                REASON_invalid_request, "the name of %s is in the wrong case", name);
        if (!cJSON_IsString(member))
            return cvm_error_new(REASON_invalid_request, "%s must be a string", name);
        return cvm_request_take(
            request, (enum cvm_request_field)i, member->valuestring, strlen(member->valuestring));
    }
    return NULL; /* others may know it */
}

static cvm_error_t *json_read(cvm_request_t *request, const char *bytes, size_t length)
{
    const char *why;
    cJSON *tree = cvm_json_object(bytes, length, &why);
    if (!tree && !why)
        return cvm_error_out_of_memory();
    if (!tree)
        return cvm_error_new(REASON_invalid_request, "not a valid JSON object: %s", why);
    cvm_error_t *error = NULL;
    for (const cJSON *member = tree->child; member && !error; member = member->next)
        error = json_read_member(request, member);
    cvm_json_wipe(tree);
    return error;
}

/* --- Rendering -------------------------------------------------------------------------------- */

static void json_add_member(struct cvm_buffer *body, const char *before, const char *text)
{
    cvm_buffer_text(body, before);
    cvm_buffer_json(body, text);
}

static void json_render(const cvm_result_t *result, struct cvm_buffer *body)
{
    cvm_buffer_text(body, "{\"statusCode\":200,\"status\":\"SUCCESS\",\"payload\":{");
    json_add_member(body, "\"endpoint\":", result->endpoint);
    json_add_member(body, ",\"thing_name\":", result->thing_name);
    json_add_member(body, ",\"certificates\":{\"device_certificate\":", result->device_certificate);
    json_add_member(body, ",\"root_ca\":", result->root_ca);
    if (result->private_key) {
        json_add_member(body, "},\"keyPair\":{\"publicKey\":", result->public_key);
        json_add_member(body, ",\"privateKey\":", result->private_key);
    }
    json_add_member(body, "},\"certificate_id\":", result->certificate_id);
    json_add_member(body, ",\"server_time\":", result->server_time);
    cvm_buffer_text(body, "}}");
}

static void json_render_error(
    const cvm_error_t *error, const char *request_id, struct cvm_buffer *body)
{
    cvm_buffer_text(body, "{\"statusCode\":");
    cvm_buffer_number(body, cvm_reason_http_status(error->reason));
    json_add_member(body, ",\"status\":\"ERROR\",\"payload\":{\"message\":", error->text);
    json_add_member(body, ",\"code\":", cvm_error_name(error));
    cvm_buffer_text(
        body, cvm_error_retryable(error) ? ",\"retryable\":true" : ",\"retryable\":false");
    if (request_id)
        json_add_member(body, ",\"request_id\":", request_id);
    cvm_buffer_text(body, "}}");
}

const struct cvm_format CVM_FORMAT_JSON = {
    .media_type = "application/json",
    .error_type = "application/json",
    .takes = json_takes,
    .read = json_read,
    .render = json_render,
    .render_error = json_render_error,
};
