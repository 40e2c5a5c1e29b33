/* Tokens: their form, how they are stored and compared, and the vectors of tests/data. */
#include "support/test.h"

#include <cjson/cJSON.h>

#include "base/hex.h"
#include "error.h"
#include "token.h"

/* --- Vectors ---------------------------------------------------------------------------------- */

/* tests/data/token-vectors.json, found beside this file. */
static cJSON *read_vectors(void)
{
    char path[4096], text[8192];
    const char *slash = strrchr(__FILE__, '/');
    (void)snprintf(
        path, sizeof path, "%.*s/../data/token-vectors.json", (int)(slash - __FILE__), __FILE__);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text, file);
    (void)fclose(file);
    cJSON *vectors = cJSON_ParseWithLength(text, length);
    assert_non_null(vectors);
    return vectors;
}

static const char *text_of(const cJSON *vector, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(vector, name));
}

static void check_vector(const cJSON *vector, int32_t hmac, const char *expected)
{
    const char *salt = text_of(vector, "salt");
    char token[65];
    assert_null(cvm_token(
        salt, strlen(salt), text_of(vector, "uid"), text_of(vector, "uid2"), hmac, token));
    assert_string_equal(token, expected);
}

static void tokens_are_computed_as_the_vectors_say(void **state)
{
    (void)state;
    cJSON *vectors = read_vectors();
    uint32_t checked = 0;
    for (const cJSON *vector = vectors->child; vector; vector = vector->next) {
        const char *sha256 = text_of(vector, "sha256"), *hmac = text_of(vector, "hmac_sha256");
        if (sha256)
            check_vector(vector, 0, sha256);
        if (hmac)
            check_vector(vector, 1, hmac);
        checked += (sha256 ? 1u : 0) + (hmac ? 1u : 0);
    }
    assert_true(checked >= 5);
    cJSON_Delete(vectors);
}

static void a_secret_may_hold_any_byte(void **state)
{
    char one[65], other[65];
    (void)state;
    assert_null(cvm_token("a\0b", 3, "DEVICE001", NULL, 0, one));
    assert_null(cvm_token("a\0c", 3, "DEVICE001", NULL, 0, other));
    assert_string_not_equal(one, other);
}

static void what_makes_no_token_is_refused(void **state)
{
    static const struct {
        const char *secret, *uid, *second;
        int32_t hmac;
    } CASES[] = {
        {"", "DEVICE001", NULL, 0},
        {"", "DEVICE001", NULL, 1},
        {"salt", "", NULL, 0},
        {"salt", "DEVICE 001", NULL, 0},
        {"salt", "DEVICE001", "", 0},
        {"salt", "DEVICE001", "a+b", 0},
        {"salt", "DEVICE001", "SECOND", 1},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        char token[65];
        cvm_error_t *error = cvm_token(CASES[i].secret, strlen(CASES[i].secret), CASES[i].uid,
            CASES[i].second, CASES[i].hmac, token);
        assert_int_equal(cvm_error_code(error), CVM_CODE_INVALID);
        cvm_error_free(error);
    }
}

/* --- Form ------------------------------------------------------------------------------------- */

/* Whether a text of count times a character is valid. */
static int32_t valid(int32_t (*is_valid)(const char *text), int character, size_t count)
{
    char text[300];
    memset(text, character, count);
    text[count] = 0;
    return is_valid(text);
}

static void a_uid_is_made_of_its_characters(void **state)
{
    static const char ALLOWED[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-";
    (void)state;
    for (int c = 1; c < 256; c++)
        assert_int_equal(valid(cvm_uid_is_valid, c, 1), strchr(ALLOWED, c) != NULL);
    assert_false(valid(cvm_uid_is_valid, 'A', 0));
    assert_true(valid(cvm_uid_is_valid, 'A', 128));
    assert_false(valid(cvm_uid_is_valid, 'A', 129));
    assert_false(cvm_uid_is_valid("DEVICE001\n"));
    assert_true(cvm_uid_is_valid("AA:BB:CC:00:11:22"));
}

static void a_token_is_printable_ascii_without_a_colon(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++)
        assert_int_equal(valid(cvm_token_is_valid, c, 1), c > 0x20 && c < 0x7f && c != ':');
    assert_false(valid(cvm_token_is_valid, 'a', 0));
    assert_true(valid(cvm_token_is_valid, 'a', 256));
    assert_false(valid(cvm_token_is_valid, 'a', 257));
}

/* What is stolen from a database must not be presented as a token. */
static void a_stored_hash_is_no_token(void **state)
{
    char hash[CVM_TOKEN_HASH_SIZE];
    (void)state;
    assert_int_equal(cvm_token_hash("secret-token", hash), 0);
    assert_false(cvm_token_is_valid(hash));
    assert_false(cvm_token_proves(hash, hash, 0));
    assert_false(cvm_token_proves(hash, hash, 1));
}

/* --- Proof ------------------------------------------------------------------------------------ */

static void a_token_proves_its_hash_alone(void **state)
{
    char hash[CVM_TOKEN_HASH_SIZE], upper[CVM_TOKEN_HASH_SIZE];
    (void)state;
    assert_int_equal(cvm_token_hash("secret-token", hash), 0);
    assert_true(cvm_token_proves("secret-token", hash, 0));
    assert_true(cvm_token_proves("secret-token", hash, 1));
    assert_false(cvm_token_proves("secret-toke", hash, 0));
    assert_false(cvm_token_proves("secret-token ", hash, 0));
    assert_false(cvm_token_proves("Secret-token", hash, 0));
    assert_false(cvm_token_proves("", hash, 0));
    memcpy(upper, hash, sizeof upper);
    for (char *c = upper + 7; *c; c++)
        if (*c >= 'a' && *c <= 'f')
            *c = (char)(*c - 'a' + 'A');
    assert_false(cvm_token_proves("secret-token", upper, 0));
}

static void nothing_proves_what_is_missing_or_spoiled(void **state)
{
    static const char *const STORED[] = {"", "sha256:", "sha256:abc", "sha256",
        "sha256:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"};
    (void)state;
    for (size_t i = 0; i < LENGTH(STORED); i++)
        for (int32_t plain = 0; plain < 2; plain++) {
            if (plain && cvm_token_is_valid(STORED[i]))
                continue; /* "sha256" is a token like any other */
            assert_false(cvm_token_proves("", STORED[i], plain));
            assert_false(cvm_token_proves("token", STORED[i], plain));
            assert_false(cvm_token_proves(STORED[i], STORED[i], plain));
        }
}

static void a_literal_token_counts_only_where_it_may(void **state)
{
    (void)state;
    assert_true(cvm_token_proves("literal", "literal", 1));
    assert_false(cvm_token_proves("literal", "literal", 0));
    assert_false(cvm_token_proves("other", "literal", 1));
    assert_false(cvm_token_proves("with space", "with space", 1));
}

/* --- Hex -------------------------------------------------------------------------------------- */

static void hex_is_lower_case_and_of_its_length(void **state)
{
    char text[9];
    (void)state;
    cvm_hex((const uint8_t *)"\x00\x9a\xff\x10", 4, text);
    assert_string_equal(text, "009aff10");
    assert_true(cvm_is_hex("009aff10", 8));
    assert_false(cvm_is_hex("009aff1", 8));
    assert_false(cvm_is_hex("009aff100", 8));
    assert_false(cvm_is_hex("009AFF10", 8));
    assert_false(cvm_is_hex("009aff1g", 8));
    assert_true(cvm_is_hex("", 0));
}

static void random_hex_differs(void **state)
{
    char one[65], other[65];
    (void)state;
    assert_int_equal(cvm_random_hex(32, one), 0);
    assert_int_equal(cvm_random_hex(32, other), 0);
    assert_true(cvm_is_hex(one, 64));
    assert_string_not_equal(one, other);
    assert_int_equal(cvm_random_hex(33, one), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_computed_as_the_vectors_say),
        cmocka_unit_test(a_secret_may_hold_any_byte),
        cmocka_unit_test(what_makes_no_token_is_refused),
        cmocka_unit_test(a_uid_is_made_of_its_characters),
        cmocka_unit_test(a_token_is_printable_ascii_without_a_colon),
        cmocka_unit_test(a_stored_hash_is_no_token),
        cmocka_unit_test(a_token_proves_its_hash_alone),
        cmocka_unit_test(nothing_proves_what_is_missing_or_spoiled),
        cmocka_unit_test(a_literal_token_counts_only_where_it_may),
        cmocka_unit_test(hex_is_lower_case_and_of_its_length),
        cmocka_unit_test(random_hex_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
