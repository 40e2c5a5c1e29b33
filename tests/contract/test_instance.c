/* The life of an instance: start, stop, free; loops of its own, of libuv, of others. */
#include "support/faults.h"
#include "support/harness.h"

#include <poll.h>
#include <pthread.h>

#include <uv.h>

/* --- Start and stop --------------------------------------------------------------------------- */

static void an_instance_starts_and_stops(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_true(cvm_is_ready(cvm));
    assert_true(cvm_fd(cvm) >= 0);
    assert_null(cvm_listener(cvm, 0));
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    assert_false(cvm_is_ready(cvm));
    cvm_error_t *error = cvm_stop(cvm, NULL, NULL); /* once is enough */
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    turn_until(&is_stopped, 1);
    instance_free(cvm);
}

static void started_or_not(void *user_data, const cvm_error_t *error)
{
    (void)error;
    ++*(int *)user_data;
}

static void never(void *user_data, const cvm_result_t *result)
{
    (void)user_data;
    (void)result;
    fail();
}

static void never_a_device(void *user_data, const cvm_error_t *error, const cvm_device_t *device)
{
    (void)user_data;
    (void)error;
    (void)device;
    fail();
}

static void nothing_is_taken_before_the_start_and_after_the_stop(void **state)
{
    struct outcome outcome = {.calls = 0};
    cvm_t *cvm = NULL;
    (void)state;
    cvm_conf_t *conf = harness_conf(NULL);
    cvm_request_t *request = cvm_request_new();
    assert_null(cvm_new(conf, &cvm));
    cvm_error_t *error = cvm_register(cvm, request, never, &outcome, NULL);
    assert_string_equal(cvm_error_name(error), "overloaded");
    cvm_error_free(error);
    error = cvm_device_get(cvm, "D", never_a_device, NULL);
    assert_string_equal(cvm_error_name(error), "overloaded");
    cvm_error_free(error);
    error = cvm_listen(cvm);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    cvm_free(cvm); /* one that was never started */
    cvm_free(NULL);

    cvm = instance_start(NULL);
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    error = cvm_register(cvm, request, never, &outcome, NULL);
    assert_string_equal(cvm_error_name(error), "overloaded");
    cvm_error_free(error);
    error = cvm_reconcile(cvm, started_or_not, NULL);
    assert_string_equal(cvm_error_name(error), "overloaded");
    cvm_error_free(error);
    turn_until(&is_stopped, 1);
    instance_free(cvm);
    cvm_request_free(request);
    cvm_conf_free(conf);
}

static void what_can_not_be_made_is_refused_with_a_reason(void **state)
{
    static const struct {
        struct setting settings[2];
        const char *why;
    } CASES[] = {
        {{{"store", "nowhere:x"}, {NULL, NULL}}, "nowhere"},
        {{{"platform", "nowhere:x"}, {NULL, NULL}}, "nowhere"},
        {{{"platform", "local:/nonexistent"}, {NULL, NULL}}, "/nonexistent"},
        {{{"store", "file:"}, {NULL, NULL}}, "file:PATH"},
        {{{"store", "file:/nonexistent/x.db"}, {NULL, NULL}}, "/nonexistent/x.db"},
        {{{"log.file", "/nonexistent/log"}, {NULL, NULL}}, "/nonexistent/log"},
    };
    (void)state;
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        char why[256] = "";
        assert_null(instance_try(CASES[i].settings, why, sizeof why));
        if (!strstr(why, CASES[i].why))
            fail_msg("'%s' does not hold '%s'", why, CASES[i].why);
    }
}

static void an_instance_that_did_not_start_can_be_started_again(void **state)
{
    static const struct setting BROKEN[] = {{"store", "file:/tmp/cvm-no-such/x.db"}, {NULL, NULL}};
    cvm_t *cvm = NULL;
    char why[200];
    (void)state;
    for (int i = 0; i < 3; i++) /* nothing is left behind */
        assert_null(instance_try(BROKEN, why, sizeof why));
    cvm = instance_start(NULL);
    cvm_error_t *error = cvm_start(cvm, started_or_not, NULL);
    assert_string_equal(cvm_error_name(error), "conflict");
    cvm_error_free(error);
    instance_end(cvm);
}

/* The store is open by then, and stays it. */
static void a_start_that_the_platform_failed_can_be_tried_again(void **state)
{
    char why[200] = "";
    int calls = 0;
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = instance_new(harness_conf(NULL), why, sizeof why);
    faults_plan("platform_open", 1, FAULT_UNAVAILABLE);
    assert_null(cvm_start(cvm, started_or_not, &calls));
    turn_until(&calls, 1);
    assert_false(cvm_is_ready(cvm));
    assert_null(cvm_start(cvm, started_or_not, &calls));
    assert_int_equal(calls, 1);
    turn_until(&calls, 2);
    assert_true(cvm_is_ready(cvm));
    assert_string_equal(device_add(cvm, "D"), "ok");
    assert_string_equal(register_now(cvm, "D", NULL, &outcome), "ok");
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void a_stop_while_it_starts_waits_for_the_start(void **state)
{
    cvm_t *cvm = NULL;
    int is_started = 0, is_stopped = 0;
    (void)state;
    cvm_conf_t *conf = harness_conf(NULL);
    assert_null(cvm_new(conf, &cvm));
    assert_null(cvm_start(cvm, started_or_not, &is_started));
    assert_null(cvm_stop(cvm, started_or_not, &is_stopped));
    assert_null(cvm_run(cvm));
    assert_int_equal(is_started, 1);
    assert_int_equal(is_stopped, 1);
    cvm_free(cvm);
    cvm_conf_free(conf);
}

static void freeing_stops(void **state)
{
    cvm_t *cvm = NULL;
    int is_started = 0;
    (void)state;
    cvm_conf_t *conf = harness_conf(NULL);
    assert_null(cvm_new(conf, &cvm));
    assert_null(cvm_start(cvm, started_or_not, &is_started));
    cvm_free(cvm);
    assert_int_equal(is_started, 1);
    cvm_conf_free(conf);
}

/* --- Loops ------------------------------------------------------------------------------------ */

struct own {
    cvm_t *cvm;
    int started, stopped, freed;
};

static void own_stopped(void *user_data, const cvm_error_t *error)
{
    struct own *own = user_data;
    assert_null(error);
    own->stopped++;
    if (own->freed)
        cvm_free(own->cvm);
}

static void own_started(void *user_data, const cvm_error_t *error)
{
    struct own *own = user_data;
    assert_null(error);
    own->started++;
    assert_null(cvm_stop(own->cvm, own_stopped, own));
}

static void an_instance_runs_its_own_loop(void **state)
{
    (void)state;
    cvm_conf_t *conf = harness_conf(NULL);
    for (int frees = 0; frees < 2; frees++) { /* also freed in the last callback */
        struct own own = {NULL, 0, 0, frees};
        assert_null(cvm_new(conf, &own.cvm));
        assert_null(cvm_start(own.cvm, own_started, &own));
        assert_null(cvm_run(own.cvm));
        assert_int_equal(own.stopped, 1);
        if (!frees)
            cvm_free(own.cvm);
    }
    cvm_conf_free(conf);
}

static void an_instance_lives_on_libuvs_loop(void **state)
{
    uv_loop_t loop;
    (void)state;
    cvm_conf_t *conf = harness_conf(NULL);
    assert_int_equal(uv_loop_init(&loop), 0);
    for (int frees = 0; frees < 2; frees++) {
        struct own own = {NULL, 0, 0, frees};
        assert_null(cvm_new_on_uv(conf, &loop, &own.cvm));
        cvm_error_t *error = cvm_run(own.cvm);
        assert_string_equal(cvm_error_name(error), "conflict"); /* the loop is ours to run */
        cvm_error_free(error);
        assert_null(cvm_start(own.cvm, own_started, &own));
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* runs out by itself */
        assert_int_equal(own.stopped, 1);
        if (!frees)
            cvm_free(own.cvm);
    }
    struct own own = {NULL, 0, 0, 0}; /* freed while it starts: goes as the loop runs */
    assert_null(cvm_new_on_uv(conf, &loop, &own.cvm));
    assert_null(cvm_start(own.cvm, started_or_not, &own.started));
    cvm_free(own.cvm);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(own.started, 1);
    assert_int_equal(uv_loop_close(&loop), 0);
    cvm_conf_free(conf);
}

/* After the stop, what a foreign loop still asks does no harm. */
static void a_stopped_instance_can_be_asked(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    assert_int_equal(cvm_fd(cvm), -1);
    assert_int_equal(cvm_timeout_ms(cvm), -1);
    cvm_process(cvm);
    cvm_error_t *error = cvm_run(cvm);
    cvm_error_free(error);
    error = cvm_post(cvm, free, NULL);
    assert_non_null(error);
    cvm_error_free(error);
    instance_free(cvm);
}

/* --- Posting ---------------------------------------------------------------------------------- */

#define POSTERS 3

struct poster {
    cvm_t *cvm;
    pthread_t thread;
    uint32_t posted;
    int run; /* on the loop */
};

static void count(void *argument)
{
    struct poster *poster = argument;
    poster->run++;
}

/* Posts until it is refused. */
static void *post_on(void *argument)
{
    struct poster *poster = argument;
    for (;;) {
        cvm_error_t *error = cvm_post(poster->cvm, count, poster);
        cvm_error_free(error);
        if (error)
            return NULL;
        if (++poster->posted % 64 == 0)
            sched_yield();
    }
}

/* Each call that was accepted runs, also those that were posted while the instance stopped. */
static void what_is_posted_runs_until_it_is_refused(void **state)
{
    struct poster posters[POSTERS];
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.cvm = cvm, .posted = 0, .run = 0};
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_on, &posters[i]), 0);
    }
    turn_for(20);
    int is_stopped = 0;
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_true(posters[i].run > 0);
        assert_int_equal(posters[i].run, posters[i].posted);
    }
    instance_free(cvm);
}

static void instances_work_side_by_side(void **state)
{
    struct outcome one, other;
    (void)state;
    cvm_t *first = instance_start(NULL), *second = instance_start(NULL);
    assert_string_equal(device_add(first, "D1"), "ok");
    assert_string_equal(device_add(second, "D1"), "device_exists");
    assert_string_equal(device_add(second, "D2"), "ok");
    register_start(second, "D1", token_of("D1"), NULL, 0, &one);
    register_start(first, "D2", token_of("D2"), NULL, 0, &other);
    outcome_wait(&one);
    outcome_wait(&other);
    assert_string_equal(one.name, "ok");
    assert_string_equal(other.name, "ok");
    outcome_clear(&one);
    outcome_clear(&other);
    instance_end(first);
    struct view view;
    device_view(second, "D2", &view); /* the other one is gone */
    assert_true(view.is_registered);
    instance_end(second);
}

static void take_code(void *user_data, const cvm_error_t *error)
{
    int *codes = user_data;
    codes[0]++;
    codes[1] = cvm_error_code(error);
    codes[2] = strcmp(cvm_error_name(error), "conflict") == 0;
    codes[3] = strcmp(cvm_error_subject(error), "store") == 0;
    codes[4] = cvm_error_retryable(error);
}

/* A conflict that passes: it is the code of what passes. */
static void a_second_server_on_a_store_is_a_conflict(void **state)
{
    static const struct setting SERVER[] = {{"role", "server"}, {NULL, NULL}};
    int codes[5] = {0};
    char why[200] = "";
    (void)state;
    cvm_t *first = instance_start(SERVER);
    cvm_t *second = instance_new(harness_conf(NULL), why, sizeof why);
    assert_null(cvm_start(second, take_code, codes));
    turn_until(codes, 1);
    assert_int_equal(codes[1], CVM_CODE_BUSY);
    assert_true(codes[2] && codes[3] && codes[4]);
    instance_end(first);
    assert_null(cvm_start(second, take_code, codes)); /* it has passed */
    turn_until(codes, 2);
    assert_int_equal(codes[1], CVM_CODE_OK);
    instance_end(second);
}

static void the_store_is_checked(void **state)
{
    int calls = 0;
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_null(cvm_check(cvm, started_or_not, &calls));
    assert_int_equal(calls, 0);
    turn_until(&calls, 1);
    assert_null(cvm_reload(cvm, started_or_not, &calls));
    assert_int_equal(calls, 1);
    turn_until(&calls, 2);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_instance_starts_and_stops),
        TEST(nothing_is_taken_before_the_start_and_after_the_stop),
        TEST(what_can_not_be_made_is_refused_with_a_reason),
        TEST(an_instance_that_did_not_start_can_be_started_again),
        TEST(a_start_that_the_platform_failed_can_be_tried_again),
        TEST(a_stop_while_it_starts_waits_for_the_start),
        TEST(freeing_stops),
        TEST(an_instance_runs_its_own_loop),
        TEST(an_instance_lives_on_libuvs_loop),
        TEST(a_stopped_instance_can_be_asked),
        TEST(what_is_posted_runs_until_it_is_refused),
        TEST(instances_work_side_by_side),
        TEST(a_second_server_on_a_store_is_a_conflict),
        TEST(the_store_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
