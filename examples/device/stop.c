/* Stopping by signal. A pipe closes the race between looking at a flag and going to sleep. It is
 * never read: once asked to stop, always asked. */
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int pipe_ends[2];

static void asked(int number)
{
    const int before = errno;
    const ssize_t written = write(pipe_ends[1], "", 1);
    (void)number;
    (void)written;
    errno = before;
}

static int catch (int number)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = asked;
    action.sa_flags = SA_RESTART;
    return sigaction(number, &action, NULL);
}

static int prepare(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0;
}

int stop_open(void)
{
    /* TLS libraries write to sockets without MSG_NOSIGNAL: a peer that resets would end us. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || pipe(pipe_ends) != 0 || prepare(pipe_ends[0]) ||
        prepare(pipe_ends[1]) || catch (SIGINT) != 0 || catch (SIGTERM) != 0) {
        return -1;
    }
    return pipe_ends[0];
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
