/* The table of reasons, errors as objects, and their rendering. */
#include "support/test.h"

#include "base/json.h"
#include "base/utf8.h"
#include "error.h"

/* The contract's table: what devices and scripts rely on. */
static const struct {
    const char *name;
    int32_t status, retryable;
} CONTRACT[] = {
    {"invalid_request", 400, 0},
    {"not_authorized", 403, 0},
    {"not_found", 404, 0},
    {"method_not_allowed", 405, 0},
    {"too_large", 413, 0},
    {"uri_too_long", 414, 0},
    {"unsupported_media_type", 415, 0},
    {"head_too_large", 431, 0},
    {"too_many_requests", 429, 1},
    {"invalid_csr", 422, 0},
    {"already_registered", 409, 0},
    {"in_progress", 409, 1},
    {"overloaded", 503, 1},
    {"store_unavailable", 503, 1},
    {"platform_unavailable", 503, 1},
    {"platform_error", 502, 1},
    {"unknown", 503, 1},
};

static cJSON *read_body(const char *body, int32_t status)
{
    const char *why = NULL;
    cJSON *tree = cvm_json_object(body, strlen(body), &why);
    if (!tree)
        fail_msg("%s: %s", why, body);
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(tree, "statusCode")->valueint, status);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(tree, "status")->valuestring, "ERROR");
    return tree;
}

static const cJSON *payload_of(const cJSON *tree, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(tree, "payload"), name);
}

static void each_name_has_the_contracts_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(CONTRACT); i++) {
        char body[512];
        assert_int_equal(cvm_error_render(CONTRACT[i].name, NULL, "id-1", body, sizeof body),
            CONTRACT[i].status);
        cJSON *tree = read_body(body, CONTRACT[i].status);
        assert_string_equal(payload_of(tree, "code")->valuestring, CONTRACT[i].name);
        assert_true(*payload_of(tree, "message")->valuestring);
        assert_string_equal(payload_of(tree, "request_id")->valuestring, "id-1");
        assert_int_equal(cJSON_IsTrue(payload_of(tree, "retryable")), CONTRACT[i].retryable);
        cJSON_Delete(tree);
    }
}

static void each_reason_is_whole(void **state)
{
    (void)state;
    for (enum cvm_reason i = REASON_invalid_request; i < REASON_COUNT; i++) {
        cvm_error_t *error = cvm_error_new(i, NULL);
        assert_true(
            cvm_error_code(error) > CVM_CODE_OK && cvm_error_code(error) <= CVM_CODE_INTERNAL);
        assert_string_equal(cvm_error_name(error), cvm_reason_name(i));
        assert_string_equal(cvm_error_text(error), cvm_reason_text(i));
        assert_true(*cvm_error_text(error) && !strchr(cvm_error_text(error), '\n'));
        assert_string_equal(cvm_error_step(error), "");
        assert_int_equal(cvm_error_retry_after_s(error), 0);
        assert_in_range(cvm_reason_http_status(i), 400, 599);
        for (enum cvm_reason j = REASON_ok; j < i; j++)
            if (i != REASON_in_use) /* a conflict that goes away by itself */
                assert_string_not_equal(cvm_reason_name(i), cvm_reason_name(j));
        cvm_error_free(error);
    }
}

static void null_is_success(void **state)
{
    (void)state;
    assert_int_equal(cvm_error_code(NULL), CVM_CODE_OK);
    assert_string_equal(cvm_error_name(NULL), "ok");
    assert_string_equal(cvm_error_text(NULL), "success");
    assert_string_equal(cvm_error_step(NULL), "");
    assert_int_equal(cvm_error_retryable(NULL), 0);
    assert_int_equal(cvm_error_retry_after_s(NULL), 0);
    cvm_error_free(NULL);
}

static void out_of_memory_is_an_error_like_others(void **state)
{
    (void)state;
    cvm_error_t *error = cvm_error_out_of_memory();
    assert_int_equal(cvm_error_code(error), CVM_CODE_INTERNAL);
    assert_string_equal(cvm_error_text(error), "out of memory");
    cvm_error_free(error);
    cvm_error_free(cvm_error_out_of_memory());
}

static void a_long_text_is_cut(void **state)
{
    char text[1000];
    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    cvm_error_t *error = cvm_error_new(REASON_conflict, "%s", text);
    assert_in_range(strlen(cvm_error_text(error)), 100, 255);
    cvm_error_free(error);
}

/* Names and paths may be of any bytes, and are cut. */
static void what_is_said_is_utf_8(void **state)
{
    char path[200];
    (void)state;
    for (size_t i = 0; i + 1 < sizeof path; i += 2)
        memcpy(path + i, "\xc3\xa4", 2);
    path[sizeof path - 1] = 0;
    for (size_t from = 0; from < 2; from++) {
        cvm_error_t *error = cvm_error_new(REASON_configuration, "%.7s \xff %s", path + from, path);
        (void)cvm_error_about(error, path + from);
        const char *texts[] = {cvm_error_text(error), cvm_error_subject(error)};
        for (size_t i = 0; i < 2; i++)
            for (const char *at = texts[i]; *at;) {
                size_t length = cvm_utf8_length((const unsigned char *)at, strlen(at));
                assert_true(length > 0);
                at += length;
            }
        assert_true(strlen(texts[1]) > 100);
        cvm_error_free(error);
    }
}

static void a_message_can_not_break_the_body(void **state)
{
    static const char *const MESSAGES[] = {
        "\"}, \"status\": \"SUCCESS\"", "line\nend\r\t\x01", "\\", "\xc3\xa9"};
    (void)state;
    for (size_t i = 0; i < LENGTH(MESSAGES); i++) {
        char body[512];
        assert_int_equal(cvm_error_render("conflict", MESSAGES[i], "\"\n", body, sizeof body), 409);
        assert_null(strchr(body, '\n'));
        cJSON *tree = read_body(body, 409);
        assert_string_equal(payload_of(tree, "message")->valuestring, MESSAGES[i]);
        assert_string_equal(payload_of(tree, "request_id")->valuestring, "\"\n");
        cJSON_Delete(tree);
    }
}

static void a_body_without_an_id_has_none(void **state)
{
    char body[512];
    (void)state;
    (void)cvm_error_render("conflict", NULL, NULL, body, sizeof body);
    cJSON *tree = read_body(body, 409);
    assert_null(payload_of(tree, "request_id"));
    cJSON_Delete(tree);
}

static void an_unknown_name_is_an_internal_error(void **state)
{
    char body[512];
    (void)state;
    assert_int_equal(cvm_error_render("no_such_name", NULL, NULL, body, sizeof body), 500);
    cJSON *tree = read_body(body, 500);
    assert_string_equal(payload_of(tree, "code")->valuestring, "internal");
    cJSON_Delete(tree);
}

static void little_room_still_gives_an_answer(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 512; size++) {
        char *body = malloc(size); /* so that a sanitizer sees a write too far */
        assert_non_null(body);
        assert_int_equal(cvm_error_render("too_large", NULL, "some-request-id", body, size), 413);
        assert_true(strnlen(body, size) < size);
        if (size >= 40)
            cJSON_Delete(read_body(body, 413));
        free(body);
    }
}

/* 512 bytes are always enough: the longest message and id that the library itself makes. */
static void the_longest_message_fits(void **state)
{
    char message[256], id[41], body[512];
    (void)state;
    memset(message, 'm', sizeof message);
    message[sizeof message - 1] = 0;
    memset(id, 'i', sizeof id);
    id[sizeof id - 1] = 0;
    (void)cvm_error_render("unsupported_media_type", message, id, body, sizeof body);
    cJSON *tree = read_body(body, 415);
    assert_string_equal(payload_of(tree, "message")->valuestring, message);
    cJSON_Delete(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_has_the_contracts_status),
        cmocka_unit_test(each_reason_is_whole),
        cmocka_unit_test(null_is_success),
        cmocka_unit_test(out_of_memory_is_an_error_like_others),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(what_is_said_is_utf_8),
        cmocka_unit_test(a_message_can_not_break_the_body),
        cmocka_unit_test(a_body_without_an_id_has_none),
        cmocka_unit_test(an_unknown_name_is_an_internal_error),
        cmocka_unit_test(little_room_still_gives_an_answer),
        cmocka_unit_test(the_longest_message_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
