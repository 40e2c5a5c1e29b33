/* cvm_request_t: setters, reading a payload, checking its form. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "base/hex.h"
#include "base/secret.h"
#include "entry.h"
#include "error.h"
#include "json.h"
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
    cvm_secret_free_text(request->csr);
    free(request);
}

static cvm_error_t *set(char **text, const char *name, const char *value)
{
    size_t length = strnlen(value, LONGEST_TEXT + 1);
    if (length > LONGEST_TEXT)
        return cvm_error_new(REASON_invalid_request, "%s is too long", name);
    char *copy = strdup(value);
    if (!copy)
        return cvm_error_out_of_memory();
    cvm_secret_free_text(*text);
    *text = copy;
    return NULL;
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
    return error ? error : set(&request->uid, "device_uid", uid);
}

cvm_error_t *cvm_request_set_token(cvm_request_t *request, const char *token)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && token);
    return error ? error : set(&request->token, "device_token", token);
}

cvm_error_t *cvm_request_set_csr(cvm_request_t *request, const char *pem)
{
    cvm_error_t *error = cvm_check_arguments(__func__, request && pem);
    return error ? error : set(&request->csr, "csr", pem);
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
            copy_text(&copy->csr, request->csr)) {
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

/* --- The payload ------------------------------------------------------------------------------ */

static cvm_error_t *read_member(cvm_request_t *request, const cJSON *member)
{
    const struct {
        const char *name;
        char **text;
    } known[] = {
        {"device_uid", &request->uid}, {"device_token", &request->token}, {"csr", &request->csr}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(member->string, known[i].name) != 0)
            continue;
        if (strcmp(member->string, known[i].name) != 0)
            return cvm_error_new(
                REASON_invalid_request, "the name of %s is in the wrong case", known[i].name);
        if (!cJSON_IsString(member) || !*member->valuestring)
            return cvm_error_new(
                REASON_invalid_request, "%s must be a string and not empty", known[i].name);
        if (*known[i].text && strcmp(*known[i].text, member->valuestring) != 0)
            return cvm_error_new(
                REASON_invalid_request, "%s is not what the transport has proved", known[i].name);
        return set(known[i].text, known[i].name, member->valuestring);
    }
    return NULL; /* others may know it */
}

cvm_error_t *cvm_request_read(cvm_request_t *request, const char *bytes, size_t length)
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

cvm_error_t *cvm_request_check(const cvm_request_t *request)
{
    if (!request->uid || !cvm_uid_is_valid(request->uid))
        return cvm_error_new(
            REASON_invalid_request, "device_uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    if (!request->token || !cvm_token_is_valid(request->token))
        return cvm_error_new(REASON_invalid_request,
            "device_token must be 1 to 256 printable ASCII characters without \":\"");
    return NULL;
}
