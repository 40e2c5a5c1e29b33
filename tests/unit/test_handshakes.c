/* Which handshake goes when there is one too many. */
#include "support/test.h"

#include "transports/http/handshakes.h"

#define MOST 64

static struct cvm_handshakes *handshakes;
static struct cvm_handshake all[MOST];
static uint32_t used;

static void begin(uint32_t total, uint32_t per_address)
{
    memset(all, 0, sizeof all);
    used = 0;
    handshakes = cvm_handshakes_new(total, per_address);
    assert_non_null(handshakes);
}

/* Those that are under way end. */
static void end(void)
{
    for (uint32_t i = 0; i < used; i++)
        (void)cvm_handshakes_end(handshakes, &all[i]);
    cvm_handshakes_free(handshakes);
}

/* The place in all of the one that has to go for a new one; -1: none. */
static int add(const char *address)
{
    struct cvm_handshake *evicted;
    assert_true(used < MOST);
    assert_int_equal(cvm_handshakes_begin(handshakes, &all[used++], address, &evicted), 0);
    return evicted ? (int)(evicted - all) : -1;
}

static void an_address_loses_its_own_oldest(void **state)
{
    (void)state;
    begin(100, 2);
    assert_int_equal(add("192.0.2.1"), -1);
    assert_int_equal(add("192.0.2.2"), -1);
    assert_int_equal(add("192.0.2.1"), -1);
    assert_int_equal(add("192.0.2.1"), 0);
    assert_int_equal(add("192.0.2.1"), 2);
    assert_int_equal(add("2001:db8::1"), -1);
    assert_int_equal(add("2001:db8::2"), -1);
    assert_int_equal(add("2001:db8::3"), 5); /* one /64 is one */
    end();
}

static void the_greediest_gives_way_to_others(void **state)
{
    (void)state;
    begin(6, 100);
    assert_int_equal(add("192.0.2.1"), -1);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(add("192.0.2.2"), -1);
    assert_int_equal(add("192.0.2.3"), -1);
    assert_int_equal(add("192.0.2.4"), -1);
    assert_int_equal(add("192.0.2.5"), 1); /* the oldest of .2 */
    assert_int_equal(add("192.0.2.6"), 2);
    assert_int_equal(add("192.0.2.7"), 0); /* all have one: the oldest of all */
    end();
}

/* It is never refused, but it does not push others out. */
static void the_greediest_gives_way_to_itself(void **state)
{
    (void)state;
    begin(3, 100);
    assert_int_equal(add("192.0.2.1"), -1);
    assert_int_equal(add("192.0.2.2"), -1);
    assert_int_equal(add("192.0.2.2"), -1);
    for (int i = 1; i < 20; i++)
        assert_int_equal(add("192.0.2.2"), i);
    end();
}

static void those_without_an_address_count_in_the_total_alone(void **state)
{
    (void)state;
    begin(5, 2);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(add(""), -1);
    assert_int_equal(add("192.0.2.1"), 0);
    assert_int_equal(add(""), 1);
    end();
}

static void who_is_done_makes_room(void **state)
{
    (void)state;
    begin(2, 2);
    assert_int_equal(add("192.0.2.1"), -1);
    assert_int_equal(add("192.0.2.1"), -1);
    assert_int_equal(cvm_handshakes_end(handshakes, &all[0]), 0);
    memset(&all[0], 0, sizeof all[0]);
    assert_int_equal(add("192.0.2.1"), -1);
    assert_int_equal(add("192.0.2.1"), 1);
    assert_int_equal(
        cvm_handshakes_end(handshakes, &all[1]), 1); /* it learns that it was evicted */
    all[0].is_evicted = 1;                           /* for end(): it is over */
    end();
}

static void many_and_few_again(void **state)
{
    (void)state;
    begin(32, 100);
    for (uint32_t i = 0; i < 15; i++)
        (void)add("192.0.2.1");
    assert_int_equal(cvm_handshakes_are_many(handshakes), 0);
    assert_int_equal(cvm_handshakes_are_few_again(handshakes), 0);
    (void)add("192.0.2.1");
    assert_int_equal(cvm_handshakes_are_many(handshakes), 1);
    for (uint32_t i = 0; i < 13; i++)
        (void)cvm_handshakes_end(handshakes, &all[i]);
    assert_int_equal(cvm_handshakes_are_many(handshakes), 0);
    assert_int_equal(cvm_handshakes_are_few_again(handshakes), 0); /* three are left */
    (void)cvm_handshakes_end(handshakes, &all[13]);
    assert_int_equal(cvm_handshakes_are_few_again(handshakes), 1);
    assert_int_equal(cvm_handshakes_are_few_again(handshakes), 0); /* once */
    (void)cvm_handshakes_end(handshakes, &all[14]);
    (void)cvm_handshakes_end(handshakes, &all[15]);
    cvm_handshakes_free(handshakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_loses_its_own_oldest),
        cmocka_unit_test(the_greediest_gives_way_to_others),
        cmocka_unit_test(the_greediest_gives_way_to_itself),
        cmocka_unit_test(those_without_an_address_count_in_the_total_alone),
        cmocka_unit_test(who_is_done_makes_room),
        cmocka_unit_test(many_and_few_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
