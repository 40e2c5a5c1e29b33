/* Plans of faults, and what is held. */
#include "support/faults.h"

#include "support/test.h"

#include <pthread.h>

#define MOST 128

static struct {
    char call[32];
    uint32_t at; /* the count of that call; 0: always */
    enum fault fault;
} plans[MOST];
static uint32_t plan_count;

static struct {
    char call[32];
    uint32_t count;
} counts[MOST];
static uint32_t count_count;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the next two */
static struct {
    void (*go)(void *argument);
    void *argument;
} held[MOST];
static uint32_t held_count;

static struct {
    const void *backend;
    void (*go)(void *argument);
    void *argument;
} hung[MOST];
static uint32_t hung_count;

void faults_clear(void)
{
    assert_int_equal(faults_held(), 0);
    assert_int_equal(hung_count, 0);
    plan_count = count_count = 0;
}

static uint32_t *count_of(const char *call)
{
    for (uint32_t i = 0; i < count_count; i++)
        if (strcmp(counts[i].call, call) == 0)
            return &counts[i].count;
    assert_true(count_count < MOST);
    (void)snprintf(counts[count_count].call, sizeof counts[0].call, "%s", call);
    counts[count_count].count = 0;
    return &counts[count_count++].count;
}

void faults_plan(const char *call, uint32_t nth, enum fault fault)
{
    assert_true(plan_count < MOST);
    (void)snprintf(plans[plan_count].call, sizeof plans[0].call, "%s", call);
    plans[plan_count].at = nth ? *count_of(call) + nth : 0;
    plans[plan_count++].fault = fault;
}

uint32_t faults_count(const char *call)
{
    return *count_of(call);
}

enum fault faults_next(const char *call)
{
    uint32_t now = ++*count_of(call);
    for (uint32_t i = 0; i < plan_count; i++)
        if (strcmp(plans[i].call, call) == 0 && (!plans[i].at || plans[i].at == now))
            return plans[i].fault;
    return FAULT_NONE;
}

void faults_hold(void (*go)(void *argument), void *argument)
{
    pthread_mutex_lock(&lock);
    assert_true(held_count < MOST);
    held[held_count].go = go;
    held[held_count++].argument = argument;
    pthread_mutex_unlock(&lock);
}

uint32_t faults_held(void)
{
    pthread_mutex_lock(&lock);
    uint32_t count = held_count;
    pthread_mutex_unlock(&lock);
    return count;
}

void faults_release(void)
{
    plan_count = 0;
    while (faults_held()) {
        pthread_mutex_lock(&lock);
        void (*go)(void *argument) = held[0].go;
        void *argument = held[0].argument;
        memmove(held, held + 1, --held_count * sizeof held[0]);
        pthread_mutex_unlock(&lock);
        go(argument);
    }
}

/* --- What hangs ------------------------------------------------------------------------------- */

void faults_hang(const void *backend, void (*go)(void *argument), void *argument)
{
    assert_true(hung_count < MOST);
    hung[hung_count].backend = backend;
    hung[hung_count].go = go;
    hung[hung_count++].argument = argument;
}

uint32_t faults_hung(void)
{
    return hung_count;
}

void faults_end_hung(const void *backend)
{
    for (uint32_t i = 0; i < hung_count;) {
        if (hung[i].backend != backend) {
            i++;
            continue;
        }
        void (*go)(void *argument) = hung[i].go;
        void *argument = hung[i].argument;
        hung[i] = hung[--hung_count];
        go(argument);
    }
}
