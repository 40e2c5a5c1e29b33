/* Which format a payload is, and which one is answered. */
#include "support/test.h"

#include "core/formats/format.h"

static void a_media_type_says_what_is_read(void **state)
{
    static const char *const READ[] = {"", "application/json", "Application/JSON; charset=utf-8",
        "application/ld+json", "text/plain", "application/octet-stream",
        "application/x-www-form-urlencoded"};
    static const char *const UNREAD[] = {"application/xml", "image/png", "application/jso", "?"};
    (void)state;
    for (size_t i = 0; i < LENGTH(READ); i++)
        assert_ptr_equal(cvm_format_of(READ[i]), &CVM_FORMAT_JSON);
    assert_ptr_equal(cvm_format_of(NULL), &CVM_FORMAT_JSON);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_media_type_says_what_is_read),
        cmocka_unit_test(what_is_accepted_is_answered_or_else_as_it_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
