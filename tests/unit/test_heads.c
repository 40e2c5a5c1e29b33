/* The value that tells each issuer's newest CRL. */
#include "support/test.h"

#include "backends/local/heads.h"

#define A    "00112233445566778899aabbccddeeff00112233"
#define B    "ffeeddccbbaa99887766554433221100ffeeddcc"
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct crl_head head(const char *issuer, int64_t number)
{
    struct crl_head head = {.number = number, .made_ms = number * 1000, .changes = 5, .after = "-"};
    head.parts = 3;
    (void)snprintf(head.issuer, sizeof head.issuer, "%s", issuer);
    (void)snprintf(head.sha256, sizeof head.sha256, "%s", HASH);
    return head;
}

static void what_is_written_is_read(void **state)
{
    struct crl_heads heads = {.sequence = 41}, again;
    (void)state;
    const struct crl_head first = head(A, 7), other = head(B, 9), second = head(A, 8);
    assert_int_equal(cvm_heads_set(&heads, &first), 0);
    assert_int_equal(cvm_heads_set(&heads, &other), 0);
    assert_int_equal(cvm_heads_set(&heads, &second), 0);
    char *text = cvm_heads_text(&heads);
    assert_non_null(text);
    assert_int_equal(cvm_heads_parse(text, &again), 0);
    free(text);
    assert_int_equal(again.sequence, 41);
    assert_int_equal(again.count, 2);
    assert_memory_equal(cvm_heads_find(&again, A), &second, sizeof second);
    assert_memory_equal(cvm_heads_find(&again, B), &other, sizeof other);
    assert_null(cvm_heads_find(&again, "0"));
    assert_int_equal(cvm_heads_made_ms(&again), 9000);
}

/* A later release may say more. */
static void what_follows_in_a_line_is_left_alone(void **state)
{
    struct crl_heads heads;
    (void)state;
    assert_int_equal(
        cvm_heads_parse("sequence 5 and so on\n" A " 8 1000 6 1 " HASH " " HASH " more\n", &heads),
        0);
    assert_int_equal(heads.list[0].number, 8);
    assert_int_equal(cvm_heads_parse("sequence 1\n", &heads), 0);
    assert_int_equal(heads.count, 0);
    assert_int_equal(cvm_heads_made_ms(&heads), 0);
}

static void what_can_not_be_is_refused(void **state)
{
    static const char *const BAD[] = {"", "\n", "sequence\n", "sequence -1\n", "sequence 0\n",
        "sequence 5x\n", "sequence 5", A " 8 1000 6 1 " HASH " -\n", "sequence 5\n\n",
        "sequence 5\n" A " 8 1000 6 1 " HASH " -", "sequence 5\n" A " 0 1000 6 1 " HASH " -\n",
        "sequence 5\n" A " -8 1000 6 1 " HASH " -\n", "sequence 5\n" A " 8 0 6 1 " HASH " -\n",
        "sequence 5\n" A " 8 1000 6 0 " HASH " -\n", "sequence 5\n" A " 8 1000 0 1 " HASH " -\n",
        "sequence 5\n" A " 8 1000 6 4097 " HASH " -\n", "sequence 5\n" A " 8 1000 1 abc -\n",
        "sequence 5\n" A " 8 1000 6 1 " HASH "\n", "sequence 5\n" A " 8 1000 6 1 " HASH " abc\n",
        "sequence 5\nABC 8 1000 6 1 " HASH " -\n",
        "sequence 5\n" A " 8 1000 6 1 " HASH " -\n" A " 9 1000 6 1 " HASH " -\n",
        "sequence 5\n" A " 99999999999999999999x 1000 6 1 " HASH " -\n"};
    struct crl_heads heads;
    (void)state;
    for (size_t i = 0; i < LENGTH(BAD); i++)
        if (!cvm_heads_parse(BAD[i], &heads))
            fail_msg("taken: '%s'", BAD[i]);
}

static void there_is_a_most_of_issuers(void **state)
{
    struct crl_heads heads = {.sequence = 1};
    char issuer[KEY_ID_SIZE];
    (void)state;
    for (int i = 0; i <= MOST_ISSUERS; i++) {
        (void)snprintf(issuer, sizeof issuer, "%040x", (unsigned)i);
        const struct crl_head one = head(issuer, 1);
        assert_int_equal(cvm_heads_set(&heads, &one), i < MOST_ISSUERS ? 0 : -1);
    }
    char *text = cvm_heads_text(&heads);
    assert_in_range(strlen(text), 1, (size_t)MOST_ISSUERS * 1024);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_follows_in_a_line_is_left_alone),
        cmocka_unit_test(what_can_not_be_is_refused),
        cmocka_unit_test(there_is_a_most_of_issuers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
