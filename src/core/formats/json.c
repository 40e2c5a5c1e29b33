/* JSON: names and nesting are the reference system's. It goes by many media types: besides its own,
 * small stacks and curl -d send what their authors never set. What is in a payload is read strictly
 * all the same. */
#include <stdio.h>
#include <stdlib.h>
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
static int32_t is_like_json(const char *type, size_t length)
{
    static const char TEXT[] = "text/", JSON[] = "+json";
    const size_t text = sizeof TEXT - 1, json = sizeof JSON - 1;
    const char *slash = memchr(type, '/', length);
    return (length > text && strncasecmp(type, TEXT, text) == 0) ||
           (length > json && slash && slash > type && slash < type + length - json - 1 &&
               strncasecmp(type + length - json, JSON, json) == 0);
}

static int32_t takes(const char *media_type, size_t length)
{
    for (size_t i = 0; i < sizeof TAKEN_AS_JSON / sizeof TAKEN_AS_JSON[0]; i++)
        if (strlen(TAKEN_AS_JSON[i]) == length &&
            strncasecmp(media_type, TAKEN_AS_JSON[i], length) == 0)
            return 1;
    return !length || is_like_json(media_type, length);
}

/* --- Reading ---------------------------------------------------------------------------------- */

static cvm_error_t *set_csr(cvm_request_t *request, const char *pem)
{
    return cvm_request_set_csr(request, pem, strlen(pem));
}

static cvm_error_t *read_member(cvm_request_t *request, const cJSON *member)
{
    const struct {
        const char *name, *set_already;
        cvm_error_t *(*set)(cvm_request_t *request, const char *text);
    } known[] = {{"device_uid", request->uid, cvm_request_set_uid},
        {"device_token", request->token, cvm_request_set_token}, {"csr", request->csr, set_csr}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(member->string, known[i].name) != 0)
            continue;
        if (strcmp(member->string, known[i].name) != 0)
            return cvm_error_new(
                REASON_invalid_request, "the name of %s is in the wrong case", known[i].name);
        if (!cJSON_IsString(member) || !*member->valuestring)
            return cvm_error_new(
                REASON_invalid_request, "%s must be a string and not empty", known[i].name);
        if (known[i].set_already && strcmp(known[i].set_already, member->valuestring) != 0)
            return cvm_error_new(
                REASON_invalid_request, "%s is not what the transport has proved", known[i].name);
        return known[i].set(request, member->valuestring);
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
        error = read_member(request, member);
    cvm_json_wipe(tree);
    return error;
}

/* --- Rendering -------------------------------------------------------------------------------- */

static int32_t add_text(cJSON *object, const char *name, const char *text)
{
    cJSON *item = cJSON_CreateStringReference(text);
    if (item && cJSON_AddItemToObject(object, name, item))
        return 0;
    cJSON_Delete(item);
    return -1;
}

static int32_t add_head(cJSON *root, int32_t status, const char *word)
{
    return cJSON_AddNumberToObject(root, "statusCode", status) && !add_text(root, "status", word)
               ? 0
               : -1;
}

static int32_t add_error(
    cJSON *root, int32_t status, const cvm_error_t *error, const char *request_id)
{
    cJSON *payload = NULL;
    if (add_head(root, status, "ERROR") || !(payload = cJSON_AddObjectToObject(root, "payload")) ||
        add_text(payload, "message", error->text) ||
        add_text(payload, "code", cvm_error_name(error)) ||
        !cJSON_AddBoolToObject(payload, "retryable", cvm_error_retryable(error)))
        return -1;
    return request_id ? add_text(payload, "request_id", request_id) : 0;
}

static int32_t add_certificates(cJSON *payload, const cvm_result_t *result)
{
    cJSON *certificates = cJSON_AddObjectToObject(payload, "certificates");
    return !certificates ||
                   add_text(certificates, "device_certificate", result->device_certificate) ||
                   add_text(certificates, "root_ca", result->root_ca)
               ? -1
               : 0;
}

static int32_t add_keys(cJSON *payload, const cvm_result_t *result)
{
    if (!result->private_key)
        return 0;
    cJSON *keys = cJSON_AddObjectToObject(payload, "keyPair");
    return !keys || add_text(keys, "publicKey", result->public_key) ||
                   add_text(keys, "privateKey", result->private_key)
               ? -1
               : 0;
}

static int32_t add_success(cJSON *root, const cvm_result_t *result)
{
    cJSON *payload = NULL;
    return add_head(root, 200, "SUCCESS") ||
                   !(payload = cJSON_AddObjectToObject(root, "payload")) ||
                   add_text(payload, "endpoint", result->endpoint) ||
                   add_text(payload, "thing_name", result->thing_name) ||
                   add_certificates(payload, result) || add_keys(payload, result) ||
                   add_text(payload, "certificate_id", result->certificate_id) ||
                   add_text(payload, "server_time", result->server_time)
               ? -1
               : 0;
}

static size_t length_of(const char *text)
{
    return text ? strlen(text) : 0;
}

/* Room for the body: each byte may become an escape of two; PEM holds nothing that needs six. */
static size_t size_for(const cvm_result_t *result)
{
    return 1024 +
           2 * (length_of(result->device_certificate) + length_of(result->root_ca) +
                   length_of(result->private_key) + length_of(result->public_key) +
                   length_of(result->endpoint) + length_of(result->thing_name)) +
           6 * sizeof result->error.text;
}

/* Prints what failed says was put together into the body, and frees it. 0, or -1. */
static int32_t print(cvm_result_t *result, cJSON *root, int32_t failed)
{
    size_t size = size_for(result);
    result->body = malloc(size);
    result->body_size = size;
    if (!result->body || !root || failed ||
        !cJSON_PrintPreallocated(root, result->body, (int)size, 0))
        failed = -1;
    cJSON_Delete(root);
    if (!failed)
        result->body_length = strlen(result->body);
    return failed;
}

static int32_t json_render(cvm_result_t *result)
{
    cJSON *root = cJSON_CreateObject();
    return print(result, root, root ? add_success(root, result) : -1);
}

static int32_t json_render_error(cvm_result_t *result)
{
    cJSON *root = cJSON_CreateObject();
    return print(result, root,
        root ? add_error(root, cvm_reason_http_status(result->error.reason), &result->error,
                   result->request_id)
             : -1);
}

const struct cvm_format CVM_FORMAT_JSON = {
    "application/json", 50, takes, json_read, json_render, json_render_error};

/* --- For services with a server of their own -------------------------------------------------- */

int32_t cvm_error_render(
    const char *name, const char *message, const char *request_id, char *body, size_t size)
{
    cvm_error_t error;
    enum cvm_reason reason = name ? REASON_ok : REASON_internal;
    while (name && reason < REASON_COUNT && strcmp(cvm_reason_name(reason), name) != 0)
        reason++;
    if (reason == REASON_COUNT)
        reason = REASON_internal;
    int32_t status = cvm_reason_http_status(reason);
    if (!body || !size)
        return status;
    cvm_error_set(&error, reason, message);
    cJSON *root = cJSON_CreateObject();
    if (!root || add_error(root, status, &error, request_id) ||
        !cJSON_PrintPreallocated(root, body, (int)size, 0))
        (void)snprintf(body, size, "{\"statusCode\":%d,\"status\":\"ERROR\"}", (int)status);
    cJSON_Delete(root);
    return status;
}
