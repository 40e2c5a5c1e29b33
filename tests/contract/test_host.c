/* What the host offers to backends, seen by a platform that only asks for it. */
#include "support/harness.h"

#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cvm/plugin.h"

#define UID "DEVICE001"

/* --- A platform that does as the test says ---------------------------------------------------- */

static const cvm_host_t *host;
static cvm_context_t *context;
static cvm_op_t *held; /* prepare's, if it is to be held */
static cvm_op_t *closing;
static int must_hold, must_close_later, wait_s;
static cvm_answer_t prepare_answer;
static int64_t left_ms, left_of_suspend_ms;

static enum { WORKS, FAILS, FAILS_WITH_NOTHING } create_fails;

static void do_nothing(void *argument)
{
    (void)argument;
}

static void happened_to_nobody(void *argument, uint32_t events)
{
    (void)argument;
    (void)events;
}

static cvm_answer_t create(const cvm_host_t *its_host, cvm_context_t *its_context, void *user_data,
    const char *location, void **self, char *error, size_t error_size)
{
    (void)user_data;
    (void)location;
    (void)error;
    (void)error_size;
    host = its_host;
    context = its_context;
    if (create_fails) { /* with something left behind, which it must not */
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        host->timer_start(host->timer_new(context, do_nothing, NULL), 1);
        host->watch_set(host->watch_new(context, fds[0], happened_to_nobody, NULL), CVM_READABLE);
    }
    *self = create_fails == FAILS_WITH_NOTHING ? NULL : &host;
    return create_fails == FAILS ? CVM_ANSWER_INVALID : CVM_ANSWER_OK;
}

static void open_it(void *self, cvm_op_t *op, uint32_t how)
{
    (void)self;
    (void)how;
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void prepare(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    (void)self;
    (void)device;
    (void)certificate;
    left_ms = host->op_left_ms(op);
    assert_int_equal(host->op_set_number(op, CVM_OUT_NUMBER_COUNT, 1), -1);
    assert_int_equal(host->op_set_number(op, CVM_OUT_RETRY_AFTER_S, wait_s), 0);
    assert_int_equal(host->op_number(op, CVM_OUT_RETRY_AFTER_S), wait_s);
    assert_int_equal(host->op_number(op, CVM_OUT_NUMBER_COUNT), 0);
    assert_false(host->op_set_text(op, CVM_OUT_ENDPOINT, "localhost") ||
                 host->op_set_text(op, CVM_OUT_ROOT_CA, "root\n"));
    if (must_hold)
        held = op;
    else
        host->complete(op, prepare_answer, NULL);
}

static void certify(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    cvm_record_t *made = host->record_new(CVM_RECORD_CERTIFICATE);
    (void)self;
    (void)device;
    (void)certificate;
    assert_false(host->set_text(made, CVM_C_CERTIFICATE_ID, "id") ||
                 host->set_text(made, CVM_C_SERIAL, "01") ||
                 host->set_number(made, CVM_C_NOT_AFTER, INT64_MAX) ||
                 host->set_text(made, CVM_C_PEM, "certificate\n") || host->op_add_record(op, made));
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void suspend(
    void *self, cvm_op_t *op, const cvm_record_t *device, const cvm_record_t *certificate)
{
    (void)self;
    (void)device;
    (void)certificate;
    left_of_suspend_ms = host->op_left_ms(op);
    host->complete(op, CVM_ANSWER_OK, NULL);
}

static void close_now(void *argument)
{
    (void)argument;
    host->complete(closing, CVM_ANSWER_OK, NULL);
}

static void close_it(void *self, cvm_op_t *op)
{
    (void)self;
    closing = op;
    if (must_close_later)
        host->timer_start(host->timer_new(context, close_now, NULL), 30);
    else
        close_now(NULL);
}

static void destroy(void *self)
{
    (void)self;
}

static const cvm_platform_ops_t PROBE = {.size = sizeof PROBE,
    .create = create,
    .open = open_it,
    .prepare = prepare,
    .create_certificate = certify,
    .suspend = suspend,
    .close = close_it,
    .destroy = destroy};

static int32_t plugin(const cvm_host_t *its_host, cvm_registry_t *registry, void *user_data)
{
    static const cvm_property_row_t ROW = {
        sizeof ROW, CVM_PROPERTY_SECRET, "probe.word", CVM_TYPE_TEXT, "", NULL, "A secret."};
    return its_host->add_platform(registry, "probe", &PROBE, user_data, NULL, 0) ||
           its_host->add_property(registry, &ROW, NULL, 0);
}

/* A started instance with that platform and one more setting. */
static cvm_t *start_with(const char *name, const char *value)
{
    char why[256] = "";
    struct finish start = {0};
    cvm_conf_t *conf = harness_conf(NULL);
    assert_null(cvm_conf_add_plugin(conf, plugin, NULL));
    assert_null(cvm_conf_set(conf, "platform", "probe"));
    if (name)
        assert_null(cvm_conf_set(conf, name, value));
    cvm_t *cvm = instance_new(conf, why, sizeof why);
    assert_non_null(cvm);
    assert_null(cvm_start(cvm, finished, &start));
    turn_until(&start.calls, 1);
    assert_string_equal(start.name, "ok");
    return cvm;
}

static int set_up(void **state)
{
    held = NULL;
    must_hold = must_close_later = wait_s = 0;
    create_fails = WORKS;
    prepare_answer = CVM_ANSWER_OK;
    return harness_set_up(state);
}

/* --- Being made ------------------------------------------------------------------------------- */

static void what_could_not_be_made_keeps_nothing(void **state)
{
    (void)state;
    for (create_fails = FAILS; create_fails <= FAILS_WITH_NOTHING; create_fails++) {
        char why[256] = "";
        cvm_conf_t *conf = harness_conf(NULL);
        assert_null(cvm_conf_add_plugin(conf, plugin, NULL));
        assert_null(cvm_conf_set(conf, "platform", "probe"));
        assert_null(instance_new(conf, why, sizeof why));
        assert_string_equal(why, "platform: it could not be made, and says not why");
    }
}

/* --- Watches and timers ----------------------------------------------------------------------- */

struct watched {
    cvm_watch_t *watch;
    int fd, calls;
    uint32_t events;
    int must_free;
};

static void happened(void *argument, uint32_t events)
{
    struct watched *watched = argument;
    char byte;
    watched->events = events;
    watched->calls++;
    if (events & CVM_READABLE)
        (void)!read(watched->fd, &byte, 1);
    if (events & CVM_WRITABLE)
        host->watch_set(watched->watch, 0);
    if (watched->must_free)
        host->watch_free(watched->watch);
}

static void a_descriptor_is_watched(void **state)
{
    int in[2], out[2];
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_false(pipe(in) || pipe(out));
    struct watched reading = {.fd = in[0]}, writing = {.fd = out[1]};
    reading.watch = host->watch_new(context, in[0], happened, &reading);
    writing.watch = host->watch_new(context, out[1], happened, &writing);
    assert_non_null(reading.watch);
    assert_non_null(writing.watch);
    assert_int_equal(write(in[1], "x", 1), 1);
    turn_for(30);
    assert_int_equal(reading.calls + writing.calls, 0); /* for nothing yet */
    host->watch_set(reading.watch, CVM_READABLE);
    host->watch_set(writing.watch, CVM_WRITABLE);
    turn_until(&reading.calls, 1);
    turn_until(&writing.calls, 1);
    assert_int_equal(reading.events, CVM_READABLE);
    assert_int_equal(writing.events, CVM_WRITABLE);
    turn_for(30);
    assert_int_equal(reading.calls + writing.calls, 2);
    reading.must_free = 1;
    assert_int_equal(write(in[1], "xx", 2), 2);
    turn_until(&reading.calls, 2);
    turn_for(30);
    assert_int_equal(reading.calls, 2);
    host->watch_free(NULL);
    instance_end(cvm); /* writing's is left, and does not keep it */
    for (int i = 0; i < 2; i++)
        assert_false(close(in[i]) || close(out[i]));
}

static void what_can_not_be_watched_is_told(void **state)
{
    char path[128];
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    (void)snprintf(path, sizeof path, "%s/file", harness_folder());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_null(host->watch_new(context, fileno(file), happened, NULL));
    assert_null(host->watch_new(context, -1, happened, NULL));
    (void)fclose(file);
    instance_end(cvm);
}

static void count_up(void *argument)
{
    ++*(int *)argument;
}

static void a_timer_is_started_anew_stopped_and_freed(void **state)
{
    int first = 0, second = 0, third = 0;
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    cvm_timer_t *timer = host->timer_new(context, count_up, &first);
    cvm_timer_t *stopped = host->timer_new(context, count_up, &second);
    cvm_timer_t *freed = host->timer_new(context, count_up, &third);
    assert_true(timer && stopped && freed);
    host->timer_start(timer, INT64_C(1) << 40);
    host->timer_start(timer, -5); /* at once */
    host->timer_start(stopped, 1);
    host->timer_stop(stopped);
    host->timer_start(freed, 1);
    host->timer_free(freed);
    turn_until(&first, 1);
    turn_for(30);
    assert_int_equal(first + second + third, 1); /* once */
    host->timer_start(timer, 1);
    turn_until(&first, 2);
    host->timer_start(stopped, 1);
    turn_until(&second, 1);
    host->timer_start(timer, INT64_C(1) << 40);
    host->timer_free(NULL);
    instance_end(cvm); /* two are left, one of them runs */
    assert_int_equal(third, 0);
}

/* ... and what is under way neither keeps a stop, nor is it cut short by it. */
static void timers_work_while_the_instance_stops(void **state)
{
    int is_stopped = 0, late = 0;
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    must_close_later = 1;
    host->timer_start(host->timer_new(context, count_up, &late), INT64_C(1) << 40);
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    assert_int_equal(late, 0);
    instance_free(cvm);
}

/* --- Post, clock, counters -------------------------------------------------------------------- */

static void *post_from_here(void *argument)
{
    assert_int_equal(host->post(context, count_up, argument), 0);
    return NULL;
}

static void any_thread_posts(void **state)
{
    int calls = 0, is_stopped = 0;
    pthread_t thread;
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_int_equal(host->post(context, count_up, &calls), 0);
    assert_int_equal(calls, 0); /* later */
    assert_int_equal(pthread_create(&thread, NULL, post_from_here, &calls), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    turn_until(&calls, 2);
    instance_stop(cvm, &is_stopped);
    turn_until(&is_stopped, 1);
    assert_int_equal(host->post(context, count_up, &calls), -1);
    assert_int_equal(calls, 2);
    instance_free(cvm);
}

static void the_clock_is_the_wall_clock(void **state)
{
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    int64_t before_ms = (int64_t)time(NULL) * 1000;
    int64_t now_ms = host->now_ms(context);
    assert_in_range(now_ms, before_ms, before_ms + 60000);
    instance_end(cvm);
}

static int has_line(cvm_t *cvm, const char *line)
{
    static char text[1 << 16];
    assert_in_range(cvm_metrics(cvm, text, sizeof text), 1, sizeof text);
    return strstr(text, line) != NULL;
}

static void a_plugin_counts(void **state)
{
    const char *names[] = {"call", "result", "third", "fourth"};
    const char *values[] = {"put", "a \"text\"", "", ""};
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_int_equal(host->count(context, "probe_tries_total", names, values, 2, 2), 0);
    assert_int_equal(host->count(context, "probe_tries_total", names, values, 2, 3), 0);
    assert_int_equal(host->count(context, "probe_alone_total", NULL, NULL, 0, 7), 0);
    assert_true(has_line(cvm, "\n# TYPE cvm_probe_tries_total counter\n"
                              "cvm_probe_tries_total{call=\"put\",result=\"a \\\"text\\\"\"} 5\n"));
    assert_true(has_line(cvm, "\ncvm_probe_alone_total 7\n"));
    assert_int_equal(host->count(context, "probe_tries_total", names, values, 1, 1), -1);
    assert_int_equal(host->count(context, "probe_new_total", names, values, 4, 1), -1);
    assert_int_equal(host->count(context, "Probe", NULL, NULL, 0, 1), -1);
    assert_int_equal(host->count(context, "1_probe", NULL, NULL, 0, 1), -1);
    assert_int_equal(host->count(context, "queue_depth", NULL, NULL, 0, 1), -1); /* the library's */
    names[0] = "a b";
    assert_int_equal(host->count(context, "probe_new_total", names, values, 1, 1), -1);
    instance_end(cvm);
}

static void counters_and_their_values_are_bounded(void **state)
{
    char text[32];
    const char *name = "value", *value = text;
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    for (uint32_t i = 0; i < 300; i++) {
        (void)snprintf(text, sizeof text, "%u", i);
        assert_int_equal(
            host->count(context, "probe_total", &name, &value, 1, 1), i < 256 ? 0 : -1);
    }
    for (uint32_t i = 1; i < 80; i++) {
        (void)snprintf(text, sizeof text, "probe_%u", i);
        assert_int_equal(host->count(context, text, NULL, NULL, 0, 1), i < 64 ? 0 : -1);
    }
    instance_end(cvm);
}

/* --- What is left of the caller's time -------------------------------------------------------- */

static void who_waits_has_time_left(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start_with("request.deadline", "1min");
    assert_string_equal(device_add(cvm, UID), "ok");
    left_ms = -2;
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    assert_in_range(left_ms, 1, 60000);
    left_of_suspend_ms = -2;
    assert_string_equal(device_disable(cvm, UID), "ok");
    assert_int_equal(left_of_suspend_ms, -1); /* an operator's */
    outcome_clear(&outcome);
    instance_end(cvm);
}

static void who_was_told_waits_no_more(void **state)
{
    struct outcome outcome = {0};
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_string_equal(device_add(cvm, UID), "ok");
    must_hold = 1;
    register_start(cvm, UID, token_of(UID), NULL, 300, &outcome);
    outcome_wait(&outcome);
    assert_string_equal(outcome.name, "unknown");
    assert_non_null(held);
    assert_in_range(left_ms, 1, 300);
    assert_int_equal(host->op_left_ms(held), -1);
    host->complete(held, CVM_ANSWER_OK, NULL);
    turn_until_idle(cvm);
    outcome_clear(&outcome);
    instance_end(cvm);
}

/* --- When to ask again ------------------------------------------------------------------------ */

static void the_caller_is_told_when_to_ask_again(void **state)
{
    static const struct {
        cvm_answer_t answer;
        int says_s;
        uint32_t told_s;
    } CASES[] = {{CVM_ANSWER_BUSY, 42, 42}, {CVM_ANSWER_UNAVAILABLE, 7, 7}, {CVM_ANSWER_BUSY, 0, 5},
        {CVM_ANSWER_BUSY, -3, 5}, {CVM_ANSWER_BUSY, 1000000, 86400}, {CVM_ANSWER_UNKNOWN, 42, 5}};
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_string_equal(device_add(cvm, UID), "ok");
    for (size_t i = 0; i < LENGTH(CASES); i++) {
        struct outcome outcome = {0};
        prepare_answer = CASES[i].answer;
        wait_s = CASES[i].says_s;
        assert_string_not_equal(register_now(cvm, UID, NULL, &outcome), "ok");
        assert_int_equal(outcome.retry_after_s, CASES[i].told_s);
        outcome_clear(&outcome);
    }
    instance_end(cvm);
}

/* --- Secrets ---------------------------------------------------------------------------------- */

static void expect_secret(const char *value, size_t size, int32_t length, const char *said)
{
    char secret[64] = "before", error[200] = "";
    assert_true(size <= sizeof secret);
    assert_int_equal(
        host->secret(context, "probe.word", secret, size, error, sizeof error), length);
    if (length >= 0)
        assert_string_equal(secret, value);
    else if (!strstr(error, said))
        fail_msg("'%s' without '%s'", error, said);
}

static void a_secret_is_in_its_property_or_in_a_file(void **state)
{
    char path[128], error[100], secret[8];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/word", harness_folder());
    cvm_t *cvm = start_with(NULL, NULL);
    expect_secret("", 8, 0, NULL);
    assert_int_equal(
        host->secret(context, "probe.none", secret, sizeof secret, error, sizeof error), -1);
    assert_int_equal(
        host->secret(context, "log.file", secret, sizeof secret, error, sizeof error), -1);
    instance_end(cvm);
    cvm = start_with("probe.word", "hunter2");
    expect_secret("hunter2", 8, 7, NULL);
    expect_secret(NULL, 7, -1, "probe.word is longer than 6 bytes");
    instance_end(cvm);
    cvm = start_with("probe.word_file", path);
    expect_secret(NULL, 8, -1, "word: No such file");
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("hunter2\r\n", file);
    (void)fclose(file);
    expect_secret("hunter2", 8, 7, NULL);
    expect_secret(NULL, 7, -1, "word is longer than there is room for");
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("two\nlines\n", file);
    (void)fclose(file);
    expect_secret(NULL, 64, -1, "word holds, at byte 4, the end of a line");
    instance_end(cvm);
}

/* --- Fields and the store --------------------------------------------------------------------- */

static void fields_are_known_by_number(void **state)
{
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_int_equal(host->field_count(CVM_RECORD_DEVICE), CVM_DEVICE_FIELD_COUNT);
    assert_int_equal(host->field_count(CVM_RECORD_CERTIFICATE), CVM_CERTIFICATE_FIELD_COUNT);
    assert_int_equal(host->field_count(77), 0);
    assert_string_equal(host->field_name(CVM_RECORD_DEVICE, CVM_D_LEASE_UNTIL), "lease_until");
    assert_int_equal(host->field_kind(CVM_RECORD_DEVICE, CVM_D_LEASE_UNTIL), CVM_FIELD_NUMBER);
    assert_int_equal(host->field_kind(CVM_RECORD_CERTIFICATE, CVM_C_PEM), CVM_FIELD_TEXT);
    assert_int_equal(host->field_longest(CVM_RECORD_CERTIFICATE, CVM_C_PEM), 8192);
    assert_null(host->field_name(CVM_RECORD_DEVICE, CVM_DEVICE_FIELD_COUNT));
    assert_int_equal(host->field_longest(CVM_RECORD_DEVICE, CVM_DEVICE_FIELD_COUNT), 0);
    assert_null(host->record_new(77));
    instance_end(cvm);
}

struct asked {
    int calls;
    cvm_answer_t answer;
    char pem[32];
};

static void got(void *argument, cvm_op_t *op, cvm_answer_t answer)
{
    struct asked *asked = argument;
    const cvm_record_t *record = host->op_record(op, 0);
    asked->answer = answer;
    asked->calls++;
    (void)snprintf(
        asked->pem, sizeof asked->pem, "%s", record ? host->text(record, CVM_C_PEM) : "");
}

static void a_platform_asks_for_a_devices_certificates(void **state)
{
    struct outcome outcome = {0};
    struct asked asked = {0};
    (void)state;
    cvm_t *cvm = start_with(NULL, NULL);
    assert_string_equal(device_add(cvm, UID), "ok");
    assert_string_equal(register_now(cvm, UID, NULL, &outcome), "ok");
    assert_int_equal(host->store_get_certificates(context, UID, 4, got, &asked), 0);
    turn_until(&asked.calls, 1);
    assert_int_equal(asked.answer, CVM_ANSWER_OK);
    assert_string_equal(asked.pem, "certificate\n");
    outcome_clear(&outcome);
    instance_end(cvm);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, harness_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_could_not_be_made_keeps_nothing),
        TEST(a_descriptor_is_watched),
        TEST(what_can_not_be_watched_is_told),
        TEST(a_timer_is_started_anew_stopped_and_freed),
        TEST(timers_work_while_the_instance_stops),
        TEST(any_thread_posts),
        TEST(the_clock_is_the_wall_clock),
        TEST(a_plugin_counts),
        TEST(counters_and_their_values_are_bounded),
        TEST(who_waits_has_time_left),
        TEST(who_was_told_waits_no_more),
        TEST(the_caller_is_told_when_to_ask_again),
        TEST(a_secret_is_in_its_property_or_in_a_file),
        TEST(fields_are_known_by_number),
        TEST(a_platform_asks_for_a_devices_certificates),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
