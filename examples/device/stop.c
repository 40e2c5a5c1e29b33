/* Stopping by signal. A signalfd needs no handler and no global flag, and closes the race between
 * looking at a flag and going to sleep. It is never read: once asked to stop, always asked. */
#include "stop.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <time.h>

int stop_open(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    /* TLS libraries write to sockets without MSG_NOSIGNAL: a peer that resets would end us. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &signals, SFD_CLOEXEC);
}

bool stop_wait(int stop_fd, int64_t ms)
{
    const int64_t until = monotonic_ms() + ms;
    struct pollfd fd = {.fd = stop_fd, .events = POLLIN};
    int64_t left = ms;
    do {
        if (poll(&fd, 1, (int)left) > 0) {
            return true;
        }
        left = until - monotonic_ms();
    } while (left > 0);
    return false;
}

int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
