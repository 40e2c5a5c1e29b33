/* One table of payload formats: how a request is read, and what came of it rendered. */
#ifndef CVM_CORE_FORMAT_H
#define CVM_CORE_FORMAT_H

#include "cvm/cvm.h"

struct cvm_format {
    const char *media_type; /* of what it renders */
    int32_t coap_number;    /* its Content-Format (RFC 7252 §12.3) */
    /* 1 if payloads of that type are read by it: length bytes, without parameters; 0 of them where
     * none is told. */
    int32_t (*takes)(const char *media_type, size_t length);
    /* Fills in what a payload says. NULL, or what is wrong with it. */
    cvm_error_t *(*read)(cvm_request_t *request, const char *bytes, size_t length);
    /* Renders a success or an error into the result's body. 0, or -1 without memory. */
    int32_t (*render)(cvm_result_t *result);
    int32_t (*render_error)(cvm_result_t *result);
};

/* The format of a payload by its media type, NULL and "" standing for none; NULL if nobody reads
 * it. */
const struct cvm_format *cvm_format_of(const char *media_type);
/* The format that an Accept field (RFC 9110 §12.5.1) asks for; if there is none among ours, or no
 * field, the request's own. Its parameters mean nothing, but for q=0. */
const struct cvm_format *cvm_format_accepted(
    const char *accept, const struct cvm_format *of_request);

/* json.c */
extern const struct cvm_format CVM_FORMAT_JSON;

#endif
