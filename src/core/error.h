/* Errors inside the library: every stable name with its code, HTTP status and text in one table. */
#ifndef CVM_CORE_ERROR_H
#define CVM_CORE_ERROR_H

#include "cvm/cvm.h"

/* id, name, cvm_code_t, HTTP status, retryable, text */
#define CVM_REASON_MAP(X)                                                                          \
    X(ok, "ok", OK, 200, 0, "success")                                                             \
    X(invalid_request, "invalid_request", INVALID, 400, 0, "the request is not valid")             \
    X(not_authorized, "not_authorized", DENIED, 403, 0,                                            \
        "the device is not authorized to register")                                                \
    X(not_found, "not_found", NOT_FOUND, 404, 0, "there is nothing at this path")                  \
    X(method_not_allowed, "method_not_allowed", INVALID, 405, 0,                                   \
        "this path does not take this method")                                                     \
    X(request_timeout, "request_timeout", INVALID, 408, 1, "the request did not arrive in time")   \
    X(already_registered, "already_registered", CONFLICT, 409, 0,                                  \
        "the device is registered already")                                                        \
    X(in_progress, "in_progress", BUSY, 409, 1,                                                    \
        "the device is being registered, or was a moment ago; ask again")                          \
    X(too_large, "too_large", INVALID, 413, 0, "the request is too large")                         \
    X(uri_too_long, "uri_too_long", INVALID, 414, 0, "the request's target is too long")           \
    X(unsupported_media_type, "unsupported_media_type", INVALID, 415, 0,                           \
        "payloads of this type are not read here; send application/json")                          \
    X(invalid_csr, "invalid_csr", INVALID, 422, 0,                                                 \
        "the certificate signing request is not acceptable")                                       \
    X(too_many_requests, "too_many_requests", BUSY, 429, 1,                                        \
        "too many failed attempts from this address")                                              \
    X(head_too_large, "head_too_large", INVALID, 431, 0,                                           \
        "the request's head is larger than 16 KiB")                                                \
    X(internal, "internal", INTERNAL, 500, 1, "internal error")                                    \
    X(platform_error, "platform_error", UNAVAILABLE, 502, 1,                                       \
        "the platform answered what can't be understood")                                          \
    X(overloaded, "overloaded", BUSY, 503, 1, "the server is full")                                \
    X(store_unavailable, "store_unavailable", UNAVAILABLE, 503, 1,                                 \
        "the device records can't be reached")                                                     \
    X(platform_unavailable, "platform_unavailable", UNAVAILABLE, 503, 1,                           \
        "the platform can't be reached")                                                           \
    X(unknown, "unknown", UNKNOWN, 503, 1, "the outcome is not known yet; ask again")              \
    X(no_such_device, "no_such_device", NOT_FOUND, 404, 0, "there is no such device")              \
    X(device_exists, "device_exists", CONFLICT, 409, 0, "the device exists already")               \
    X(device_registered, "device_registered", CONFLICT, 409, 0, "the device is registered")        \
    X(not_carried_out, "not_carried_out", BUSY, 503, 1, "it is recorded, and will be carried out") \
    X(conflict, "conflict", CONFLICT, 409, 1, "others changed the device at the same time")        \
    X(in_use, "conflict", BUSY, 503, 1, "another one has it")                                      \
    X(configuration, "configuration", CONFIGURATION, 500, 0, "the configuration is wrong")         \
    X(unavailable, "unavailable", UNAVAILABLE, 503, 1, "a file or socket can't be had")            \
    X(invalid_argument, "invalid_argument", INVALID, 500, 0, "an argument that is needed is NULL") \
    X(wrong_process, "wrong_process", INVALID, 500, 0, "the instance belongs to another process")  \
    X(wrong_thread, "wrong_thread", INVALID, 500, 0, "the instance belongs to another thread")

#define CVM_REASON_ENUM_(id, name, code, status, retryable, text) REASON_##id,
enum cvm_reason { CVM_REASON_MAP(CVM_REASON_ENUM_) REASON_COUNT };

struct cvm_error_s {
    enum cvm_reason reason;
    uint32_t retry_after_s;
    const char *step;
    char text[256], subject[128];
};

/* A new error with a text of its own, or the reason's when format is NULL. Never NULL: without
 * memory it is the one static error, which cvm_error_free knows. */
cvm_error_t *cvm_error_new(enum cvm_reason reason, const char *format, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));
/* "configuration", about a property's name or a file's path. */
cvm_error_t *cvm_error_configuration(const char *subject, const char *format, ...)
    __attribute__((format(printf, 2, 3), returns_nonnull));
/* Fills an error that lives in another object. */
void cvm_error_set(cvm_error_t *error, enum cvm_reason reason, const char *text);
/* Says what it is about, a property's name or a file's path; of one that is too long the beginning
 * is left out. Returns error, also the static one, and NULL. */
cvm_error_t *cvm_error_about(cvm_error_t *error, const char *subject);
/* Says when to try again; not in the one static error. */
void cvm_error_retry_after(cvm_error_t *error, uint32_t seconds);
cvm_error_t *cvm_error_out_of_memory(void) __attribute__((returns_nonnull));
const char *cvm_reason_name(enum cvm_reason reason);
const char *cvm_reason_text(enum cvm_reason reason);
int32_t cvm_reason_http_status(enum cvm_reason reason);

#endif
