/* Subjects and their states: what is told of each, and what a check says of the first that is not
 * well. */
#include "support/harness.h"

#include "base/clock.h"
#include "health.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

static const struct setting SERVER[] = {{"role", "server"}, {"store.create", "true"}, {NULL, NULL}};

/* What a check says; "" if all is well. Static. */
static const char *checked(cvm_t *cvm)
{
    static char text[256];
    cvm_error_t *error = cvm_health_check(cvm);
    (void)snprintf(text, sizeof text, "%s", error ? cvm_error_text(error) : "");
    cvm_error_free(error);
    return text;
}

/* Each new problem of a subject is told, once; the same one again is not. */
static void a_problem_is_told_when_it_is_new(void **state)
{
    (void)state;
    cvm_t *cvm = instance_start(SERVER);
    cvm_health_set(cvm, "a.pem", "is missing", 0, 0, 0);
    cvm_health_set(cvm, "a.pem", "is missing", 0, 0, 0);
    assert_string_equal(checked(cvm), "a.pem: is missing");
    assert_int_equal(lines_with("log", "a.pem: is missing"), 1);
    cvm_health_set(cvm, "a.pem", "is junk", 0, 0, 0);
    assert_string_equal(checked(cvm), "a.pem: is junk");
    assert_int_equal(lines_with("log", "a.pem: is junk"), 1);
    cvm_health_set(cvm, "a.pem", NULL, 0, 0, 0);
    assert_string_equal(checked(cvm), "");
    assert_int_equal(lines_with("log", "a.pem: is well again"), 1);
    cvm_health_set(cvm, "a.pem", "is missing", 0, 0, 0);
    assert_int_equal(lines_with("log", "a.pem: is missing"), 2);
    instance_end(cvm);
}

/* The first that was reported is the one that a check names; one that ends soon is well still. */
static void a_check_names_the_first_that_is_not_well(void **state)
{
    int64_t now_ms = cvm_now_ms();
    (void)state;
    cvm_t *cvm = instance_start(SERVER);
    cvm_health_set(cvm, "soon.pem", NULL, now_ms - DAY_MS, now_ms + DAY_MS, 14 * DAY_MS);
    assert_string_equal(checked(cvm), "");
    assert_int_equal(lines_with("log", "soon.pem: ends on"), 1);
    cvm_health_set(cvm, "later.pem", NULL, now_ms + DAY_MS, now_ms + 2 * DAY_MS, 0);
    assert_non_null(strstr(checked(cvm), "later.pem: is not valid before"));
    cvm_health_set(cvm, "soon.pem", NULL, now_ms - DAY_MS, now_ms - 1, 14 * DAY_MS);
    assert_non_null(strstr(checked(cvm), "soon.pem: ended on"));
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_problem_is_told_when_it_is_new),
        TEST(a_check_names_the_first_that_is_not_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
