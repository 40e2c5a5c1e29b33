/* Log lines: what a device sends can neither make a line of its own nor hide the rest of one. */
#include "support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "error.h"
#include "log.h"

#define MOST_TEXT (1024 * 1024)

struct file {
    char folder[64], path[96];
    char *text; /* what is in it */
};

static int set_up(void **state)
{
    struct file *file = calloc(1, sizeof *file);
    (void)snprintf(file->folder, sizeof file->folder, "/tmp/cvm-log-XXXXXX");
    if (!mkdtemp(file->folder))
        return -1;
    (void)snprintf(file->path, sizeof file->path, "%s/log", file->folder);
    file->text = malloc(MOST_TEXT);
    *state = file;
    return 0;
}

static int tear_down(void **state)
{
    struct file *file = *state;
    (void)unlink(file->path);
    (void)rmdir(file->folder);
    free(file->text);
    free(file);
    return 0;
}

static struct cvm_log *open_log(const struct file *file, enum cvm_log_format format)
{
    cvm_error_t *error = NULL;
    struct cvm_log *log = cvm_log_open(file->path, NULL, LOG_INFO, format, &error);
    assert_null(error);
    assert_non_null(log);
    return log;
}

/* Reads the file; returns its number of lines. */
static uint32_t read_lines(struct file *file)
{
    uint32_t lines = 0;
    FILE *in = fopen(file->path, "r");
    assert_non_null(in);
    size_t length = fread(file->text, 1, MOST_TEXT - 1, in);
    file->text[length] = 0;
    (void)fclose(in);
    for (const char *c = file->text; *c; c++) {
        lines += *c == '\n';
        if (*c != '\n' && (*c < 0x20 || *c > 0x7e))
            fail_msg("byte %d in a line", *c);
    }
    return lines;
}

static cJSON *read_json(char *line)
{
    const char *why = NULL;
    cJSON *tree = cvm_json_object(line, strcspn(line, "\n"), &why);
    if (!tree)
        fail_msg("%s: %s", why, line);
    return tree;
}

static const char *const HOSTILE[] = {
    "x\nlevel=error forged",
    "x\r\n2026-01-01T00:00:00Z error forged",
    "\"} {\"forged\":\"",
    "a=b c=d",
    "\\",
    "\\\"",
    "\x1b[31mred\x1b[0m",
    "\x7f\x80\xff",
    "\xc3\xa9\xe2\x80\xae",
    "\x01\x02\x03",
    " ",
    "=",
};

static void a_value_stays_in_its_line(void **state)
{
    struct file *file = *state;
    for (enum cvm_log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        (void)unlink(file->path);
        struct cvm_log *log = open_log(file, format);
        for (size_t i = 0; i < LENGTH(HOSTILE); i++) {
            const struct cvm_log_field fields[] = {{"uid", HOSTILE[i]}, {"code", "the_end"}};
            cvm_log_write(log, LOG_INFO, "registration", fields, 2);
        }
        cvm_log_close(log);
        assert_int_equal(read_lines(file), LENGTH(HOSTILE));
        for (char *line = file->text; *line; line = strchr(line, '\n') + 1) {
            if (format == LOG_TEXT) {
                assert_non_null(strstr(line, " code=the_end\n"));
                continue;
            }
            cJSON *tree = read_json(line);
            assert_int_equal(cJSON_GetArraySize(tree), 5);
            assert_string_equal(
                cJSON_GetObjectItemCaseSensitive(tree, "code")->valuestring, "the_end");
            cJSON_Delete(tree);
        }
    }
}

/* However long a value is, and whatever it becomes when it is escaped: the fields behind it stay.
 */
static void a_long_value_does_not_hide_the_rest(void **state)
{
    static const char FILLS[] = {'x', '\x01', '"', '\xff', ' '};
    struct file *file = *state;
    char *value = malloc(8193);
    for (enum cvm_log_format format = LOG_TEXT; format <= LOG_JSON; format++) {
        for (size_t i = 0; i < LENGTH(FILLS); i++) {
            memset(value, FILLS[i], 8192);
            value[8192] = 0;
            (void)unlink(file->path);
            struct cvm_log *log = open_log(file, format);
            const struct cvm_log_field fields[] = {
                {"request_id", "id-1"}, {"uid", value}, {"detail", value}, {"code", "the_end"}};
            cvm_log_write(log, LOG_INFO, "registration", fields, 4);
            cvm_log_close(log);
            assert_int_equal(read_lines(file), 1);
            assert_non_null(strstr(file->text, "the_end"));
            assert_non_null(strstr(file->text, "id-1"));
            if (format == LOG_JSON)
                cJSON_Delete(read_json(file->text));
        }
    }
    free(value);
}

/* More than fits into a line: fields are left out whole, the line keeps its form. */
static void too_many_fields_keep_the_form(void **state)
{
    struct file *file = *state;
    char value[500];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = 0;
    struct cvm_log *log = open_log(file, LOG_JSON);
    const struct cvm_log_field fields[] = {{"a", value}, {"b", value}, {"c", value}, {"d", value},
        {"e", value}, {"f", value}, {"g", "short"}};
    cvm_log_write(log, LOG_INFO, "event", fields, LENGTH(fields));
    cvm_log_close(log);
    assert_int_equal(read_lines(file), 1);
    cJSON_Delete(read_json(file->text));
}

static void empty_values_are_left_out(void **state)
{
    struct file *file = *state;
    struct cvm_log *log = open_log(file, LOG_TEXT);
    const struct cvm_log_field fields[] = {{"a", NULL}, {"b", ""}, {"c", "1"}};
    cvm_log_write(log, LOG_INFO, "event", fields, 3);
    cvm_log_close(log);
    (void)read_lines(file);
    assert_non_null(strstr(file->text, "event c=1\n"));
}

static void levels_are_turned_down(void **state)
{
    struct file *file = *state;
    struct cvm_log *log = open_log(file, LOG_TEXT);
    cvm_log_message(log, LOG_ERROR, "one %d", 1);
    cvm_log_message(log, LOG_WARNING, "two");
    cvm_log_message(log, LOG_INFO, "three");
    cvm_log_message(log, LOG_DEBUG, "four");
    cvm_log_message(NULL, LOG_ERROR, "nowhere");
    cvm_log_close(log);
    assert_int_equal(read_lines(file), 3);
    assert_non_null(strstr(file->text, " error   message text=\"one 1\"\n"));
    assert_null(strstr(file->text, "four"));
}

static void a_moved_file_is_opened_again(void **state)
{
    struct file *file = *state;
    char moved[120];
    (void)snprintf(moved, sizeof moved, "%s.1", file->path);
    struct cvm_log *log = open_log(file, LOG_TEXT);
    cvm_log_message(log, LOG_INFO, "before");
    assert_int_equal(rename(file->path, moved), 0);
    cvm_log_message(log, LOG_INFO, "between");
    assert_null(cvm_log_reopen(log));
    cvm_log_message(log, LOG_INFO, "after");
    cvm_log_close(log);
    assert_int_equal(read_lines(file), 1);
    assert_non_null(strstr(file->text, "after"));
    (void)unlink(moved);
    assert_null(cvm_log_reopen(NULL));
}

static void a_file_that_can_not_be_opened_is_named(void **state)
{
    (void)state;
    cvm_error_t *error = NULL;
    assert_null(cvm_log_open("/nonexistent/log", NULL, LOG_INFO, LOG_TEXT, &error));
    assert_int_equal(cvm_error_code(error), CVM_CODE_CONFIGURATION);
    assert_non_null(strstr(cvm_error_text(error), "/nonexistent/log"));
    cvm_error_free(error);
    cvm_log_close(NULL);
}

#define THREADS 4
#define EACH    500

static void *write_many(void *argument)
{
    for (int i = 0; i < EACH; i++)
        cvm_log_message(argument, LOG_INFO, "%s", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
    return NULL;
}

static void threads_do_not_mix_their_lines(void **state)
{
    struct file *file = *state;
    pthread_t threads[THREADS];
    struct cvm_log *log = open_log(file, LOG_JSON);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, log), 0);
    for (int i = 0; i < 20; i++)
        assert_null(cvm_log_reopen(log)); /* while they write */
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cvm_log_close(log);
    assert_int_equal(read_lines(file), THREADS * EACH);
    for (char *line = file->text; *line; line = strchr(line, '\n') + 1)
        cJSON_Delete(read_json(line));
}

static void times_are_rfc_3339(void **state)
{
    char text[CVM_RFC3339_SIZE];
    (void)state;
    assert_string_equal(cvm_rfc3339(0, text), "1970-01-01T00:00:00Z");
    assert_string_equal(cvm_rfc3339(INT64_C(1769860799999), text), "2026-01-31T11:59:59Z");
    assert_string_equal(cvm_rfc3339_ms(INT64_C(1769860799007), text), "2026-01-31T11:59:59.007Z");
    assert_string_equal(cvm_rfc3339(INT64_C(253402300799000), text), "9999-12-31T23:59:59Z");
    (void)cvm_rfc3339(INT64_MAX, text);
    assert_true(strlen(text) < sizeof text);
    assert_true(cvm_now_ms() > INT64_C(1700000000000));
}

/* --- A program's own function ------------------------------------------------------------------
 */

/* Each of two lines waits for the other to be on its way too: a lock around the function, against
 * which a program's own could stand, would end that for good. */
struct meeting {
    pthread_barrier_t both;
    atomic_int met;
};

static void meet(void *user_data, int32_t level, const char *line)
{
    struct meeting *meeting = user_data;
    assert_int_equal(level, CVM_LOG_WARNING);
    assert_non_null(strstr(line, "text=hello"));
    (void)pthread_barrier_wait(&meeting->both);
    meeting->met++;
}

static void *say_hello(void *log)
{
    cvm_log_message(log, LOG_WARNING, "hello");
    return NULL;
}

static void no_lock_is_held_while_a_line_is_taken(void **state)
{
    struct meeting meeting = {.met = 0};
    const struct cvm_log_sink sink = {meet, &meeting};
    cvm_error_t *error = NULL;
    pthread_t other;
    (void)state;
    assert_int_equal(pthread_barrier_init(&meeting.both, NULL, 2), 0);
    struct cvm_log *log = cvm_log_open("", &sink, LOG_INFO, LOG_TEXT, &error);
    assert_non_null(log);
    (void)alarm(30);
    assert_int_equal(pthread_create(&other, NULL, say_hello, log), 0);
    (void)say_hello(log);
    (void)pthread_join(other, NULL);
    (void)alarm(0);
    assert_int_equal(meeting.met, 2);
    (void)pthread_barrier_destroy(&meeting.both);
    cvm_log_close(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_value_stays_in_its_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_value_does_not_hide_the_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_fields_keep_the_form, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_values_are_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(levels_are_turned_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_moved_file_is_opened_again, set_up, tear_down),
        cmocka_unit_test(a_file_that_can_not_be_opened_is_named),
        cmocka_unit_test_setup_teardown(threads_do_not_mix_their_lines, set_up, tear_down),
        cmocka_unit_test(no_lock_is_held_while_a_line_is_taken),
        cmocka_unit_test(times_are_rfc_3339),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
