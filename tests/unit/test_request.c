/* Requests: setters, payloads, their form. */
#include "support/test.h"

#include "error.h"
#include "formats/format.h"
#include "request.h"

static void expect_read(const char *payload, const char *uid, const char *token, const char *csr)
{
    cvm_request_t *request = cvm_request_copy(NULL);
    cvm_error_t *error = CVM_FORMAT_JSON.read(request, payload, strlen(payload));
    if (error)
        fail_msg("%s: %s", payload, cvm_error_text(error));
    assert_string_equal(request->uid ? request->uid : "-", uid);
    assert_string_equal(request->token ? request->token : "-", token);
    assert_string_equal(request->csr ? request->csr : "-", csr);
    cvm_request_free(request);
}

static void payloads_are_read(void **state)
{
    (void)state;
    expect_read("{\"device_uid\":\"D\",\"device_token\":\"T\"}", "D", "T", "-");
    expect_read("{\"device_token\":\"T\",\"csr\":\"C\",\"device_uid\":\"D\"}", "D", "T", "C");
    expect_read("{\"device_uid\":\"D\",\"other\":[{\"device_uid\":1}],\"n\":null}", "D", "-", "-");
    expect_read("{\"device\\u005fuid\":\"\\u0044\"}", "D", "-", "-");
    expect_read("{}", "-", "-", "-");
}

static void bad_payloads_are_refused(void **state)
{
    static const char *const PAYLOADS[] = {
        "",
        "[]",
        "{\"device_uid\":1}",
        "{\"device_uid\":null}",
        "{\"device_uid\":[\"D\"]}",
        "{\"device_uid\":\"\"}",
        "{\"Device_uid\":\"D\"}", /* cJSON alone would take it */
        "{\"DEVICE_TOKEN\":\"D\"}",
        "{\"CSR\":\"D\"}",
        "{\"csr\":\"\"}",
        "{\"device_uid\":\"D\",\"device_uid\":\"D\"}",
        "{\"device_uid\":\"D\\u0000E\"}",
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(PAYLOADS); i++) {
        cvm_request_t *request = cvm_request_copy(NULL);
        cvm_error_t *error = CVM_FORMAT_JSON.read(request, PAYLOADS[i], strlen(PAYLOADS[i]));
        if (!error || strcmp(cvm_error_name(error), "invalid_request") != 0)
            fail_msg("%s: %s", PAYLOADS[i], cvm_error_name(error));
        cvm_error_free(error);
        cvm_request_free(request);
    }
}

static void a_secret_is_in_no_message(void **state)
{
    static const char PAYLOAD[] = "{\"device_uid\":\"D\",\"device_token\":[\"hunter2hunter2\"]}";
    (void)state;
    cvm_request_t *request = cvm_request_copy(NULL);
    cvm_error_t *error = CVM_FORMAT_JSON.read(request, PAYLOAD, sizeof PAYLOAD - 1);
    assert_null(strstr(cvm_error_text(error), "hunter2"));
    cvm_error_free(error);
    cvm_request_free(request);
}

/* Over PSK the transport knows who it is: another uid in the payload is refused. */
static void what_the_transport_has_proved_holds(void **state)
{
    static const char SAME[] = "{\"device_uid\": \"D1\", \"device_token\": \"t\"}";
    static const char OTHER[] = "{\"device_uid\": \"D2\", \"device_token\": \"t\"}";
    (void)state;
    cvm_request_t *request = cvm_request_new();
    assert_null(cvm_request_set_uid(request, "D1"));
    assert_null(CVM_FORMAT_JSON.read(request, SAME, sizeof SAME - 1));
    cvm_error_t *error = CVM_FORMAT_JSON.read(request, OTHER, sizeof OTHER - 1);
    assert_string_equal(cvm_error_name(error), "invalid_request");
    assert_string_equal(request->uid, "D1");
    cvm_error_free(error);
    cvm_request_free(request);
}

static void setters_copy_and_bound(void **state)
{
    char longest[8194];
    (void)state;
    memset(longest, 'x', sizeof longest);
    longest[8193] = 0;
    cvm_request_t *request = cvm_request_new();
    cvm_error_t *(*const setters[])(cvm_request_t *, const char *) = {cvm_request_set_uid,
        cvm_request_set_token, cvm_request_set_accept, cvm_request_set_peer,
        cvm_request_set_transport, cvm_request_set_id};
    for (size_t i = 0; i < LENGTH(setters); i++) {
        assert_null(setters[i](request, "before"));
        cvm_error_t *error = setters[i](request, longest);
        assert_string_equal(cvm_error_name(error), "invalid_request");
        cvm_error_free(error);
    }
    assert_string_equal(request->uid, "before");
    assert_string_equal(request->id, "before");
    cvm_request_free(request);
    cvm_request_free(NULL);
}

static void a_copy_has_an_id(void **state)
{
    (void)state;
    cvm_request_t *one = cvm_request_copy(NULL), *other = cvm_request_copy(NULL);
    assert_int_equal(strlen(one->id), 16);
    assert_string_not_equal(one->id, other->id);
    assert_string_equal(one->transport, "api");
    assert_null(cvm_request_set_id(one, "mine"));
    assert_null(cvm_request_set_token(one, "token"));
    cvm_request_free(other);
    other = cvm_request_copy(one);
    assert_string_equal(other->id, "mine");
    assert_ptr_not_equal(other->token, one->token);
    cvm_request_free(one);
    assert_string_equal(other->token, "token");
    cvm_request_free(other);
}

static void the_form_is_checked(void **state)
{
    static const struct {
        const char *uid, *token;
        int32_t is_valid;
    } CASES[] = {
        {"DEVICE001", "token", 1},
        {NULL, "token", 0},
        {"DEVICE001", NULL, 0},
        {"DEVICE 001", "token", 0},
        {"DEVICE001", "to:ken", 0},
        {"", "token", 0},
        {"DEVICE001", "", 0},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        cvm_request_t *request = cvm_request_new();
        if (CASES[i].uid)
            assert_null(cvm_request_set_uid(request, CASES[i].uid));
        if (CASES[i].token)
            assert_null(cvm_request_set_token(request, CASES[i].token));
        cvm_error_t *error = cvm_request_check(request);
        assert_int_equal(error == NULL, CASES[i].is_valid);
        cvm_error_free(error);
        cvm_request_free(request);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_are_read),
        cmocka_unit_test(bad_payloads_are_refused),
        cmocka_unit_test(a_secret_is_in_no_message),
        cmocka_unit_test(what_the_transport_has_proved_holds),
        cmocka_unit_test(setters_copy_and_bound),
        cmocka_unit_test(a_copy_has_an_id),
        cmocka_unit_test(the_form_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
