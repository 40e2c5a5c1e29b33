/* The strict JSON reader: what RFC 8259 and RFC 7493 allow, and all that cJSON alone would take. */
#include "support/test.h"

#include "base/json.h"

static const char *const TAKEN[] = {
    "{}",
    " \t\r\n{ } \n",
    "{\"a\":1}",
    "{\"a\":-0,\"b\":0.5,\"c\":1e9,\"d\":1E-9,\"e\":-1.25e+3}",
    "{\"a\":[],\"b\":[1,[2,[3]],{}],\"c\":{\"d\":{\"e\":null}}}",
    "{\"a\":true,\"b\":false,\"c\":null}",
    "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"}",
    "{\"a\":\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91 \xed\x9f\xbf \xee\x80\x80 \xf4\x8f\xbf\xbf\"}",
    "{\"a\":\"\\ud83d\\udd11\"}",
    "{\"a\":1,\"A\":2}", /* two names */
    "{\"\":1}",
    "{\"a\":\"\x7f\"}",
    "{\"a\":1,\"b\":{\"a\":1}}",
};

static const char *const REFUSED[] = {
    "",
    " ",
    "[]",
    "\"a\"",
    "1",
    "null",
    "{",
    "}",
    "{}}",
    "{} x",
    "{}{}",
    "{}\f",
    "{,}",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1,,\"b\":2}",
    "{a:1}",
    "{'a':1}",
    "{\"a\":01}",
    "{\"a\":+1}",
    "{\"a\":.5}",
    "{\"a\":5.}",
    "{\"a\":1e}",
    "{\"a\":1e+}",
    "{\"a\":-}",
    "{\"a\":0x10}",
    "{\"a\":NaN}",
    "{\"a\":Infinity}",
    "{\"a\":True}",
    "{\"a\":tru}",
    "{\"a\":truex}",
    "{\"a\":[1,]}",
    "{\"a\":[1 2]}",
    "{\"a\":[}",
    "{\"a\":\"}",
    "{\"a\":\"\\",
    "{\"a\":\"\\x\"}",
    "{\"a\":\"\\u12\"}",
    "{\"a\":\"\\u12g4\"}",
    "{\"a\":\"\\u0000\"}",
    "{\"a\\u0000b\":1}",
    "{\"a\":\"\\ud800\"}",
    "{\"a\":\"\\udc00\"}",
    "{\"a\":\"\\ud800x\"}",
    "{\"a\":\"\\ud800\\n\"}",
    "{\"a\":\"\\ud800\\u0041\"}",
    "{\"a\":\"\\ud800\\ud800\"}",
    "{\"a\":\"line\nend\"}",
    "{\"a\":\"tab\ttab\"}",
    "{\"a\":\"\x1f\"}",
    "{\"a\":\"\x80\"}",
    "{\"a\":\"\xc3\"}",
    "{\"a\":\"\xc0\xaf\"}",         /* overlong */
    "{\"a\":\"\xe0\x80\xaf\"}",     /* overlong */
    "{\"a\":\"\xf0\x80\x80\xaf\"}", /* overlong */
    "{\"a\":\"\xed\xa0\x80\"}",     /* a surrogate */
    "{\"a\":\"\xf4\x90\x80\x80\"}", /* past U+10FFFF */
    "{\"a\":\"\xf5\x80\x80\x80\"}",
    "{\"a\":\"\xe2\x82\"}",
    "{\"a\":\"\xe2\x28\xa1\"}",
    "{\"a\":\"\xff\xfe\"}",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}", /* the same name in other words */
    "{\"x\":{\"a\":1,\"a\":2}}",
    "{\"x\":[{\"a\":1,\"a\":2}]}",
    "\xef\xbb\xbf{}", /* a byte order mark */
    "{\"a\":/**/1}",
    "{\"a\":1}//",
};

static void valid_objects_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(TAKEN); i++) {
        const char *why = NULL;
        cJSON *tree = cvm_json_object(TAKEN[i], strlen(TAKEN[i]), &why);
        if (!tree || why)
            fail_msg("%s: %s", TAKEN[i], why);
        cvm_json_wipe(tree);
    }
}

static void everything_else_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(REFUSED); i++) {
        const char *why = NULL;
        cJSON *tree = cvm_json_object(REFUSED[i], strlen(REFUSED[i]), &why);
        if (tree || !why)
            fail_msg("%s was taken", REFUSED[i]);
    }
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state)
{
    static const char TEXT[] = "{\"ab\": \"cd\"}";
    char with[sizeof TEXT];
    (void)state;
    for (size_t at = 0; at < sizeof TEXT; at++) {
        const char *why = NULL;
        memcpy(with, TEXT, at);
        with[at] = 0;
        memcpy(with + at + 1, TEXT + at, sizeof TEXT - 1 - at);
        if (cvm_json_object(with, sizeof TEXT, &why) || !why)
            fail_msg("NUL at %zu was taken", at);
    }
}

/* Every beginning of an object: nothing behind its end is read. */
static void a_cut_object_is_refused(void **state)
{
    static const char TEXT[] =
        "{\"a\":[1.5e3,\"\\ud83d\\udd11\xf0\x9f\x94\x91\",{\"b\":true}],\"c\":null}";
    (void)state;
    for (size_t length = 0; length < sizeof TEXT - 1; length++) {
        const char *why = NULL;
        char *exact = malloc(length ? length : 1); /* so that a sanitizer sees a read too far */
        assert_non_null(exact);
        memcpy(exact, TEXT, length);
        assert_null(cvm_json_object(exact, length, &why));
        assert_non_null(why);
        free(exact);
    }
}

static cJSON *read_text(const char *text)
{
    const char *why;
    return cvm_json_object(text, strlen(text), &why);
}

static void depth_is_bounded(void **state)
{
    char text[200];
    (void)state;
    for (int depth = 1; depth <= 40; depth++) {
        int used = 0;
        for (int i = 0; i < depth; i++)
            used += snprintf(text + used, sizeof text - (size_t)used, i ? "[" : "{\"a\":");
        used += snprintf(text + used, sizeof text - (size_t)used, "1");
        for (int i = depth; i-- > 0;)
            used += snprintf(text + used, sizeof text - (size_t)used, i ? "]" : "}");
        cJSON *tree = read_text(text);
        assert_int_equal(tree != NULL, depth < 16);
        cJSON_Delete(tree);
    }
}

static cJSON *read_members(int count)
{
    char text[2000];
    int used = snprintf(text, sizeof text, "{");
    for (int i = 0; i < count; i++)
        used +=
            snprintf(text + used, sizeof text - (size_t)used, "%s\"n%d\":%d", i ? "," : "", i, i);
    (void)snprintf(text + used, sizeof text - (size_t)used, "}");
    return read_text(text);
}

static void members_are_bounded(void **state)
{
    (void)state;
    cJSON *tree = read_members(64);
    assert_non_null(tree);
    cJSON_Delete(tree);
    assert_null(read_members(65));
}

/* cJSON reads 63 characters of a number and fails at the rest, as if memory were short. */
static void a_number_has_a_longest_length(void **state)
{
    char text[200];
    const char *why = NULL;
    (void)state;
    (void)snprintf(text, sizeof text, "{\"a\":1%060d}", 0);
    cJSON *tree = cvm_json_object(text, strlen(text), &why);
    assert_non_null(tree);
    cJSON_Delete(tree);
    (void)snprintf(text, sizeof text, "{\"a\":1%070d}", 0);
    assert_null(cvm_json_object(text, strlen(text), &why));
    assert_string_equal(why, "a number is too long");
}

static void values_arrive_as_they_were(void **state)
{
    (void)state;
    cJSON *tree = read_text("{\"a\":\"\\u00e9\\ud83d\\udd11\\n\"}");
    assert_string_equal(tree->child->string, "a");
    assert_string_equal(tree->child->valuestring, "\xc3\xa9\xf0\x9f\x94\x91\n");
    cvm_json_wipe(tree);
    cvm_json_wipe(NULL);
}

/* Random bytes, and random changes of something valid: never a crash, and what is taken is an
 * object. */
static void spoiled_bytes_do_no_harm(void **state)
{
    static const char TEXT[] = "{\"device_uid\":\"DEVICE001\",\"device_token\":\"ecab\\u0041\","
                               "\"n\":[1,2.5e3,true,null,{\"x\":\"\xc3\xa9\"}]}";
    (void)state;
    uint64_t random = test_seed();
    for (uint32_t i = 0; i < 20000 * test_scale(); i++) {
        char bytes[sizeof TEXT];
        const char *why = NULL;
        memcpy(bytes, TEXT, sizeof TEXT);
        for (uint64_t changes = 1 + test_random(&random) % 3; changes; changes--)
            bytes[test_random(&random) % (sizeof TEXT - 1)] = (char)test_random(&random);
        cJSON *tree = cvm_json_object(bytes, sizeof TEXT - 1, &why);
        if ((tree == NULL) != (why != NULL) || (tree && !cJSON_IsObject(tree)))
            fail_msg("round %u, seed %llu", i, (unsigned long long)test_seed());
        cvm_json_wipe(tree);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_objects_are_read),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(a_nul_byte_is_refused_wherever_it_stands),
        cmocka_unit_test(a_cut_object_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(members_are_bounded),
        cmocka_unit_test(a_number_has_a_longest_length),
        cmocka_unit_test(values_arrive_as_they_were),
        cmocka_unit_test(spoiled_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
