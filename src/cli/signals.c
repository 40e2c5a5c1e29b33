/* A handler that writes each signal's number into a pipe. The library's threads block all signals,
 * so it runs in the command's own. */
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static int pipe_ends[2] = {-1, -1};

static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP};
#define ENDING 2 /* the first of them */

static void signals_note(int number)
{
    int before = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(pipe_ends[1], &byte, 1); /* a full pipe has enough of them */
    (void)written;
    errno = before;
}

static int prepare(int fd)
{
    return fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK);
}

/* Also those that were ignored: nohup leaves SIGHUP so, which does not end a server anyway, and a
 * shell's "&" SIGINT, by which it is to stop. */
int signals_open(void)
{
    struct sigaction action;
    if (pipe(pipe_ends) || prepare(pipe_ends[0]) || prepare(pipe_ends[1]))
        return -1;
    memset(&action, 0, sizeof action);
    action.sa_handler = signals_note;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof SIGNALS[0]; i++)
        (void)sigaction(SIGNALS[i], &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more must not end the server */
    return pipe_ends[0];
}

int signals_next(int fd)
{
    unsigned char byte;
    return read(fd, &byte, 1) == 1 ? byte : 0;
}

void signals_leave(void)
{
    for (size_t i = 0; i < ENDING; i++)
        (void)signal(SIGNALS[i], SIG_DFL);
}

void signals_close(int fd)
{
    if (fd < 0)
        return;
    signals_leave();
    (void)signal(SIGHUP, SIG_IGN); /* one that comes now is too late, and no reason to fail */
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
}
