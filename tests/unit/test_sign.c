/* Signature Version 4, against requests that AWS's own botocore has signed (tests/data/sigv4.py).
 */
#include "support/test.h"

#include "backends/aws/sign.h"
#include "base/files.h"
#include "base/json.h"

#define ID     "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    assert_non_null(text);
    return text;
}

static cJSON *read_cases(void)
{
    char error[200];
    size_t length;
    const char *why;
    char *text = cvm_files_read(VECTORS, &length, error, sizeof error);
    if (!text)
        fail_msg("%s", error);
    cJSON *cases = cvm_json_object(text, length, &why);
    free(text);
    assert_non_null(cases);
    return cases;
}

static void expect_signature(struct aws_signer *signer, const cJSON *wanted)
{
    const char *headers[8];
    const cJSON *line;
    char date[AWS_DATE_SIZE];
    struct aws_keys keys = {.id = NULL};
    struct cvm_buffer authorization = {.most = 65536};
    struct aws_to_sign request = {.method = text_of(wanted, "method"),
        .host = text_of(wanted, "host"),
        .path = text_of(wanted, "path"),
        .query = text_of(wanted, "query"),
        .headers = headers,
        .body = text_of(wanted, "body"),
        .length = strlen(text_of(wanted, "body")),
        .region = text_of(wanted, "region"),
        .service = text_of(wanted, "service"),
        .now_ms =
            (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(wanted, "now_ms"))};
    cJSON_ArrayForEach(line, cJSON_GetObjectItemCaseSensitive(wanted, "headers"))
    {
        headers[request.header_count++] = cJSON_GetStringValue(line);
    }
    assert_int_equal(cvm_aws_keys_set(&keys, ID, SECRET, text_of(wanted, "token")), 0);
    assert_int_equal(cvm_aws_sign(signer, &keys, &request, date, &authorization), 0);
    assert_string_equal(date, text_of(wanted, "date"));
    assert_string_equal(authorization.text, text_of(wanted, "authorization"));
    cvm_buffer_free(&authorization);
    cvm_aws_keys_clear(&keys);
}

/* One signer for all of them: days, regions and services change in between. */
static void it_signs_as_botocore_does(void **state)
{
    struct aws_signer signer;
    cJSON *cases = read_cases();
    const cJSON *wanted;
    (void)state;
    assert_int_equal(cvm_aws_signer_init(&signer), 0);
    assert_true(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(cases, "cases")) >= 10);
    for (int round = 0; round < 2; round++)
        cJSON_ArrayForEach(wanted, cJSON_GetObjectItemCaseSensitive(cases, "cases"))
        {
            expect_signature(&signer, wanted);
        }
    cvm_aws_signer_clear(&signer);
    cJSON_Delete(cases);
}

static void what_is_not_unreserved_is_encoded(void **state)
{
    struct cvm_buffer text = {.most = 256};
    (void)state;
    cvm_aws_encode(&text, "A-Za-z0-9-._~ /:%+\xc3\xa9", 0);
    assert_string_equal(text.text, "A-Za-z0-9-._~%20%2F%3A%25%2B%C3%A9");
    cvm_buffer_clear(&text);
    cvm_aws_encode(&text, "/things/a%3Ab", 1);
    assert_string_equal(text.text, "/things/a%253Ab");
    cvm_buffer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_signs_as_botocore_does),
        cmocka_unit_test(what_is_not_unreserved_is_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
