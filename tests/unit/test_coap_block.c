/* Blocks of every size, both ways. */
#include "support/test.h"

#include "transports/coap/block.h"

static uint8_t original[4096], memory[4096];

static struct cvm_coap_block block_at(size_t offset, uint8_t szx, int32_t has_more)
{
    return (struct cvm_coap_block){
        .number = (uint32_t)(offset >> (szx + 4)), .has_more = has_more, .szx = szx};
}

static void the_options_value(void **state)
{
    (void)state;
    for (uint32_t value = 0; value < 1 << 12; value++) {
        struct cvm_coap_block block = cvm_coap_block_of(value);
        assert_int_equal(cvm_coap_block_value(&block), value);
    }
    struct cvm_coap_block block = cvm_coap_block_of(0xffffff);
    assert_int_equal(block.number, 0xfffff);
    assert_int_equal(cvm_coap_block_offset(&block), (size_t)0xfffff << 11);
    assert_int_equal(cvm_coap_block_size(&block), 2048);
}

/* A body is cut and put together again, at each size, whole blocks and not. */
static void there_and_back(void **state)
{
    static const size_t LENGTHS[] = {1, 15, 16, 17, 1023, 1024, 1025, 2048, 2196, 4096};
    (void)state;
    for (size_t i = 0; i < sizeof original; i++)
        original[i] = (uint8_t)(i * 7 + i / 256);
    for (uint8_t szx = 0; szx <= CVM_COAP_LARGEST_SZX; szx++) {
        for (size_t i = 0; i < LENGTH(LENGTHS); i++) {
            struct cvm_coap_body body = {.bytes = memory, .size = sizeof memory};
            enum cvm_coap_body_verdict verdict = COAP_BODY_CONTINUES;
            struct cvm_coap_block block = {.szx = szx};
            for (; verdict == COAP_BODY_CONTINUES; block.number++) {
                size_t length;
                assert_int_equal(cvm_coap_block_cut(&block, LENGTHS[i], &length), 0);
                verdict = cvm_coap_body_take(
                    &body, &block, original + cvm_coap_block_offset(&block), length);
            }
            assert_int_equal(verdict, COAP_BODY_WHOLE);
            assert_int_equal(body.length, LENGTHS[i]);
            assert_memory_equal(memory, original, LENGTHS[i]);
        }
    }
}

static void a_body_of_nothing(void **state)
{
    struct cvm_coap_body body = {.bytes = memory, .size = 16};
    struct cvm_coap_block block = {.szx = 2};
    size_t length = 1;
    (void)state;
    assert_int_equal(cvm_coap_block_cut(&block, 0, &length), 0);
    assert_int_equal(length, 0);
    assert_int_equal(cvm_coap_body_take(&body, &block, NULL, 0), COAP_BODY_WHOLE);
    assert_int_equal(body.length, 0);
}

static void a_block_behind_the_end(void **state)
{
    struct cvm_coap_block block = {.number = 2, .szx = 6};
    size_t length;
    (void)state;
    assert_int_equal(cvm_coap_block_cut(&block, 2048, &length), -1);
    assert_int_equal(cvm_coap_block_cut(&block, 2049, &length), 0);
    assert_int_equal(length, 1);
    block.number = 0xfffff;
    assert_int_equal(cvm_coap_block_cut(&block, 4096, &length), -1);
}

/* What comes in another order, twice, or in other sizes. */
static void how_blocks_may_come(void **state)
{
    static const struct {
        struct {
            size_t offset;
            uint8_t szx;
            int32_t has_more;
            size_t length;
            enum cvm_coap_body_verdict verdict;
        } steps[5];
    } CASES[] = {
        {{{0, 0, 1, 16, COAP_BODY_CONTINUES}, {32, 0, 1, 16, COAP_BODY_INCOMPLETE},
            {16, 0, 1, 16, COAP_BODY_INCOMPLETE}}},
        {{{16, 0, 1, 16, COAP_BODY_INCOMPLETE}}},
        {{{0, 0, 1, 16, COAP_BODY_CONTINUES}, {16, 0, 1, 16, COAP_BODY_CONTINUES},
            {16, 0, 1, 16, COAP_BODY_CONTINUES}, {32, 0, 0, 5, COAP_BODY_WHOLE},
            {32, 0, 0, 5, COAP_BODY_WHOLE}}}, /* doubled on the way */
        {{{0, 1, 1, 32, COAP_BODY_CONTINUES}, {32, 0, 1, 16, COAP_BODY_CONTINUES},
            {48, 0, 0, 1, COAP_BODY_WHOLE}}},
        {{{0, 0, 1, 16, COAP_BODY_CONTINUES}, {0, 0, 1, 16, COAP_BODY_CONTINUES},
            {16, 0, 0, 3, COAP_BODY_WHOLE}}},
        {{{0, 0, 1, 16, COAP_BODY_CONTINUES}, {16, 0, 1, 16, COAP_BODY_CONTINUES},
            {0, 0, 0, 9, COAP_BODY_WHOLE}}},
        /* an end in the middle of what is there */
        {{{0, 0, 1, 16, COAP_BODY_CONTINUES}, {16, 0, 1, 16, COAP_BODY_CONTINUES},
            {32, 0, 1, 16, COAP_BODY_CONTINUES}, {16, 0, 0, 16, COAP_BODY_INCOMPLETE}}},
        {{{0, 0, 1, 15, COAP_BODY_WRONG}}},
        {{{0, 0, 1, 0, COAP_BODY_WRONG}}},
        {{{0, 0, 0, 17, COAP_BODY_WRONG}}},
        {{{0, 6, 1, 1024, COAP_BODY_CONTINUES}, {1024, 6, 1, 1024, COAP_BODY_TOO_LARGE},
            {1024, 6, 0, 1, COAP_BODY_INCOMPLETE}}},
        {{{0, 0, 1, 16, COAP_BODY_CONTINUES}, {16, 0, 0, 0, COAP_BODY_WHOLE}}},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        struct cvm_coap_body body = {.bytes = memory, .size = 1500};
        for (size_t k = 0; k < LENGTH(CASES[i].steps) &&
                           (k == 0 || CASES[i].steps[k].szx || CASES[i].steps[k].length ||
                               CASES[i].steps[k].offset);
             k++) {
            struct cvm_coap_block block = block_at(
                CASES[i].steps[k].offset, CASES[i].steps[k].szx, CASES[i].steps[k].has_more);
            enum cvm_coap_body_verdict verdict =
                cvm_coap_body_take(&body, &block, original, CASES[i].steps[k].length);
            if (verdict != CASES[i].steps[k].verdict)
                fail_msg("case %zu, step %zu: %d", i, k, (int)verdict);
            if (verdict > COAP_BODY_CONTINUES)
                assert_int_equal(body.length, 0);
        }
    }
}

/* A block that is there already says the same, or the body is none. */
static void a_double_that_differs(void **state)
{
    struct cvm_coap_body body = {.bytes = memory, .size = sizeof memory};
    struct cvm_coap_block block = block_at(0, 0, 1);
    (void)state;
    memset(original, 1, 32);
    assert_int_equal(cvm_coap_body_take(&body, &block, original, 16), COAP_BODY_CONTINUES);
    block = block_at(16, 0, 1);
    assert_int_equal(cvm_coap_body_take(&body, &block, original, 16), COAP_BODY_CONTINUES);
    block.has_more = 0;
    assert_int_equal(cvm_coap_body_take(&body, &block, (const uint8_t *)"0123456789abcdef", 16),
        COAP_BODY_INCOMPLETE);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(memory[i], 0); /* wiped */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_options_value),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(a_body_of_nothing),
        cmocka_unit_test(a_block_behind_the_end),
        cmocka_unit_test(how_blocks_may_come),
        cmocka_unit_test(a_double_that_differs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
