/* A handler that writes each signal's number into a pipe. The library's threads block all signals,
 * so it runs in the command's own. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/compat.h"

static int signals_pipe[2] = {-1, -1};

static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP};
#define ENDING 2 /* the first of them */

static void signals_note(int number)
{
    int before = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(signals_pipe[1], &byte, 1); /* a full pipe has enough of them */
    (void)written;
    errno = before;
}

/* Also those that were ignored: nohup leaves SIGHUP so, which does not end a server anyway, and a
 * shell's "&" SIGINT, by which it is to stop. */
int signals_open(void)
{
    struct sigaction action;
    if (cvm_pipe(signals_pipe))
        return -1;
    memset(&action, 0, sizeof action);
    action.sa_handler = signals_note;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof SIGNALS[0]; i++)
        (void)sigaction(SIGNALS[i], &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more must not end the server */
    return signals_pipe[0];
}

int signals_next(void)
{
    unsigned char byte;
    return read(signals_pipe[0], &byte, 1) == 1 ? byte : 0;
}

void signals_leave(void)
{
    for (size_t i = 0; i < ENDING; i++)
        (void)signal(SIGNALS[i], SIG_DFL);
}

void signals_close(void)
{
    signals_leave();
    (void)signal(SIGHUP, SIG_IGN); /* one that comes now is too late, and no reason to fail */
    (void)close(signals_pipe[0]);
    (void)close(signals_pipe[1]);
}
