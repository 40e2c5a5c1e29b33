/* exit() while the library's threads are inside OpenSSL, which frees what it works with then. Each
 * try is a process of its own: this program, called with a way to end and a delay. */
#include "support/harness.h"

#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS  8 /* in the making; each takes 0.2 s */
#define TRIES 6 /* of each way; ten times as many by scripts/test --long */

/* --- The process that ends -------------------------------------------------------------------- */

static struct outcome outcomes[KEYS];

static cvm_t *start_keys(void)
{
    static const struct setting RSA[] = {{"server_key.type", "rsa2048"}, {NULL, NULL}};
    char uid[16];
    cvm_t *cvm = instance_start(RSA);
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(uid, sizeof uid, "D%d", i);
        assert_string_equal(device_add(cvm, uid), "ok");
        register_start(cvm, uid, token_of(uid), NULL, 0, &outcomes[i]);
    }
    harness_remove_folder(); /* what is open stays */
    return cvm;
}

static void *turn_for_ever(void *argument)
{
    (void)start_keys();
    (void)sem_post(argument);
    for (;;)
        turn();
    return argument;
}

static _Noreturn void end_in_callback(void *argument)
{
    (void)argument;
    exit(0);
}

/* By the thread that runs the loop, by another one, in a callback, without a stop; or as it is
 * meant to be. */
static int end(const char *way, uint32_t delay_ms)
{
    void *none = NULL;
    pthread_t thread;
    if (harness_set_up(&none))
        return 1;
    if (strcmp(way, "elsewhere") == 0) {
        sem_t is_busy;
        assert_int_equal(sem_init(&is_busy, 0, 0), 0);
        assert_int_equal(pthread_create(&thread, NULL, turn_for_ever, &is_busy), 0);
        (void)sem_wait(&is_busy);
        (void)usleep(delay_ms * 1000);
        return 0;
    }
    cvm_t *cvm = start_keys();
    turn_for(delay_ms);
    if (strcmp(way, "callback") == 0) {
        assert_null(cvm_post(cvm, end_in_callback, NULL));
        turn_for(10000);
        return 1;
    }
    return 0;
}

/* --- The tries -------------------------------------------------------------------------------- */

static uint32_t tries(void)
{
    const char *scale = getenv("CVM_TEST_SCALE");
    return TRIES * (scale ? (uint32_t)atoi(scale) : 1);
}

static void expect_no_crash(const char *way)
{
    char delay[16];
    char *const arguments[] = {"test_exit", (char *)(uintptr_t)way, delay, NULL};
    char *const environment[] = {"ASAN_OPTIONS=detect_leaks=0", NULL};
    for (uint32_t i = 0; i < tries(); i++) {
        pid_t child;
        int status = -1;
        (void)snprintf(delay, sizeof delay, "%u", 20 + i * 37 % 250);
        assert_int_equal(
            posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environment), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        if (status != 0)
            fail_msg("%s after %s ms: status %d, signal %d", way, delay, status, WTERMSIG(status));
    }
}

static void exit_by_the_thread_of_the_loop(void **state)
{
    (void)state;
    expect_no_crash("here");
}

static void exit_by_another_thread(void **state)
{
    (void)state;
    expect_no_crash("elsewhere");
}

static void exit_in_a_callback(void **state)
{
    (void)state;
    expect_no_crash("callback");
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return end(argv[1], (uint32_t)atoi(argv[2]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_by_the_thread_of_the_loop),
        cmocka_unit_test(exit_by_another_thread),
        cmocka_unit_test(exit_in_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
