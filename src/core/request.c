/* cvm_request_t: setters, reading a payload, checking its form. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/hex.h"
#include "base/secret.h"
#include "entry.h"
#include "error.h"
#include "token.h"

/* What a request carries at most; a body of the contract's 8 KiB can't hold more. */
#define LONGEST_TEXT 8192

cvm_request_t *cvm_request_new(void)
{
    cvm_request_t *request = calloc(1, sizeof *request);
    if (request)
        (void)snprintf(request->transport, sizeof request->transport, "api");
    return request;
}

void cvm_request_free(cvm_request_t *request)
{
    if (!request)
        return;
    cvm_secret_free_text(request->uid);
    cvm_secret_free_text(request->token);
    cvm_secret_free(request->csr, request->csr_length);
    free(request);
}

/* With a NUL behind them. NULL without memory. */
static char *copy_bytes(const void *bytes, size_t length)
{
    char *copy = malloc(length + 1);
    if (copy) {
        memcpy(copy, bytes, length);
        copy[length] = 0;
    }
    return copy;
}

const char *const CVM_REQUEST_FIELD_NAMES[REQUEST_FIELD_COUNT] = {
    [REQUEST_UID] = "device_uid", [REQUEST_TOKEN] = "device_token", [REQUEST_CSR] = "csr"};

/* Where a field is, and the length of what is there. */
static char **request_place(cvm_request_t *request, enum cvm_request_field field, size_t *length)
{
    char **place = field == REQUEST_UID     ? &request->uid
                   : field == REQUEST_TOKEN ? &request->token
                                            : &request->csr;
    *length = !*place ? 0 : field == REQUEST_CSR ? request->csr_length : strlen(*place);
    return place;
}

static cvm_error_t *request_set(
    cvm_request_t *request, enum cvm_request_field field, const void *bytes, size_t length)
{
    const char *name = CVM_REQUEST_FIELD_NAMES[field];
    size_t before;
    char **place = request_place(request, field, &before);
    if (length > LONGEST_TEXT)
        return cvm_error_new(REASON_invalid_request, "%s is too long", name);
    if (field != REQUEST_CSR && memchr(bytes, 0, length))
        return cvm_error_new(REASON_invalid_request, "%s must not hold NUL", name);
    char *copy = copy_bytes(bytes, length);
    if (!copy)
        return cvm_error_out_of_memory();
    cvm_secret_free(*place, before);
    *place = copy;
    if (field == REQUEST_CSR)
        request->csr_length = length;
    return NULL;
}

cvm_error_t *cvm_request_take(
    cvm_request_t *request, enum cvm_request_field field, const void *bytes, size_t length)
{
    const char *name = CVM_REQUEST_FIELD_NAMES[field];
    size_t before;
    char **place = request_place(request, field, &before);
    if (!length)
        return cvm_error_new(REASON_invalid_request, "%s must not be empty", name);
    if (*place && (before != length || CRYPTO_memcmp(*place, bytes, length) != 0))
        return cvm_error_new(
            REASON_invalid_request, "%s is not what the transport has proved", name);
    return *place ? NULL : request_set(request, field, bytes, length);
}

static cvm_error_t *set_in(char *text, size_t size, const char *name, const char *value)
{
    if (strlen(value) >= size)
        return cvm_error_new(REASON_invalid_request, "%s is too long", name);
    (void)snprintf(text, size, "%s", value);
    return NULL;
}

cvm_error_t *cvm_request_set_uid(cvm_request_t *request, const char *uid)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && uid);
    return error ? error : request_set(request, REQUEST_UID, uid, strnlen(uid, LONGEST_TEXT + 1));
}

cvm_error_t *cvm_request_set_token(cvm_request_t *request, const char *token)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && token);
    return error ? error
                 : request_set(request, REQUEST_TOKEN, token, strnlen(token, LONGEST_TEXT + 1));
}

cvm_error_t *cvm_request_set_csr(cvm_request_t *request, const void *csr, size_t length)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && csr);
    return error ? error : request_set(request, REQUEST_CSR, csr, length);
}

cvm_error_t *cvm_request_set_accept(cvm_request_t *request, const char *accept)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && accept);
    return error ? error : set_in(request->accept, sizeof request->accept, "accept", accept);
}

cvm_error_t *cvm_request_set_peer(cvm_request_t *request, const char *address)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && address);
    return error ? error
                 : set_in(request->peer, sizeof request->peer, "the peer's address", address);
}

cvm_error_t *cvm_request_set_transport(cvm_request_t *request, const char *transport)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && transport);
    return error
               ? error
               : set_in(request->transport, sizeof request->transport, "the transport", transport);
}

cvm_error_t *cvm_request_set_id(cvm_request_t *request, const char *request_id)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && request_id);
    return error ? error : set_in(request->id, sizeof request->id, "the request's id", request_id);
}

cvm_error_t *cvm_request_set_deadline_ms(cvm_request_t *request, uint32_t deadline_ms)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request != NULL);
    if (!error)
        request->deadline_ms = deadline_ms;
    return error;
}

static int32_t copy_text(char **to, const char *from)
{
    return from && !(*to = strdup(from)) ? -1 : 0;
}

cvm_request_t *cvm_request_copy(const cvm_request_t *request)
{
    cvm_request_t *copy = cvm_request_new();
    if (!copy)
        return NULL;
    if (request) {
        *copy = *request;
        copy->uid = copy->token = copy->csr = NULL;
        if (copy_text(&copy->uid, request->uid) || copy_text(&copy->token, request->token) ||
            (request->csr && !(copy->csr = copy_bytes(request->csr, request->csr_length)))) {
            cvm_request_free(copy);
            return NULL;
        }
    }
    if (!*copy->id && cvm_random_hex(8, copy->id)) {
        cvm_request_free(copy);
        return NULL;
    }
    return copy;
}

static cvm_error_t *token_check(const cvm_request_t *request)
{
    if (request->token && cvm_token_is_valid(request->token))
        return NULL;
    return cvm_error_new(REASON_invalid_request,
        "device_token must be 1 to 256 printable ASCII characters without \":\"");
}

/* The form of what proves who it is. */
static cvm_error_t *(*const PROOF_FORMS[PROOF_COUNT])(const cvm_request_t *request) = {
    [PROOF_TOKEN] = token_check};

cvm_error_t *cvm_request_check(const cvm_request_t *request)
{
    if (!request->uid || !cvm_uid_is_valid(request->uid))
        return cvm_error_new(
            REASON_invalid_request, "device_uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    return PROOF_FORMS[request->proof](request);
}
