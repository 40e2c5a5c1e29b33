/* Reading the file of faults, and what is held. */
#include "told.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CALLS 32
#define MOST_BYTES 4096
#define LOOK_MS    10

static char folder[PATH_MAX - 16];
static char text[MOST_BYTES]; /* of the file, as it was read last */
static struct {
    char call[32];
    unsigned count;
} counts[MOST_CALLS];
static size_t count_count;
static struct told_held *all;

void told_folder(const char *path)
{
    (void)snprintf(folder, sizeof folder, "%s", path);
}

/* --- The file --------------------------------------------------------------------------------- */

/* A text that changed begins to count anew. */
static void read_file(void)
{
    char path[PATH_MAX], now[MOST_BYTES] = "";
    (void)snprintf(path, sizeof path, "%s/faults", folder);
    FILE *file = *folder ? fopen(path, "r") : NULL;
    if (file) {
        now[fread(now, 1, sizeof now - 1, file)] = 0;
        (void)fclose(file);
    }
    if (strcmp(now, text) != 0) {
        memcpy(text, now, sizeof text);
        count_count = 0;
    }
}

static unsigned count(const char *call)
{
    size_t i = 0;
    while (i < count_count && strcmp(counts[i].call, call) != 0)
        i++;
    if (i == MOST_CALLS)
        abort();
    if (i == count_count) {
        (void)snprintf(counts[i].call, sizeof counts[i].call, "%s", call);
        counts[i].count = 0;
        count_count++;
    }
    return ++counts[i].count;
}

static enum told fault_of(const char *name)
{
    static const char *const NAMES[TOLD_COUNT] = {
        "nothing", "unavailable", "busy", "broken", "unknown", "unknown-done", "hold", "hold-done"};
    for (unsigned i = 0; i < TOLD_COUNT; i++)
        if (strcmp(NAMES[i], name) == 0)
            return (enum told)i;
    (void)fprintf(stderr, "faults: there is no fault %s\n", name);
    abort(); /* a test that tells what isn't understood must not pass */
}

/* What the file says of a call; number 0: of any of them. */
static enum told look_up(const char *call, unsigned number)
{
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char name[32], fault[32];
        unsigned from = 1, to = UINT_MAX;
        int fields = sscanf(line, "%31s %31s %u %u", name, fault, &from, &to);
        if (fields < 2 || strcmp(name, call) != 0)
            continue;
        if (fault_of(fault) && (!number || (number >= from && number <= to)))
            return fault_of(fault);
    }
    return TOLD_NOTHING;
}

enum told told_next(const char *call)
{
    read_file();
    return look_up(call, count(call));
}

cvm_answer_t told_answer(enum told told)
{
    static const cvm_answer_t ANSWERS[TOLD_COUNT] = {[TOLD_UNAVAILABLE] = CVM_ANSWER_UNAVAILABLE,
        [TOLD_BUSY] = CVM_ANSWER_BUSY,
        [TOLD_BROKEN] = CVM_ANSWER_BROKEN,
        [TOLD_UNKNOWN] = CVM_ANSWER_UNKNOWN};
    return ANSWERS[told];
}

/* --- What is held ----------------------------------------------------------------------------- */

static void note(struct told_held *held)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/held", folder);
    FILE *file = fopen(path, "a");
    if (!file || fprintf(file, "%s\n", held->call) < 0 || fclose(file))
        abort();
    held->is_noted = 1;
}

static void let_go(struct told_held *held, int32_t is_cut)
{
    struct told_held **link = &all;
    while (*link != held)
        link = &(*link)->next;
    *link = held->next;
    held->host->timer_free(held->timer);
    held->go(held, is_cut);
}

static void look(void *argument)
{
    struct told_held *held = argument;
    int32_t is_there = !held->is_there || held->is_there(held);
    if (is_there && !held->is_noted)
        note(held);
    read_file();
    if (is_there && look_up(held->call, 0) < TOLD_HOLD)
        let_go(held, 0);
    else
        held->host->timer_start(held->timer, LOOK_MS);
}

void told_hold(struct told_held *held)
{
    held->next = all;
    all = held;
    held->timer = held->host->timer_new(held->context, look, held);
    if (!held->timer)
        abort();
    look(held);
}

void told_cut(const void *owner)
{
    for (struct told_held *held = all, *next; held; held = next) {
        next = held->next;
        if (held->owner == owner)
            let_go(held, 1);
    }
}
