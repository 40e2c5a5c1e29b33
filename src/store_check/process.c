/* Processes: what several of them do to one store, and what one leaves that is killed. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define MOST_PROCESSES 8

int process_begin(void (*run)(void *argument), void *argument)
{
    int process = fork();
    if (process < 0)
        CHECK_VIOLATION("a process can't be had");
    if (process == 0) {
#ifdef __linux__
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
        (void)alarm(host_timeout_s);
        run(argument);
        ops_end();
        loop_end();
        _exit(0);
    }
    return process;
}

bool process_wait(int process)
{
    int status = 0;
    return waitpid(process, &status, 0) == process && WIFEXITED(status) && !WEXITSTATUS(status);
}

void process_kill(int process)
{
    (void)kill(process, SIGKILL);
    (void)process_wait(process);
}

void process_run(void (*run)(void *argument), void *argument)
{
    process_run_many(1, run, argument);
}

void process_run_many(uint32_t count, void (*run)(void *argument), void *argument)
{
    int processes[MOST_PROCESSES];
    bool is_well = true;
    for (uint32_t i = 0; i < count; i++)
        processes[i] = process_begin(run, argument);
    for (uint32_t i = 0; i < count; i++)
        is_well &= process_wait(processes[i]);
    if (!is_well)
        _exit(1); /* it has said why */
}

void *process_share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        CHECK_VIOLATION("out of memory");
    return memory;
}

void process_go_on(void)
{
    static const struct timespec PAUSE = {0, 50000};
    if (*host_has_failed)
        _exit(1);
    (void)nanosleep(&PAUSE, NULL); /* others need the processor */
}

void process_meet(struct meeting *meeting)
{
    uint32_t round = meeting->round;
    if (atomic_fetch_add(&meeting->waiting, 1) + 1 < meeting->players) {
        while (meeting->round == round)
            process_go_on();
        return;
    }
    meeting->waiting = 0;
    meeting->round = round + 1;
}

static void process_write(void *argument)
{
    (void)argument;
    struct store *store = store_open();
    insert(store, device("SHARED"));
    store_end(store);
}

static void process_read(void *argument)
{
    struct store *store = store_open();
    *(bool *)argument = get(store, "SHARED")->answer == CVM_ANSWER_OK;
    store_end(store);
}

void process_must_share_store(void)
{
    bool *is_seen = process_share(sizeof *is_seen);
    process_run(process_write, NULL);
    process_run(process_read, is_seen);
    if (!*is_seen && store_is(CVM_STORE_SHARED))
        CHECK_VIOLATION("it says that it is SHARED, and another process does not see what was "
                        "written");
    if (!*is_seen)
        check_skip("what is in the store is one process's own");
}
