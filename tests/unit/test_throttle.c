/* Lines that strangers can cause: some in full, the others summed up, none forgotten. */
#include <pthread.h>

#include "support/test.h"

#include "base/clock.h"
#include "loop.h"
#include "throttle.h"

#define MOST_LINES 512

struct world {
    struct cvm_loop *loop;
    struct cvm_log *log;
    struct cvm_throttle *throttle;
    uint32_t count;
    char lines[MOST_LINES][600];
};

static void take_line(void *user_data, int32_t level, const char *line)
{
    (void)level;
    struct world *world = user_data;
    assert_true(world->count < MOST_LINES);
    (void)snprintf(world->lines[world->count++], sizeof world->lines[0], "%s",
        line + strlen("2026-01-31T12:00:00.000Z "));
}

static void begin(struct world *world, int64_t per_address, int64_t total)
{
    const struct cvm_log_sink sink = {take_line, world};
    cvm_error_t *error = NULL;
    cvm_clock_turn(0, 0);
    memset(world, 0, sizeof *world);
    world->loop = cvm_loop_new(NULL);
    world->log = cvm_log_open("", &sink, LOG_INFO, LOG_TEXT, &error);
    assert_non_null(world->loop);
    assert_non_null(world->log);
    world->throttle = cvm_throttle_new(world->loop, world->log, per_address, total);
    assert_non_null(world->throttle);
}

static void is_closed(void *argument)
{
    *(int *)argument = 1;
}

static void end(struct world *world)
{
    int closed = 0;
    cvm_throttle_stop(world->throttle);
    cvm_loop_close(world->loop, is_closed, &closed);
    cvm_loop_run(world->loop);
    assert_true(closed);
    cvm_throttle_free(world->throttle);
    cvm_log_close(world->log);
    cvm_clock_turn(0, 0);
}

/* How many of so many lines are written in full. */
static uint32_t ask(struct world *world, const char *peer, const char *kind, uint32_t times)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < times; i++)
        taken += cvm_throttle_takes(world->throttle, LOG_INFO, peer, kind, "") != 0;
    return taken;
}

static void expect_line(const struct world *world, const char *line)
{
    for (uint32_t i = 0; i < world->count; i++)
        if (strcmp(world->lines[i], line) == 0)
            return;
    fail_msg("no line '%s' among %u; the first is '%s'", line, world->count, world->lines[0]);
}

static struct world world;

static void *ask_in_a_thread(void *argument)
{
    (void)argument;
    return (void *)(uintptr_t)ask(&world, "192.0.2.1", "wrong_token", 100);
}

/* The bounds hold whoever asks at once. */
static void threads_share_one_bound(void **state)
{
    pthread_t threads[4];
    uint32_t taken = 0;
    (void)state;
    begin(&world, 60, 600);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_in_a_thread, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        taken += (uint32_t)(uintptr_t)result;
    }
    assert_in_range(taken, 60, 61); /* a second may begin meanwhile */
    end(&world);
}

static void what_is_beyond_the_rate_is_summed_up(void **state)
{
    (void)state;
    begin(&world, 60, 600);
    assert_int_equal(ask(&world, "192.0.2.1", "wrong_token", 60), 60);
    for (uint32_t i = 0; i < 6214; i++) {
        char uid[16];
        (void)snprintf(uid, sizeof uid, "BENCH%u", i % 5);
        assert_int_equal(
            cvm_throttle_takes(world.throttle, LOG_INFO, "192.0.2.1", "wrong_token", uid), 0);
    }
    cvm_clock_turn(0, 10000);
    end(&world);
    assert_int_equal(world.count, 1);
    expect_line(&world, "info    summed up text=\"6214 more in 10 s: wrong_token\" peer=192.0.2.1 "
                        "uids=\"BENCH1 BENCH2 BENCH3\"");
}

static void peers_and_kinds_count_apart(void **state)
{
    (void)state;
    begin(&world, 3, 600);
    assert_int_equal(ask(&world, "192.0.2.1", "wrong_token", 5), 3);
    assert_int_equal(ask(&world, "192.0.2.1", "disabled", 5), 3);
    assert_int_equal(ask(&world, "192.0.2.2", "wrong_token", 4), 3);
    assert_int_equal(ask(&world, "2001:db8::1", "wrong_token", 3), 3);
    assert_int_equal(ask(&world, "2001:db8::2", "wrong_token", 3), 0); /* the same /64 */
    end(&world);
    assert_int_equal(world.count, 4);
    expect_line(&world, "info    summed up text=\"2 more in 1 s: wrong_token\" peer=192.0.2.1");
    expect_line(&world, "info    summed up text=\"2 more in 1 s: disabled\" peer=192.0.2.1");
    expect_line(&world, "info    summed up text=\"1 more in 1 s: wrong_token\" peer=192.0.2.2");
}

static void the_total_bounds_all(void **state)
{
    (void)state;
    begin(&world, 60, 100);
    assert_int_equal(ask(&world, "192.0.2.1", "a", 60), 60);
    assert_int_equal(ask(&world, "192.0.2.2", "a", 60), 40);
    assert_int_equal(ask(&world, "192.0.2.3", "b", 60), 0);
    end(&world);
    expect_line(&world, "info    summed up text=\"60 more in 1 s: b\" peer=192.0.2.3");
}

static void time_gives_lines_back(void **state)
{
    (void)state;
    begin(&world, 60, 600);
    assert_int_equal(ask(&world, "192.0.2.1", "a", 100), 60);
    cvm_clock_turn(0, 5000);
    uint32_t taken = ask(&world, "192.0.2.1", "a", 100);
    assert_true(taken >= 5 && taken < 60);
    cvm_clock_turn(0, 3600000);
    assert_int_equal(ask(&world, "192.0.2.1", "a", 100), 60);
    end(&world);
}

static void nought_bounds_nothing(void **state)
{
    (void)state;
    begin(&world, 0, 0);
    assert_int_equal(ask(&world, "192.0.2.1", "a", 5000), 5000);
    end(&world);
    begin(&world, 0, 10);
    assert_int_equal(ask(&world, "192.0.2.1", "a", 5000), 10);
    end(&world);
    begin(&world, 10, 0);
    assert_int_equal(ask(&world, "192.0.2.1", "a", 5000), 10);
    assert_int_equal(ask(&world, "192.0.2.2", "a", 5000), 10);
    end(&world);
    assert_int_equal(world.count, 2);
}

/* Each of them once, and so many that they can't all be remembered: memory and lines are bounded,
 * and the sums say how many there were. */
static void a_flood_of_addresses_is_summed_up_by_kind(void **state)
{
    uint32_t taken = 0, summed = 0;
    (void)state;
    begin(&world, 60, 0);
    for (uint32_t i = 0; i < 20000; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "10.%u.%u.%u", i >> 16, (i >> 8) & 255, i & 255);
        taken += ask(&world, address, "wrong_token", 1);
    }
    end(&world);
    assert_true(taken > 0 && taken < 1000 && world.count <= 1);
    for (uint32_t i = 0; i < world.count; i++) {
        summed += (uint32_t)strtoul(strchr(world.lines[i], '"') + 1, NULL, 10);
        assert_null(strstr(world.lines[i], "peer="));
    }
    assert_int_equal(taken + summed, 20000);
}

/* Who was there a while ago makes room. */
static void the_table_forgets(void **state)
{
    (void)state;
    begin(&world, 60, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "192.0.%u.%u", i / 250, i % 250);
        (void)ask(&world, address, "a", 1);
    }
    cvm_clock_turn(0, 61000);
    assert_int_equal(ask(&world, "198.51.100.1", "a", 60), 60);
    end(&world);
}

static void without_bounds_addresses_come_and_go(void **state)
{
    (void)state;
    begin(&world, 0, 0);
    for (uint32_t i = 0; i < 2000; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "10.0.%u.%u", i / 250, i % 250);
        assert_int_equal(ask(&world, address, "a", 2), 2);
    }
    end(&world);
    assert_int_equal(world.count, 0);
}

static void without_a_peer_the_total_alone_counts(void **state)
{
    (void)state;
    begin(&world, 10, 100);
    assert_int_equal(ask(&world, "", "a", 150), 100);
    end(&world);
    expect_line(&world, "info    summed up text=\"50 more in 1 s: a\"");
}

/* What is grave stays so in the sum. */
static void a_sum_has_the_gravest_level(void **state)
{
    (void)state;
    begin(&world, 1, 0);
    (void)ask(&world, "192.0.2.1", "a", 2);
    (void)cvm_throttle_takes(world.throttle, LOG_WARNING, "192.0.2.1", "a", "");
    (void)ask(&world, "192.0.2.1", "a", 2);
    end(&world);
    expect_line(&world, "warning summed up text=\"4 more in 1 s: a\" peer=192.0.2.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_share_one_bound),
        cmocka_unit_test(what_is_beyond_the_rate_is_summed_up),
        cmocka_unit_test(peers_and_kinds_count_apart),
        cmocka_unit_test(the_total_bounds_all),
        cmocka_unit_test(time_gives_lines_back),
        cmocka_unit_test(nought_bounds_nothing),
        cmocka_unit_test(a_flood_of_addresses_is_summed_up_by_kind),
        cmocka_unit_test(the_table_forgets),
        cmocka_unit_test(without_bounds_addresses_come_and_go),
        cmocka_unit_test(without_a_peer_the_total_alone_counts),
        cmocka_unit_test(a_sum_has_the_gravest_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
