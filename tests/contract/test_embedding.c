/* What programs that embed the library, and authors of backends, rely on: tables that are not whole
 * are refused, logs go where the program wants them, metrics, commands beside a server. */
#include "support/fake_platform.h"
#include "support/faults.h"
#include "support/harness.h"
#include "support/lacking.h"
#include "support/store_file.h"

#include <pthread.h>
#include <unistd.h>

#define UID "DEVICE001"

/* --- Tables of backends ----------------------------------------------------------------------- */

#define STORE(name)    offsetof(cvm_store_ops_t, name), #name
#define PLATFORM(name) offsetof(cvm_platform_ops_t, name), #name

static const struct member {
    size_t offset;
    const char *name;
} STORE_NEEDS[] = {{STORE(create)}, {STORE(open)}, {STORE(ready)}, {STORE(get)}, {STORE(swap)},
    {STORE(get_certificates)}, {STORE(scan)}, {STORE(load)}, {STORE(meta_get)}, {STORE(meta_put)},
    {STORE(remove)}, {STORE(close)}, {STORE(destroy)}},
  PLATFORM_NEEDS[] = {{PLATFORM(create)}, {PLATFORM(open)}, {PLATFORM(prepare)},
      {PLATFORM(create_certificate)}, {PLATFORM(close)}, {PLATFORM(destroy)}},
  PLATFORM_MAY[] = {{PLATFORM(delete_certificate)}, {PLATFORM(attach_policy)},
      {PLATFORM(detach_policy)}, {PLATFORM(create_thing)}, {PLATFORM(attach_certificate)},
      {PLATFORM(detach_certificate)}, {PLATFORM(activate)}, {PLATFORM(deactivate)},
      {PLATFORM(revoke)}, {PLATFORM(suspend)}, {PLATFORM(reload)}};

/* What cvm_new() says of the "lacking:" table. */
static void expect_refused(const char *property, const char *member, const char *why)
{
    const struct setting settings[] = {{property, "lacking:x"}, {NULL, NULL}};
    cvm_conf_t *conf = harness_conf(settings);
    cvm_t *cvm = NULL;
    cvm_error_t *error = cvm_new(conf, &cvm);
    assert_non_null(error);
    assert_null(cvm);
    assert_string_equal(cvm_error_name(error), "configuration");
    if (!strstr(cvm_error_text(error), property) || !strstr(cvm_error_text(error), why))
        fail_msg("%s without %s: %s", property, member, cvm_error_text(error));
    cvm_error_free(error);
    cvm_conf_free(conf);
}

static void a_store_that_lacks_a_function_is_refused(void **state)
{
    (void)state;
    lacking_store(sizeof(cvm_store_ops_t), 0);
    expect_refused("store", "nothing", "the table is whole"); /* that is its create() */
    for (size_t i = 0; i < LENGTH(STORE_NEEDS); i++) {
        lacking_store(sizeof(cvm_store_ops_t), STORE_NEEDS[i].offset);
        expect_refused("store", STORE_NEEDS[i].name, "lacks");
        if (STORE_NEEDS[i].offset > offsetof(cvm_store_ops_t, create)) {
            lacking_store(STORE_NEEDS[i].offset, 0); /* one of an older version */
            expect_refused("store", STORE_NEEDS[i].name, "lacks");
        }
    }
    lacking_store(sizeof(cvm_store_ops_t), 0);
}

static void a_platform_that_lacks_a_function_is_refused(void **state)
{
    (void)state;
    lacking_platform(sizeof(cvm_platform_ops_t), 0);
    expect_refused("platform", "nothing", "the table is whole");
    for (size_t i = 0; i < LENGTH(PLATFORM_NEEDS); i++) {
        lacking_platform(sizeof(cvm_platform_ops_t), PLATFORM_NEEDS[i].offset);
        expect_refused("platform", PLATFORM_NEEDS[i].name, "lacks");
        if (PLATFORM_NEEDS[i].offset > offsetof(cvm_platform_ops_t, create)) {
            lacking_platform(PLATFORM_NEEDS[i].offset, 0);
            expect_refused("platform", PLATFORM_NEEDS[i].name, "lacks");
        }
    }
    for (size_t i = 0; i < LENGTH(PLATFORM_MAY); i++) {
        lacking_platform(sizeof(cvm_platform_ops_t), PLATFORM_MAY[i].offset);
        expect_refused("platform", PLATFORM_MAY[i].name, "the table is whole");
    }
    lacking_platform(sizeof(cvm_platform_ops_t), 0);
}

/* --- Logs ------------------------------------------------------------------------------------- */

struct lines {
    pthread_mutex_t lock; /* lines may come from several threads at once */
    uint32_t count, broken;
    pthread_t loop;
    uint32_t from_others;
    uint32_t levels[CVM_LOG_DEBUG + 1];
    char last[512];
};

static void take_line(void *user_data, int32_t level, const char *line)
{
    struct lines *lines = user_data;
    (void)pthread_mutex_lock(&lines->lock);
    lines->broken += !*line || strpbrk(line, "\r\n") != NULL || level < 0 || level > CVM_LOG_DEBUG;
    lines->count++;
    lines->levels[level & 3]++;
    lines->from_others += !pthread_equal(lines->loop, pthread_self());
    (void)snprintf(lines->last, sizeof lines->last, "%s", line);
    (void)pthread_mutex_unlock(&lines->lock);
}

static cvm_conf_t *conf_with_lines(struct lines *log, struct lines *audit)
{
    static const struct setting SETTINGS[] = {
        {"log.file", ""}, {"audit.file", ""}, {"log.level", "debug"}, {NULL, NULL}};
    cvm_conf_t *conf = harness_conf(SETTINGS);
    (void)pthread_mutex_init(&log->lock, NULL);
    (void)pthread_mutex_init(&audit->lock, NULL);
    log->loop = audit->loop = pthread_self();
    assert_null(cvm_conf_set_log(conf, take_line, log));
    assert_null(cvm_conf_set_audit(conf, take_line, audit));
    return conf;
}

static void done(void *user_data, const cvm_error_t *error)
{
    assert_null(error);
    ++*(int *)user_data;
}

static void the_program_gets_the_lines(void **state)
{
    struct lines log = {.count = 0}, audit = {.count = 0};
    struct outcome outcome;
    char why[200] = "", path[128];
    int is_started = 0, is_reloaded = 0;
    (void)state;
    cvm_conf_t *conf = conf_with_lines(&log, &audit);
    (void)snprintf(path, sizeof path, "%s/log", harness_folder());
    assert_null(cvm_conf_set(conf, "log.file", path)); /* the function goes before it */
    cvm_t *cvm = instance_new(conf, why, sizeof why);
    assert_non_null(cvm);
    assert_null(cvm_start(cvm, done, &is_started));
    turn_until(&is_started, 1);
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_int_equal(audit.count, 1);
    assert_non_null(strstr(audit.last, "device_added"));
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    assert_int_equal(audit.count, 2);
    assert_non_null(strstr(audit.last, "\"registered\""));
    assert_non_null(strstr(log.last, UID));
    assert_null(cvm_reload(cvm, done, &is_reloaded));
    turn_until(&is_reloaded, 1);
    register_start(cvm, "nobody\n", "x", NULL, 0, &outcome); /* what a device sends is escaped */
    outcome_wait(&outcome);
    outcome_clear(&outcome);
    instance_end(cvm);
    assert_true(log.count > 0);
    assert_int_equal(log.broken + audit.broken, 0);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof path, "%s/audit", harness_folder());
    assert_int_equal(access(path, F_OK), -1);
}

static void who_sets_none_gets_the_file_again(void **state)
{
    struct lines log = {.count = 0}, audit = {.count = 0};
    char why[200] = "", path[128];
    int is_started = 0;
    (void)state;
    cvm_conf_t *conf = conf_with_lines(&log, &audit);
    (void)snprintf(path, sizeof path, "%s/log", harness_folder());
    assert_null(cvm_conf_set(conf, "log.file", path));
    assert_null(cvm_conf_set_log(conf, NULL, NULL));
    assert_null(cvm_conf_set_audit(conf, NULL, NULL));
    cvm_t *cvm = instance_new(conf, why, sizeof why);
    assert_non_null(cvm);
    assert_null(cvm_start(cvm, done, &is_started));
    turn_until(&is_started, 1);
    assert_string_equal(device_add(cvm, UID), "ok");
    instance_end(cvm);
    assert_int_equal(log.count + audit.count, 0);
    assert_int_equal(access(path, F_OK), 0);
}

static const struct setting ON_THE_LOOP[] = {
    {"log.file", ""}, {"log.level", "debug"}, {"log.deliver", "loop"}, {NULL, NULL}};

struct loop_lines {
    cvm_t *cvm;
    pthread_t loop;
    int count, elsewhere, posted;
    char last[200];
};

static void count_post(void *argument)
{
    ++*(int *)argument;
}

/* It may call the library, since it is a callback like others. */
static void take_on_loop(void *user_data, int32_t level, const char *line)
{
    struct loop_lines *lines = user_data;
    (void)level;
    lines->count++;
    lines->elsewhere += !pthread_equal(lines->loop, pthread_self());
    (void)snprintf(lines->last, sizeof lines->last, "%s", line);
    if (lines->cvm && !lines->posted && cvm_is_ready(lines->cvm))
        assert_null(cvm_post(lines->cvm, count_post, &lines->posted));
}

/* The store's thread has something to say too, and all that was said comes before the end. */
static void lines_come_on_the_loop(void **state)
{
    struct loop_lines lines = {.loop = pthread_self()};
    char why[200] = "";
    int is_started = 0;
    struct outcome outcome;
    (void)state;
    cvm_conf_t *conf = harness_conf(ON_THE_LOOP);
    assert_null(cvm_conf_set_log(conf, take_on_loop, &lines));
    lines.cvm = instance_new(conf, why, sizeof why);
    assert_non_null(lines.cvm);
    assert_null(cvm_start(lines.cvm, done, &is_started));
    assert_int_equal(lines.count, 0); /* never inside a call */
    turn_until(&is_started, 1);
    assert_string_equal(device_add(lines.cvm, UID), "ok");
    assert_string_equal(register_now(lines.cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    turn_until(&lines.posted, 1);
    int is_stopped = 0;
    instance_stop(lines.cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    assert_non_null(strstr(lines.last, "stopped"));
    assert_int_equal(lines.elsewhere, 0);
    instance_free(lines.cvm);
}

/* What is too fast is dropped and counted, in the metrics and by a line. */
static void lines_that_are_too_many_are_counted(void **state)
{
    enum { MOST_WAITING = 1024, EVENTS = 1500 };
    struct loop_lines lines = {.loop = pthread_self()};
    char why[200] = "", expected[80];
    int is_started = 0;
    (void)state;
    cvm_conf_t *conf = harness_conf(ON_THE_LOOP);
    assert_null(cvm_conf_set_audit(conf, take_on_loop, &lines));
    cvm_t *cvm = instance_new(conf, why, sizeof why);
    assert_non_null(cvm);
    assert_null(cvm_start(cvm, done, &is_started));
    turn_until(&is_started, 1);
    for (int i = 0; i < EVENTS; i++)
        assert_null(cvm_audit_event(cvm, "event", NULL, NULL, 0));
    assert_int_equal(lines.count, 0);
    turn_until(&lines.count, MOST_WAITING + 1); /* the first of them says how many are missing */
    char *text = malloc(1 << 16);
    (void)cvm_metrics(cvm, text, 1 << 16);
    (void)snprintf(
        expected, sizeof expected, "\ncvm_log_lines_dropped_total %d\n", EVENTS - MOST_WAITING);
    assert_non_null(strstr(text, expected));
    free(text);
    assert_null(cvm_audit_event(cvm, "event", NULL, NULL, 0));
    turn_until(&lines.count, MOST_WAITING + 2);
    instance_end(cvm);
}

/* --- Metrics ---------------------------------------------------------------------------------- */

static void *ask_on(void *argument)
{
    cvm_t *cvm = argument;
    char text[256];
    for (int i = 0; i < 200; i++)
        assert_true(cvm_metrics(cvm, text, sizeof text) > 0);
    return NULL;
}

static void metrics_are_asked_for_by_their_size(void **state)
{
    char some[32], one = 'x';
    pthread_t thread;
    struct outcome outcome;
    (void)state;
    cvm_t *cvm = instance_start(NULL);
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    outcome_clear(&outcome);
    size_t size = cvm_metrics(cvm, NULL, 0);
    assert_true(size > 1000);
    assert_int_equal(cvm_metrics(cvm, &one, 0), size);
    assert_int_equal(one, 'x');
    assert_int_equal(cvm_metrics(cvm, &one, 1), size);
    assert_int_equal(one, 0);
    memset(some, 'x', sizeof some);
    assert_int_equal(cvm_metrics(cvm, some, sizeof some - 1), size);
    assert_int_equal(strlen(some), sizeof some - 2);
    assert_int_equal(some[sizeof some - 1], 'x');
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t room = size - 1; room <= size + 1; room++) {
        assert_int_equal(cvm_metrics(cvm, text, room), size);
        assert_int_equal(strlen(text), room < size ? room - 1 : size - 1);
        assert_int_equal(memcmp(text, some, sizeof some - 2), 0);
    }
    assert_int_equal(text[size - 2], '\n');
    assert_non_null(strstr(text, "cvm_certificates_issued_total{platform=\"fake\"} 1\n"));
    free(text);
    assert_int_equal(pthread_create(&thread, NULL, ask_on, cvm), 0);
    for (int i = 0; i < 20; i++)
        assert_string_equal(device_disable(cvm, UID), "ok");
    pthread_join(thread, NULL);
    instance_end(cvm);
}

/* --- Commands --------------------------------------------------------------------------------- */

static const struct setting COMMAND[] = {{"role", "command"}, {NULL, NULL}};

static void a_command_makes_no_store(void **state)
{
    char why[256] = "", path[128];
    (void)state;
    assert_null(instance_try(COMMAND, why, sizeof why));
    if (!strstr(why, harness_store()))
        fail_msg("'%s' does not name %s", why, harness_store());
    static const char *const MADE[] = {"", ".lock", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < LENGTH(MADE); i++) {
        (void)snprintf(path, sizeof path, "%s%s", harness_store(), MADE[i]);
        if (access(path, F_OK) == 0)
            fail_msg("%s was made", path);
    }
}

static void a_command_takes_no_older_store(void **state)
{
    static const int VERSIONS[] = {0, -1, 999};
    char why[256] = "";
    (void)state;
    instance_end(instance_start(NULL));
    int64_t version = sql_number("PRAGMA user_version");
    assert_true(version > 0);
    for (size_t i = 0; i < LENGTH(VERSIONS); i++) {
        sql("PRAGMA user_version = %d", VERSIONS[i]);
        assert_null(instance_try(COMMAND, why, sizeof why));
        if (!strstr(why, harness_store()))
            fail_msg("schema %d: '%s'", VERSIONS[i], why);
        assert_int_equal(sql_number("PRAGMA user_version"), VERSIONS[i]);
    }
    sql("PRAGMA user_version = %d", (int)version);
    instance_end(instance_start(COMMAND));
}

/* An empty file, as one that an interrupted copy left, is no store either; a server makes it one.
 */
static void a_command_takes_no_empty_file(void **state)
{
    static const struct setting SERVER[] = {{"role", "server"}, {NULL, NULL}};
    char why[256] = "";
    (void)state;
    FILE *file = fopen(harness_store(), "w");
    assert_non_null(file);
    (void)fclose(file);
    assert_null(instance_try(COMMAND, why, sizeof why));
    assert_non_null(strstr(why, harness_store()));
    assert_null(instance_try(COMMAND, why, sizeof why)); /* nor is it made one by that */
    instance_end(instance_start(SERVER));
    instance_end(instance_start(COMMAND));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, harness_set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_store_that_lacks_a_function_is_refused),
        TEST(a_platform_that_lacks_a_function_is_refused),
        TEST(the_program_gets_the_lines),
        TEST(who_sets_none_gets_the_file_again),
        TEST(lines_come_on_the_loop),
        TEST(lines_that_are_too_many_are_counted),
        TEST(metrics_are_asked_for_by_their_size),
        TEST(a_command_makes_no_store),
        TEST(a_command_takes_no_older_store),
        TEST(a_command_takes_no_empty_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
