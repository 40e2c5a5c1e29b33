/* What came of a request, and its rendering. */
#ifndef CVM_CORE_RESULT_H
#define CVM_CORE_RESULT_H

#include "base/buffer.h"
#include "error.h"
#include "request.h"

struct cvm_result_s {
    cvm_error_t error; /* REASON_ok if registered */
    const char *request_id;
    const char *endpoint, *thing_name, *root_ca, *certificate_id;
    const char *public_key, *private_key;
    const uint8_t *private_key_der;
    size_t private_key_length;
    const char *certificate, *chain; /* PEM */
    char *device_certificate;        /* the certificate and its chain; the result's own */
    char server_time[32];
    int64_t server_time_s;
    const struct cvm_have *have; /* the request's */
    int32_t http_status;
    const char *media_type; /* of the body; static */
    struct cvm_buffer body; /* the result's own */
};

/* Frees what is the result's own, wiped. */
void cvm_result_clear(cvm_result_t *result);

#endif
