/* What a uid makes of thing.name_format, with and without the limit of a CN. */
#include "support/test.h"

#include <unistd.h>

#include "error.h"
#include "instance.h"
#include "thing.h"

static void a_format_holds_the_uid_once_between_name_characters(void **state)
{
    static const struct {
        const char *format;
        int32_t is_valid;
    } FORMATS[] = {
        {"%DEVICE_UID%", 1},
        {"thing_%DEVICE_UID%", 1},
        {"a:%DEVICE_UID%-b", 1},
        {"", 0},
        {"thing", 0},
        {"%device_uid%", 0},
        {"%DEVICE_UID%%DEVICE_UID%", 0},
        {"%DEVICE_UID%DEVICE_UID%", 0},
        {"%DEVICE_UID%_%DEVICE_UID%", 0},
        {"my thing %DEVICE_UID%", 0},
        {"%s%DEVICE_UID%", 0},
        {"%DEVICE_UID%/x", 0},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(FORMATS); i++) {
        if (cvm_thing_format_is_valid(FORMATS[i].format, 128) != FORMATS[i].is_valid)
            fail_msg("%s", FORMATS[i].format);
    }
}

/* A format that fills a name leaves every registration a 400. */
static void a_format_leaves_room_for_a_uid(void **state)
{
    char format[200];
    (void)state;
    for (int fixed = 60; fixed < 70; fixed++) {
        struct cvm_s cvm = {.process = getpid(), .platform.flags = CVM_PLATFORM_NAME_IS_CN};
        (void)snprintf(format, sizeof format, "%%DEVICE_UID%%%0*d", fixed, 0);
        cvm.conf = cvm_conf_new();
        assert_null(cvm_conf_set(cvm.conf, "thing.name_format", format));
        cvm_error_t *error = cvm_thing_check_format(&cvm);
        assert_int_equal(error == NULL, fixed <= 63);
        if (error)
            assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
        cvm_error_free(error);
        cvm.platform.flags = 0;
        assert_null(cvm_thing_check_format(&cvm));
        cvm_conf_free(cvm.conf);
    }
    (void)snprintf(format, sizeof format, "%%DEVICE_UID%%%0*d", 127, 0);
    assert_true(cvm_thing_format_is_valid(format, 128));
    (void)snprintf(format, sizeof format, "%%DEVICE_UID%%%0*d", 128, 0);
    assert_false(cvm_thing_format_is_valid(format, 128));
}

/* An instance that has what names are made of, and nothing else. */
static void expect(const char *format, size_t uid_length, uint32_t flags, const char *expected)
{
    struct cvm_s cvm = {.process = getpid(), .platform.flags = flags};
    char uid[200], name[CVM_THING_NAME_SIZE];
    cvm.conf = cvm_conf_new();
    assert_null(cvm_conf_set(cvm.conf, "thing.name_format", format));
    memset(uid, 'A', uid_length);
    uid[uid_length] = 0;
    cvm_error_t *error = cvm_thing_name(&cvm, uid, name);
    if ((error != NULL) != (expected == NULL))
        fail_msg("%s, %zu: %s", format, uid_length, cvm_error_text(error));
    if (expected && *expected)
        assert_string_equal(name, expected);
    if (error)
        assert_string_equal(cvm_error_name(error), "invalid_request");
    cvm_error_free(error);
    error = cvm_check_uid(&cvm, uid);
    assert_int_equal(error == NULL, expected != NULL);
    cvm_error_free(error);
    cvm_conf_free(cvm.conf);
}

static void a_name_has_a_longest_length(void **state)
{
    (void)state;
    expect("thing_%DEVICE_UID%", 3, 0, "thing_AAA");
    expect("%DEVICE_UID%-x", 3, 0, "AAA-x");
    expect("%DEVICE_UID%", 0, 0, NULL);
    expect("%DEVICE_UID%", 128, 0, "");
    expect("%DEVICE_UID%", 129, 0, NULL);
    expect("thing_%DEVICE_UID%", 122, 0, "");
    expect("thing_%DEVICE_UID%", 123, 0, NULL);
    expect("%DEVICE_UID%", 64, CVM_PLATFORM_NAME_IS_CN, "");
    expect("%DEVICE_UID%", 65, CVM_PLATFORM_NAME_IS_CN, NULL);
    expect("thing_%DEVICE_UID%", 58, CVM_PLATFORM_NAME_IS_CN, "");
    expect("thing_%DEVICE_UID%", 59, CVM_PLATFORM_NAME_IS_CN, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_format_holds_the_uid_once_between_name_characters),
        cmocka_unit_test(a_format_leaves_room_for_a_uid),
        cmocka_unit_test(a_name_has_a_longest_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
