/* Each test in a process of its own, so that whatever a store does to it is that test's failure.
 * Results are told as TAP, https://testanything.org/tap-version-14-specification.html. */
#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define EXIT_SKIPPED 77

static const struct {
    const char *name;
    const struct test *tests;
} GROUPS[] = {
    {"records", TESTS_OF_RECORDS},
    {"certificates", TESTS_OF_CERTIFICATES},
    {"keys", TESTS_OF_KEYS},
    {"scans", TESTS_OF_SCANS},
    {"loads", TESTS_OF_LOADS},
    {"values", TESTS_OF_VALUES},
    {"finds", TESTS_OF_FINDS},
    {"life", TESTS_OF_LIFE},
    {"contests", TESTS_OF_CONTESTS},
};

int64_t check_now_ms;

/* The test that runs: it ends with the first process. */
static volatile sig_atomic_t running;

/* Of the test's process: why it was skipped, for the parent. */
static char *shared_reason;

/* --- In a test's process ---------------------------------------------------------------------- */

void check_print(const char *text)
{
    while (*text) {
        int length = (int)strcspn(text, "\n");
        (void)printf("# %.*s\n", length, text);
        text += length + (text[length] == '\n');
    }
    (void)fflush(stdout);
}

void check_fail(const char *file, int line, const char *format, ...)
{
    char text[1024], where[160] = "";
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *base = file ? strrchr(file, '/') : NULL;
    if (file)
        (void)snprintf(where, sizeof where, " (%s:%d)", base ? base + 1 : file, line);
    strncat(text, where, sizeof text - strlen(text) - 1);
    *host_has_failed = true;
    check_print(text);
    host_print_log();
    _exit(1);
}

void check_skip(const char *why)
{
    (void)snprintf(shared_reason, CHECK_TEXT, "%s", why);
    _exit(EXIT_SKIPPED);
}

cvm_op_t *check_answer(const char *file, int line, cvm_op_t *op, cvm_answer_t answer)
{
    (void)wait_for(op);
    if (op->answer != answer)
        check_fail(file, line, "%s answers %s%s%s, not %s", ops_verb_name(op->verb),
            ops_answer_name(op->answer), *op->text ? ": " : "", op->text, ops_answer_name(answer));
    return op;
}

void check_text(const char *file, int line, const char *text, const char *wanted)
{
    if (strcmp(text, wanted) != 0)
        check_fail(file, line, "'%.200s' where '%.200s' is expected", text, wanted);
}

void check_number(const char *file, int line, int64_t number, int64_t wanted)
{
    if (number != wanted)
        check_fail(file, line, "%lld where %lld is expected", (long long)number, (long long)wanted);
}

void check_same(
    const char *file, int line, const cvm_record_t *record, const cvm_record_t *wanted, uint32_t to)
{
    cvm_record_kind_t kind = records_kind(wanted);
    for (uint32_t i = 0; i < to; i++)
        if (strcmp(records_text(record, i), records_text(wanted, i)) != 0 ||
            records_number(record, i) != records_number(wanted, i))
            check_fail(file, line, "%s is '%.100s' (%lld) where '%.100s' (%lld) is expected",
                records_field_name(kind, i), records_text(record, i),
                (long long)records_number(record, i), records_text(wanted, i),
                (long long)records_number(wanted, i));
}

/* Ends the process. */
static void run_here(const struct test *test, uint32_t timeout_s)
{
    (void)setpgid(0, 0);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)alarm(timeout_s);
    test->run();
    ops_end();
    loop_end();
    uint32_t left = records_end();
    if (left)
        CHECK_VIOLATION("the store has not freed %u records of its own", left);
    exit(0); /* not _exit(): sanitizers look for leaks there */
}

/* --- In the first process --------------------------------------------------------------------- */

static bool run_reset(const char *command)
{
    int status = system(command); /* NOLINT(cert-env33-c): it is the user's own */
    if (status != 0)
        (void)printf("# the reset command failed: %s\n", command);
    return status == 0;
}

/* Whether it passed, or does not apply. */
static bool run_tell(uint32_t number, const char *group, const char *name, int status)
{
    bool is_skipped = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
    bool is_ok = is_skipped || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (WIFSIGNALED(status))
        (void)printf(
            WTERMSIG(status) == SIGALRM ? "# it took too long\n" : "# it was ended by signal %d\n",
            WTERMSIG(status));
    (void)printf("%s %u - %s: %s%s%s\n", is_ok ? "ok" : "not ok", number, group, name,
        is_skipped ? " # SKIP " : "", is_skipped ? shared_reason : "");
    (void)fflush(stdout);
    return is_ok;
}

static void run_interrupted(int number)
{
    if (running)
        (void)kill(-running, SIGKILL);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static bool run_one(
    const struct run *run, uint32_t number, const char *group, const struct test *test)
{
    int status = 1 << 8;
    if (run_reset(run->reset)) {
        (void)fflush(stdout);
        *host_has_failed = false;
        pid_t child = fork();
        if (child == 0)
            run_here(test, run->timeout_s);
        running = child;
        if (child > 0) {
            (void)waitpid(child, &status, 0);
            (void)kill(-child, SIGKILL); /* whom it has left */
            running = 0;
        }
    }
    return run_tell(number, group, test->name, status);
}

static bool run_is_wanted(const struct run *run, const char *group, const struct test *test)
{
    char name[256];
    (void)snprintf(name, sizeof name, "%s: %s", group, test->name);
    return !run->only || strstr(name, run->only);
}

void run_list(void)
{
    for (size_t i = 0; i < LENGTH(GROUPS); i++)
        for (const struct test *test = GROUPS[i].tests; test->name; test++)
            (void)printf("%s: %s\n", GROUPS[i].name, test->name);
}

uint32_t run_all(const struct run *run)
{
    uint32_t number = 0, failed = 0;
    shared_reason = process_share(CHECK_TEXT);
    host_has_failed = process_share(sizeof *host_has_failed);
    host_timeout_s = run->timeout_s;
    check_now_ms = CHECK_HOST.now_ms(NULL);
    (void)signal(SIGINT, run_interrupted);
    (void)signal(SIGTERM, run_interrupted);
    (void)printf("TAP version 14\n");
    for (size_t i = 0; i < LENGTH(GROUPS); i++)
        for (const struct test *test = GROUPS[i].tests; test->name; test++)
            if (run_is_wanted(run, GROUPS[i].name, test))
                failed += !run_one(run, ++number, GROUPS[i].name, test);
    (void)printf("1..%u\n", number);
    if (!number)
        (void)printf("# no test has a name with '%s' in it\n", run->only);
    return number ? failed : 1;
}
