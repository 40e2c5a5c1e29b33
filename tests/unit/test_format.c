/* Which format a payload is, and which one is answered. */
#include "support/test.h"

#include "core/error.h"
#include "core/formats/format.h"

static void a_media_type_says_what_is_read(void **state)
{
    static const char *const READ[] = {"", "application/json", "Application/JSON; charset=utf-8",
        "application/ld+json", "text/plain", "application/octet-stream",
        "application/x-www-form-urlencoded"};
    static const char *const UNREAD[] = {"application/xml", "image/png", "application/jso", "?",
        "application/cbo", "application/cborx", "application/cbor-seq", "application/cose+cbor"};
    (void)state;
    for (size_t i = 0; i < LENGTH(READ); i++)
        assert_ptr_equal(cvm_format_of(READ[i]), &CVM_FORMAT_JSON);
    assert_ptr_equal(cvm_format_of(NULL), &CVM_FORMAT_JSON);
    assert_ptr_equal(cvm_format_of("application/cbor"), &CVM_FORMAT_CBOR);
    assert_ptr_equal(cvm_format_of("Application/CBOR; a=b"), &CVM_FORMAT_CBOR);
    for (size_t i = 0; i < LENGTH(UNREAD); i++)
        assert_null(cvm_format_of(UNREAD[i]));
}

static void what_is_accepted_is_answered_or_else_as_it_was_asked(void **state)
{
    static const struct {
        const char *accept;
        const struct cvm_format *answered;
    } CASES[] = {
        {"", &CVM_FORMAT_CBOR},
        {"*/*", &CVM_FORMAT_CBOR},
        {"application/json", &CVM_FORMAT_JSON},
        {"Application/JSON;q=0.5", &CVM_FORMAT_JSON},
        {"text/html, application/json;q=0.1", &CVM_FORMAT_JSON},
        {" ,, application/json ,", &CVM_FORMAT_JSON},
        {"application/json;q=0", &CVM_FORMAT_CBOR},
        {"application/cbor", &CVM_FORMAT_CBOR},
        {"application/cbor;q=0, application/json", &CVM_FORMAT_JSON},
        {"application/json; q=0.000", &CVM_FORMAT_CBOR},
        {"application/json;q=0.001", &CVM_FORMAT_JSON},
        {"application/json;q=0;ext=1", &CVM_FORMAT_CBOR},
        {"application/json; charset=utf-8 ; Q=0.0 , */*", &CVM_FORMAT_CBOR},
        {"application/json;seq=0", &CVM_FORMAT_JSON},
        {"application/json;q=01", &CVM_FORMAT_JSON},
        {"application/json;q=1;q2=0, application/cbor;q=0", &CVM_FORMAT_JSON},
        {"application/json;", &CVM_FORMAT_JSON},
        {"application/json;, application/cbor;q=0", &CVM_FORMAT_JSON},
        {"application/jsonx", &CVM_FORMAT_CBOR},
        {"application/jso", &CVM_FORMAT_CBOR},
        {";;;===\"", &CVM_FORMAT_CBOR},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++)
        assert_ptr_equal(
            cvm_format_answered("application/cbor", CASES[i].accept), CASES[i].answered);
    assert_ptr_equal(cvm_format_answered("application/cbor", NULL), &CVM_FORMAT_CBOR);
}

static void an_answer_to_what_nobody_reads_is_json(void **state)
{
    (void)state;
    assert_ptr_equal(cvm_format_answered("image/png", ""), &CVM_FORMAT_JSON);
    assert_ptr_equal(cvm_format_answered("image/png", "application/cbor"), &CVM_FORMAT_CBOR);
    assert_ptr_equal(cvm_format_answered("application/cbor", ""), &CVM_FORMAT_CBOR);
}

static void an_error_is_rendered_by_its_name(void **state)
{
    static const struct {
        const struct cvm_format *format;
        const char *name, *message, *body;
        size_t length;
    } CASES[] = {
        {&CVM_FORMAT_JSON, "not_found", "no \"x\"",
            "{\"statusCode\":404,\"status\":\"ERROR\",\"payload\":{\"message\":\"no \\\"x\\\"\","
            "\"code\":\"not_found\",\"retryable\":false,\"request_id\":\"id\"}}",
            0},
        {&CVM_FORMAT_CBOR, "not_found", "no", "\xa2\x20\x69not_found\x21\x62no", 16},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        struct cvm_buffer body = {.most = 256};
        cvm_error_t error;
        cvm_format_name_error(&error, CASES[i].name, CASES[i].message);
        cvm_format_render_error(CASES[i].format, &error, "id", &body);
        size_t length = CASES[i].length ? CASES[i].length : strlen(CASES[i].body);
        assert_int_equal(body.length, length);
        assert_memory_equal(body.text, CASES[i].body, length);
        cvm_buffer_free(&body);
    }
}

/* What has no room is said in fewer words, and never half. */
static void an_error_always_has_a_body(void **state)
{
    static const struct cvm_format *const FORMATS[] = {&CVM_FORMAT_JSON, &CVM_FORMAT_CBOR};
    char message[256];
    (void)state;
    memset(message, 1, sizeof message); /* six bytes each in JSON */
    message[sizeof message - 1] = 0;
    for (size_t i = 0; i < LENGTH(FORMATS); i++) {
        struct cvm_buffer body = {.most = 200};
        cvm_error_t error;
        cvm_format_name_error(&error, "not_found", message);
        cvm_format_render_error(FORMATS[i], &error, "id", &body);
        assert_non_null(memmem(body.text, body.length, "not_found", 9));
        assert_non_null(memmem(body.text, body.length, "there is nothing", 16));
        cvm_buffer_free(&body);
        body.most = 20;
        cvm_format_render_error(FORMATS[i], &error, "id", &body);
        assert_int_equal(body.length, 0);
        cvm_buffer_free(&body);
    }
    cvm_error_t error;
    cvm_format_name_error(&error, "nonsense", NULL);
    assert_int_equal(error.reason, REASON_internal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_media_type_says_what_is_read),
        cmocka_unit_test(what_is_accepted_is_answered_or_else_as_it_was_asked),
        cmocka_unit_test(an_answer_to_what_nobody_reads_is_json),
        cmocka_unit_test(an_error_is_rendered_by_its_name),
        cmocka_unit_test(an_error_always_has_a_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
