/*
 * Faults that a test tells a running program, by the file "faults" in the world's folder. A line is
 * CALL FAULT [FROM [TO]]: the calls of that name that have that fault, counted from 1 since the
 * file last changed; without numbers all of them. What is held is let go when its line is gone, or
 * when its backend closes; the file "held" has a line for each, once it is held.
 *
 * All on the instance's loop.
 */
#ifndef CVM_TESTS_TOLD_H
#define CVM_TESTS_TOLD_H

#include "cvm/plugin.h"

enum told {
    TOLD_NOTHING,
    /* Nothing is done, and the answer is: */
    TOLD_UNAVAILABLE,
    TOLD_BUSY,
    TOLD_BROKEN,
    TOLD_UNKNOWN,
    /* It happens, and the answer is unknown. */
    TOLD_UNKNOWN_DONE,
    TOLD_HOLD,      /* held before it happens */
    TOLD_HOLD_DONE, /* held after it happened */
    TOLD_COUNT
};

/* The text behind the answer of a fault. */
#define TOLD_TEXT "failed as told"

struct told_held {
    struct told_held *next;
    const cvm_host_t *host;
    cvm_context_t *context;
    const char *call;
    void *owner; /* the backend */
    cvm_op_t *op;
    /* It is let go: it goes on, or its operation completes as unknown when it is cut short. */
    void (*go)(struct told_held *held, int32_t is_cut);
    /* 1 once it is as far as it is to be held; NULL: at once. */
    int32_t (*is_there)(const struct told_held *held);
    int32_t is_noted;
    cvm_timer_t *timer;
};

/* Where the files are. */
void told_folder(const char *folder);
/* Counts a call and says what happens to it. */
enum told told_next(const char *call);
/* The answer of a fault that only answers; OK for the others. */
cvm_answer_t told_answer(enum told told);
/* Keeps it until it is let go; it is the caller's again then. */
void told_hold(struct told_held *held);
/* Lets go all that a backend's operations hold: it closes. */
void told_cut(const void *owner);

#endif
