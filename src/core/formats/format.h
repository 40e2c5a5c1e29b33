/* A payload format: how a request is read, and what came of it rendered. builtin.c lists them. */
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
/* The format in which a payload of that type is answered: the one that the Accept field (RFC 9110
 * §12.5.1) asks for, or else the payload's own, or JSON if nobody reads it. Parameters in the field
 * mean nothing, but for q=0. Both may be NULL. */
const struct cvm_format *cvm_format_answered(const char *media_type, const char *accept);
/* Makes an error of its stable name, as cvm_error_render() does. */
void cvm_format_name_error(cvm_error_t *error, const char *name, const char *message);
/* Renders an error, with a shorter text if there is no room for its own; body is empty if there is
 * no memory at all. */
void cvm_format_render_error(const struct cvm_format *format, const cvm_error_t *error,
    const char *request_id, struct cvm_buffer *body);

extern const struct cvm_format CVM_FORMAT_JSON, CVM_FORMAT_CBOR;

#endif
