/* Scans end, whatever their store answers. */
#include "support/test.h"

#include "core/call.h"

/* How many pages until it ends, of a scan whose cursors are those of cursors[], from back on again
 * and again once they are over; *goes_round as it ended. */
static uint32_t pages(const char *const *cursors, uint32_t count, uint32_t back, int *goes_round)
{
    struct cvm_paging paging = {0};
    cvm_op_t op = {0};
    for (uint32_t page = 1, at = 0; page < 10000; page++, at++) {
        if (at == count)
            at = back;
        op.outs[CVM_OUT_CURSOR] = (char *)cursors[at];
        int32_t more = cvm_paging_next(&paging, &op);
        if (more > 0) {
            assert_string_equal(paging.cursor, cursors[at]);
            continue;
        }
        *goes_round = more < 0;
        assert_string_equal(paging.cursor, ""); /* ready for the next scan */
        return page;
    }
    fail();
    return 0;
}

static void a_scan_is_gone_through(void **state)
{
    static const char *const CURSORS[] = {"a", "b", "c", "d", "e", "f", NULL};
    int goes_round = 1;
    (void)state;
    assert_int_equal(pages(CURSORS, 7, 0, &goes_round), 7);
    assert_false(goes_round);
}

static void one_that_goes_round_ends(void **state)
{
    static const char *const CURSORS[] = {"a", "b", "c", "d", "e", "f", "g"}, *const EMPTY[] = {""};
    int goes_round = 0;
    (void)state;
    for (uint32_t count = 1; count <= 7; count++)
        for (uint32_t back = 0; back < count; back++) {
            assert_true(pages(CURSORS, count, back, &goes_round) < 40);
            assert_true(goes_round);
        }
    assert_int_equal(pages(EMPTY, 1, 0, &goes_round), 1); /* the first page's own */
    assert_true(goes_round);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_is_gone_through),
        cmocka_unit_test(one_that_goes_round_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
