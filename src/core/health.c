/* The subjects and their states. Each change is a line in a server's log, and what is not well is
 * said again from time to time: nobody looks at a log on the day on which something ends. */
#include "health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/files.h"
#include "error.h"
#include "instance.h"

#define LONGEST_TEXT 250 /* an error's */
#define LOOK_MS      INT64_C(60000)
#define HOUR_MS      INT64_C(3600000)
#define DAY_MS       (24 * HOUR_MS)

enum state { WELL, SOON, ILL };

/* How often a state is said again. */
static const int64_t AGAIN_MS[] = {[WELL] = 0, [SOON] = DAY_MS, [ILL] = HOUR_MS};

struct subject {
    struct subject *next;
    char *name, *problem;
    int64_t begins_ms, ends_ms, notice_ms;
    enum state told;
    uint64_t told_ms;
};

struct cvm_health {
    cvm_t *cvm;
    struct subject *subjects, **last;
    struct cvm_timer *timer;
};

struct cvm_health *cvm_health_new(cvm_t *cvm)
{
    struct cvm_health *health = calloc(1, sizeof *health);
    if (health) {
        health->cvm = cvm;
        health->last = &health->subjects;
    }
    return health;
}

void cvm_health_stop(struct cvm_health *health)
{
    if (!health)
        return;
    cvm_timer_free(health->timer);
    health->timer = NULL;
}

void cvm_health_free(struct cvm_health *health)
{
    for (struct subject *subject = health ? health->subjects : NULL, *next; subject;
         subject = next) {
        next = subject->next;
        free(subject->name);
        free(subject->problem);
        free(subject);
    }
    free(health);
}

/* --- States ----------------------------------------------------------------------------------- */

static enum state health_state(const struct subject *subject, int64_t now_ms)
{
    if (subject->problem || subject->begins_ms > now_ms ||
        (subject->ends_ms && subject->ends_ms <= now_ms))
        return ILL;
    return subject->ends_ms && subject->ends_ms - now_ms < subject->notice_ms ? SOON : WELL;
}

/* What is the matter with a subject that is not well; of a long path the beginning is left out. */
static void health_explain(
    const struct subject *subject, int64_t now_ms, char *text, size_t text_size)
{
    char when[CVM_RFC3339_SIZE], times[64];
    if (subject->begins_ms > now_ms)
        (void)snprintf(
            times, sizeof times, "is not valid before %s", cvm_rfc3339(subject->begins_ms, when));
    else
        (void)snprintf(times, sizeof times, "%s on %s",
            subject->ends_ms <= now_ms ? "ended" : "ends", cvm_rfc3339(subject->ends_ms, when));
    cvm_files_explain(text, text_size, subject->name, subject->problem ? subject->problem : times);
}

static void health_tell(cvm_t *cvm, struct subject *subject, int64_t now_ms)
{
    char text[LONGEST_TEXT];
    enum state state = health_state(subject, now_ms), before = subject->told;
    uint64_t monotonic_ms = cvm_monotonic_ms();
    if (state == before &&
        (state == WELL || monotonic_ms < subject->told_ms + (uint64_t)AGAIN_MS[state]))
        return;
    subject->told = state;
    subject->told_ms = monotonic_ms;
    if (state == WELL) {
        cvm_log_message(cvm->log, LOG_WARNING, "%s: is well again", subject->name);
        return;
    }
    health_explain(subject, now_ms, text, sizeof text);
    cvm_log_message(cvm->log, state == ILL ? LOG_ERROR : LOG_WARNING, "%s", text);
}

static void health_look(void *argument)
{
    struct cvm_health *health = argument;
    int64_t now_ms = cvm_now_ms();
    for (struct subject *subject = health->subjects; subject; subject = subject->next)
        health_tell(health->cvm, subject, now_ms);
    cvm_timer_start(health->timer, LOOK_MS);
}

/* --- The API ---------------------------------------------------------------------------------- */

/* The subject of that name, or a new one behind the others. NULL without memory. */
static struct subject *health_find(struct cvm_health *health, const char *name)
{
    for (struct subject *subject = health->subjects; subject; subject = subject->next)
        if (strcmp(subject->name, name) == 0)
            return subject;
    struct subject *subject = calloc(1, sizeof *subject);
    if (!subject || !(subject->name = strdup(name))) {
        free(subject);
        return NULL;
    }
    *health->last = subject;
    health->last = &subject->next;
    return subject;
}

void cvm_health_set(cvm_t *cvm, const char *name, const char *problem, int64_t begins_ms,
    int64_t ends_ms, int64_t notice_ms)
{
    struct cvm_health *health = cvm->health;
    struct subject *subject = health_find(health, name);
    char *copy = problem ? strdup(problem) : NULL;
    if (!subject || (problem && !copy)) {
        free(copy);
        return;
    }
    if (copy && subject->problem && strcmp(copy, subject->problem) != 0)
        subject->told = WELL; /* another one is news */
    free(subject->problem);
    subject->problem = copy;
    subject->begins_ms = begins_ms;
    subject->ends_ms = ends_ms;
    subject->notice_ms = notice_ms;
    if (!(cvm->how & CVM_OPEN_RECONCILE)) /* a command says what it is asked */
        return;
    health_tell(cvm, subject, cvm_now_ms());
    if (!health->timer && (health->timer = cvm_timer_new(cvm->loop, health_look, health)))
        cvm_timer_start(health->timer, LOOK_MS);
}

cvm_error_t *cvm_health_check(cvm_t *cvm)
{
    char text[LONGEST_TEXT];
    int64_t now_ms = cvm_now_ms();
    for (const struct subject *subject = cvm->health->subjects; subject; subject = subject->next) {
        if (health_state(subject, now_ms) != ILL)
            continue;
        health_explain(subject, now_ms, text, sizeof text);
        return cvm_error_new(REASON_platform_unavailable, "%s", text);
    }
    return NULL;
}
