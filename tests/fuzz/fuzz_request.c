/* A registration's payload: what CVM_FORMAT_JSON.read takes is what jansson finds in it, and what
 * cvm_request_check lets through has the contract's form. */
#include "fuzz.h"

#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "error.h"
#include "formats/format.h"
#include "request.h"

static const char *const NAMES[] = {"device_uid", "device_token", "csr"};

/* The member as the request must have it: its text, or NULL if there is none. */
static void compare_member(const json_t *payload, const char *name, const char *text)
{
    const json_t *member = json_object_get(payload, name);
    CHECK(!member == !text);
    if (text)
        CHECK(*text && json_is_string(member) && strcmp(json_string_value(member), text) == 0);
}

static int32_t is_wrong_case(const char *name)
{
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcasecmp(name, NAMES[i]) == 0 && strcmp(name, NAMES[i]) != 0)
            return 1;
    return 0;
}

static void check_read(const cvm_request_t *request, const uint8_t *data, size_t size)
{
    json_error_t error;
    json_t *payload = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, &error);
    const char *name;
    json_t *value;
    if (!payload) {
        CHECK(json_error_code(&error) == json_error_numeric_overflow);
        return;
    }
    json_object_foreach(payload, name, value) CHECK(!is_wrong_case(name));
    compare_member(payload, "device_uid", request->uid);
    compare_member(payload, "device_token", request->token);
    compare_member(payload, "csr", request->csr);
    json_decref(payload);
}

static void check_form(const cvm_request_t *request)
{
    static const char UID_CHARACTERS[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-";
    CHECK(request->uid && request->token);
    size_t length = strlen(request->uid);
    CHECK(length >= 1 && length <= 128 && strspn(request->uid, UID_CHARACTERS) == length);
    length = strlen(request->token);
    CHECK(length >= 1 && length <= 256 && !strchr(request->token, ':'));
    for (size_t i = 0; i < length; i++)
        CHECK(request->token[i] > ' ' && request->token[i] <= '~');
}

/* A device's mistake is the device's to mend, and its token stays out of the text. */
static void check_error(const cvm_error_t *error, const cvm_request_t *request)
{
    CHECK(error->reason == REASON_invalid_request && *cvm_error_text(error));
    if (request->token && strlen(request->token) >= 16)
        CHECK(!strstr(cvm_error_text(error), request->token));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cvm_request_t *request = cvm_request_new();
    CHECK(request);
    cvm_error_t *error = CVM_FORMAT_JSON.read(request, (const char *)data, size);
    if (!error) {
        check_read(request, data, size);
        error = cvm_request_check(request);
        if (!error)
            check_form(request);
    }
    if (error)
        check_error(error, request);
    cvm_error_free(error);
    cvm_request_free(request);
    return 0;
}
