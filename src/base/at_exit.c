/* A count of the threads that may be inside OpenSSL, and a handler of exit() that waits until there
 * are none but its own. */
#include "at_exit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

#define LOOK_US    1000
#define MOST_LOOKS 5000 /* an RSA key may take a second */

static atomic_uint inside; /* threads */
static atomic_int is_ending;
static atomic_int process; /* that inside counts for: a child of fork() has none of the threads */
static int32_t is_registered;
static _Thread_local uint32_t own_depth;
static _Thread_local int32_t is_last; /* this thread ends the process */

static void at_exit_park(void)
{
    for (;;)
        (void)pause();
}

static void at_exit_wait(void)
{
    if (atomic_load(&process) != getpid())
        return;
    is_last = 1;
    atomic_store(&is_ending, 1);
    unsigned own = own_depth != 0;
    for (uint32_t i = 0; i < MOST_LOOKS && atomic_load(&inside) > own; i++)
        cvm_sleep_us(LOOK_US);
}

static void at_exit_register(void)
{
    is_registered = atexit(at_exit_wait) == 0;
}

int32_t cvm_at_exit_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_once(&once, at_exit_register);
    (void)pthread_mutex_lock(&lock);
    int before = atomic_exchange(&process, getpid());
    if (before && before != getpid()) /* a child: those that were inside are not here */
        atomic_store(&inside, own_depth != 0);
    (void)pthread_mutex_unlock(&lock);
    return is_registered ? 0 : -1;
}

void cvm_at_exit_enter(void)
{
    if (own_depth++)
        return;
    atomic_fetch_add(&inside, 1);
    if (!atomic_load(&is_ending) || is_last)
        return;
    atomic_fetch_sub(&inside, 1);
    at_exit_park();
}

void cvm_at_exit_leave(void)
{
    if (--own_depth == 0)
        atomic_fetch_sub(&inside, 1);
}

uint32_t cvm_at_exit_suspend(void)
{
    uint32_t depth = own_depth;
    if (depth)
        atomic_fetch_sub(&inside, 1);
    own_depth = 0;
    return depth;
}

void cvm_at_exit_resume(uint32_t depth)
{
    if (!depth)
        return;
    cvm_at_exit_enter();
    own_depth = depth;
}
