/* Text that grows up to its bound. */
#include "support/test.h"

#include "base/buffer.h"
#include "base/json.h"

static void it_grows_up_to_its_bound(void **state)
{
    struct cvm_buffer buffer = {.most = 1000};
    (void)state;
    for (int i = 0; i < 111; i++)
        cvm_buffer_text(&buffer, "123456789");
    assert_int_equal(buffer.failed, 0);
    assert_int_equal(buffer.length, 999);
    assert_int_equal(strlen(buffer.text), 999);
    cvm_buffer_text(&buffer, "");
    assert_int_equal(buffer.failed, 0);
    cvm_buffer_text(&buffer, "x");
    assert_int_equal(buffer.failed, 1);
    cvm_buffer_clear(&buffer);
    assert_string_equal(buffer.text, "");
    cvm_buffer_number(&buffer, INT64_MIN);
    cvm_buffer_format(&buffer, " %s", "and more");
    assert_string_equal(buffer.text, "-9223372036854775808 and more");
    cvm_buffer_free(&buffer);
    assert_null(buffer.text);
}

static void what_does_not_fit_stays_out(void **state)
{
    struct cvm_buffer buffer = {.most = 4};
    char longer[300];
    (void)state;
    cvm_buffer_text(&buffer, "1234");
    assert_int_equal(buffer.failed, 1);
    cvm_buffer_free(&buffer);
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    buffer.most = 4096;
    cvm_buffer_format(&buffer, "%s", longer);
    assert_int_equal(buffer.failed, 1);
    cvm_buffer_free(&buffer);
}

/* Each character comes back through a strict reader. */
static void a_string_of_json_is_read_as_it_was(void **state)
{
    char text[160] = "";
    const char *why;
    struct cvm_buffer buffer = {.most = 4096};
    (void)state;
    for (int i = 1; i < 128; i++)
        text[i - 1] = (char)i;
    strcat(text, "\xc3\xa9\xf0\x9f\x94\x91"); /* NOLINT */
    cvm_buffer_text(&buffer, "{\"a\":");
    cvm_buffer_json(&buffer, text);
    cvm_buffer_text(&buffer, "}");
    cJSON *object = cvm_json_object(buffer.text, buffer.length, &why);
    assert_non_null(object);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, "a")), text);
    cJSON_Delete(object);
    cvm_buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_up_to_its_bound),
        cmocka_unit_test(what_does_not_fit_stays_out),
        cmocka_unit_test(a_string_of_json_is_read_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
