/* Which format a payload is, and which one is answered. */
#include "support/test.h"

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
    static const struct cvm_format ASKED = {.media_type = "application/asked"};
    static const struct {
        const char *accept;
        const struct cvm_format *answered;
    } CASES[] = {
        {"", &ASKED},
        {"*/*", &ASKED},
        {"application/json", &CVM_FORMAT_JSON},
        {"Application/JSON;q=0.5", &CVM_FORMAT_JSON},
        {"text/html, application/json;q=0.1", &CVM_FORMAT_JSON},
        {" ,, application/json ,", &CVM_FORMAT_JSON},
        {"application/json;q=0", &ASKED},
        {"application/cbor", &CVM_FORMAT_CBOR},
        {"application/cbor;q=0, application/json", &CVM_FORMAT_JSON},
        {"application/json; q=0.000", &ASKED},
        {"application/json;q=0.001", &CVM_FORMAT_JSON},
        {"application/jsonx", &ASKED},
        {"application/jso", &ASKED},
        {";;;===\"", &ASKED},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++)
        assert_ptr_equal(cvm_format_accepted(CASES[i].accept, &ASKED), CASES[i].answered);
    assert_ptr_equal(cvm_format_accepted(NULL, &ASKED), &ASKED);
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
        assert_int_equal(
            cvm_format_render_error(CASES[i].format, CASES[i].name, CASES[i].message, "id", &body),
            404);
        size_t length = CASES[i].length ? CASES[i].length : strlen(CASES[i].body);
        assert_int_equal(body.length, length);
        assert_memory_equal(body.text, CASES[i].body, length);
        cvm_buffer_free(&body);
        body.most = 20;
        assert_int_equal(
            cvm_format_render_error(&CVM_FORMAT_JSON, "nonsense", NULL, NULL, &body), 500);
        assert_int_equal(body.failed, 1);
        cvm_buffer_free(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_media_type_says_what_is_read),
        cmocka_unit_test(what_is_accepted_is_answered_or_else_as_it_was_asked),
        cmocka_unit_test(an_answer_to_what_nobody_reads_is_json),
        cmocka_unit_test(an_error_is_rendered_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
