/* How long what failed waits: each for itself, twice as long each time, and not for ever. */
#include "support/test.h"

#include "backoff.h"

#define FIRST   20
#define LONGEST 100
#define MANY    20000 /* more than are remembered */

/* It waits for so long from now_ms on, and not a millisecond less or more. */
static void expect_wait(
    const struct cvm_backoff *backoff, const char *what, uint64_t now_ms, uint64_t wait_ms)
{
    assert_true(cvm_backoff_waits(backoff, what, now_ms + wait_ms - 1));
    assert_false(cvm_backoff_waits(backoff, what, now_ms + wait_ms));
}

static void it_waits_twice_as_long_each_time(void **state)
{
    static const uint64_t WAITS_MS[] = {FIRST, 40, 80, LONGEST, LONGEST};
    struct cvm_backoff *backoff = cvm_backoff_new();
    uint64_t now_ms = 1000;
    (void)state;
    assert_false(cvm_backoff_waits(backoff, "A", now_ms));
    for (size_t i = 0; i < LENGTH(WAITS_MS); i++) {
        cvm_backoff_failed(backoff, "A", now_ms, FIRST, LONGEST);
        expect_wait(backoff, "A", now_ms, WAITS_MS[i]);
        assert_false(cvm_backoff_waits(backoff, "B", now_ms));
        now_ms += WAITS_MS[i];
    }
    cvm_backoff_succeeded(backoff, "B");
    cvm_backoff_succeeded(backoff, "A");
    assert_false(cvm_backoff_waits(backoff, "A", now_ms - 1));
    cvm_backoff_failed(backoff, "A", now_ms, FIRST, LONGEST);
    expect_wait(backoff, "A", now_ms, FIRST);
    cvm_backoff_free(backoff);
}

/* What is forgotten is tried early. Names that are numbered, as those of devices are, use all of
 * the memory; and what failed last is remembered. */
static void the_memory_is_bounded_and_used(void **state)
{
    struct cvm_backoff *backoff = cvm_backoff_new();
    uint32_t remembered = 0;
    char what[16];
    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        (void)snprintf(what, sizeof what, "D%u", i);
        cvm_backoff_failed(backoff, what, i, FIRST + MANY, LONGEST + MANY);
        assert_true(cvm_backoff_waits(backoff, what, i));
    }
    for (uint32_t i = 0; i < MANY; i++) {
        (void)snprintf(what, sizeof what, "D%u", i);
        uint32_t waits = cvm_backoff_waits(backoff, what, MANY) != 0;
        assert_true(waits || i < MANY - 500);
        remembered += waits;
    }
    assert_in_range(remembered, 8000, 8192);
    cvm_backoff_free(backoff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_waits_twice_as_long_each_time),
        cmocka_unit_test(the_memory_is_bounded_and_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
