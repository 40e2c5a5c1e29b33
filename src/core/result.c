/* cvm_result_t: getters and rendering. Field names and nesting are the reference system's. */
#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include <cjson/cJSON.h>

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

int32_t cvm_result_render(cvm_result_t *result, int32_t legacy_status)
{
    int32_t status = cvm_reason_http_status(result->error.reason), failed = -1;
    size_t size = size_for(result);
    cJSON *root = cJSON_CreateObject();
    result->http_status = legacy_status ? 200 : status;
    result->body = malloc(size);
    result->body_size = size;
    if (root && result->body)
        failed = result->error.reason == REASON_ok
                     ? add_success(root, result)
                     : add_error(root, status, &result->error, result->request_id);
    if (!failed)
        failed = cJSON_PrintPreallocated(root, result->body, (int)size, 0) ? 0 : -1;
    cJSON_Delete(root);
    if (!failed)
        result->body_length = strlen(result->body);
    return failed;
}

void cvm_result_clear(cvm_result_t *result)
{
    cvm_secret_free(result->body, result->body_size);
    free(result->device_certificate);
    result->body = result->device_certificate = NULL;
}

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

/* --- Getters ---------------------------------------------------------------------------------- */

const cvm_error_t *cvm_result_error(const cvm_result_t *result)
{
    return !result || result->error.reason == REASON_ok ? NULL : &result->error;
}

const char *cvm_result_request_id(const cvm_result_t *result)
{
    return result ? result->request_id : NULL;
}

const char *cvm_result_endpoint(const cvm_result_t *result)
{
    return result ? result->endpoint : NULL;
}

const char *cvm_result_thing_name(const cvm_result_t *result)
{
    return result ? result->thing_name : NULL;
}

const char *cvm_result_device_certificate(const cvm_result_t *result)
{
    return result ? result->device_certificate : NULL;
}

const char *cvm_result_root_ca(const cvm_result_t *result)
{
    return result ? result->root_ca : NULL;
}

const char *cvm_result_certificate_id(const cvm_result_t *result)
{
    return result ? result->certificate_id : NULL;
}

const char *cvm_result_public_key(const cvm_result_t *result)
{
    return result ? result->public_key : NULL;
}

const char *cvm_result_private_key(const cvm_result_t *result)
{
    return result ? result->private_key : NULL;
}

const char *cvm_result_server_time(const cvm_result_t *result)
{
    return result && *result->server_time ? result->server_time : NULL;
}

int32_t cvm_result_http_status(const cvm_result_t *result)
{
    return result ? result->http_status : 0;
}

const char *cvm_result_body(const cvm_result_t *result, size_t *length)
{
    if (length)
        *length = result ? result->body_length : 0;
    return result ? result->body : NULL;
}
