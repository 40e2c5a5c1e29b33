/* cvm_result_t: what is its own, and getters. */
#include "result.h"

#include <stdlib.h>

void cvm_result_clear(cvm_result_t *result)
{
    cvm_buffer_free(&result->body);
    free(result->device_certificate);
    result->device_certificate = NULL;
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

const char *cvm_result_certificate(const cvm_result_t *result)
{
    return result ? result->certificate : NULL;
}

const char *cvm_result_chain(const cvm_result_t *result)
{
    return result ? result->chain : NULL;
}

const char *cvm_result_media_type(const cvm_result_t *result)
{
    return result ? result->media_type : NULL;
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
        *length = result ? result->body.length : 0;
    return result ? result->body.text : NULL;
}
