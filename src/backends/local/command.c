/* A shell command in a process group of its own, with a bound on its time. */
#include "command.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/at_exit.h"
#include "base/clock.h"
#include "base/compat.h"

#define TRIES       3000 /* of 10 ms: 30 s */
#define TRY_WAIT_US 10000

/* The threads that call this block all signals, and the server ignores SIGPIPE: the command must
 * not inherit that. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, usual;
    (void)sigemptyset(&none);
    (void)sigemptyset(&usual);
    (void)sigaddset(&usual, SIGPIPE);
    return posix_spawnattr_setflags(attributes,
               POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) ||
           posix_spawnattr_setpgroup(attributes, 0) ||
           posix_spawnattr_setsigmask(attributes, &none) ||
           posix_spawnattr_setsigdefault(attributes, &usual);
}

/* Standard output is for what the program itself says. */
static int set_files(posix_spawn_file_actions_t *actions)
{
    return posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) ||
           posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
}

static int32_t start(const char *command, pid_t *child)
{
    char *const arguments[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    if (posix_spawnattr_init(&attributes))
        return -1;
    if (posix_spawn_file_actions_init(&actions)) {
        (void)posix_spawnattr_destroy(&attributes);
        return -1;
    }
    int failed = set_attributes(&attributes) || set_files(&actions) ||
                 posix_spawn(child, "/bin/sh", &actions, &attributes, arguments, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    return failed ? -1 : 0;
}

static int32_t command_wait(pid_t child, atomic_int *must_end)
{
    int status = 0;
    for (int i = 0; i < TRIES && !atomic_load(must_end); i++) {
        pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended)
            return ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
        cvm_sleep_us(TRY_WAIT_US);
    }
    (void)kill(-child, SIGKILL);
    (void)waitpid(child, &status, 0);
    return -1;
}

/* The end of the process need not wait for it. */
int32_t cvm_command_run(const char *command, atomic_int *must_end)
{
    pid_t child;
    if (start(command, &child))
        return -1;
    uint32_t depth = cvm_at_exit_suspend();
    int32_t failed = command_wait(child, must_end);
    cvm_at_exit_resume(depth);
    return failed;
}
