/* The signals that ask a command to end. */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>

static volatile sig_atomic_t came;

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP};

static void interrupt_note(int number)
{
    (void)number;
    came = 1;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof SIGNALS[0]; i++)
        (void)signal(SIGNALS[i], SIG_DFL);
}

void interrupt_catch(void)
{
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupt_note;
    for (size_t i = 0; i < sizeof SIGNALS / sizeof SIGNALS[0]; i++) {
        /* What is ignored stays so: nohup wants that of SIGHUP. */
        if (sigaction(SIGNALS[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(SIGNALS[i], &action, NULL);
    }
}

int32_t interrupt_came(void)
{
    return came != 0;
}
