/* Reads the CPU clocks and the resident memory of processes. */
#include "process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec time = {0};

    (void)clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t own_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* A process's CPU clock counts nanoseconds, all threads and those that have ended too; the ticks
 * in /proc/PID/stat are 10 ms, and /proc/PID/task/…/schedstat forgets threads that ended. */
static bool read_cpu(uint64_t pid, uint64_t *cpu_ns)
{
    clockid_t clock = 0;

    if (clock_getcpuclockid((pid_t)pid, &clock) != 0)
        return false;
    *cpu_ns = clock_ns(clock);
    return true;
}

static bool read_rss(uint64_t pid, uint64_t *rss_bytes)
{
    char name[64];
    FILE *file = NULL;
    char line[128] = "";
    const char *resident = NULL;

    (void)snprintf(name, sizeof name, "/proc/%" PRIu64 "/statm", pid);
    file = fopen(name, "r");
    if (!file)
        return false;
    if (fgets(line, sizeof line, file))
        resident = strchr(line, ' '); /* the second number, in pages */
    (void)fclose(file);
    if (!resident)
        return false;
    *rss_bytes = strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

bool usage_read(struct usage *usage, const uint64_t *pids, uint64_t count)
{
    *usage = (struct usage){0};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t cpu_ns = 0;
        uint64_t rss_bytes = 0;

        if (!read_cpu(pids[i], &cpu_ns) || !read_rss(pids[i], &rss_bytes)) {
            (void)fprintf(stderr, "cvm-load: process %" PRIu64 " can't be read\n", pids[i]);
            return false;
        }
        usage->cpu_ns += cpu_ns;
        usage->rss_bytes += rss_bytes;
    }
    return true;
}
