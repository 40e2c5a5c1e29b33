/* One table of payload formats: how a request is read, and what came of it rendered. */
#ifndef CVM_CORE_FORMAT_H
#define CVM_CORE_FORMAT_H

#include "base/buffer.h"
#include "cvm/cvm.h"

struct cvm_format {
    const char *media_type, *error_type; /* of what it renders */
    /* 1 if payloads of that type are read by it: length bytes, without parameters; 0 of them where
     * none is told. */
    int32_t (*takes)(const char *media_type, size_t length);
    /* Fills in what a payload says. NULL, or what is wrong with it. */
    cvm_error_t *(*read)(cvm_request_t *request, const char *bytes, size_t length);
    /* Renders a success or an error; body keeps whether it failed. */
    void (*render)(const cvm_result_t *result, struct cvm_buffer *body);
    void (*render_error)(const cvm_error_t *error, const char *request_id, struct cvm_buffer *body);
};

/* The format of a payload by its media type, NULL and "" standing for none; NULL if nobody reads
 * it. */
const struct cvm_format *cvm_format_of(const char *media_type);
/* The format that an Accept field (RFC 9110 §12.5.1) asks for; if there is none among ours, or no
 * field, the request's own. Its parameters mean nothing, but for q=0. */
const struct cvm_format *cvm_format_accepted(
    const char *accept, const struct cvm_format *of_request);

/* The format of an answer to a payload of that type, whoever reads it, by the Accept field. */
const struct cvm_format *cvm_format_answered(const char *media_type, const char *accept);
/* Renders an error by its stable name (cvm_error_render()) and a text of its own, or the name's if
 * that is NULL. Its HTTP status. */
int32_t cvm_format_render_error(const struct cvm_format *format, const char *name,
    const char *message, const char *request_id, struct cvm_buffer *body);

extern const struct cvm_format CVM_FORMAT_JSON, CVM_FORMAT_CBOR;

#endif
