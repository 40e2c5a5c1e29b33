/* Faults that a test plans for calls of the fake platform and of the faulty store, by their names.
 */
#ifndef CVM_TESTS_FAULTS_H
#define CVM_TESTS_FAULTS_H

#include <stdint.h>

enum fault {
    FAULT_NONE,
    /* Nothing is done, and the answer is: */
    FAULT_UNAVAILABLE,
    FAULT_BUSY,
    FAULT_BROKEN,
    FAULT_INVALID,
    FAULT_NOT_FOUND,
    FAULT_CONFLICT,
    FAULT_UNKNOWN_NOT,  /* unknown, and it did not happen */
    FAULT_UNKNOWN_DONE, /* unknown, and it did */
    FAULT_UNKNOWN_LATE, /* unknown, and it happens when faults_release() is called (swap only) */
    FAULT_HOLD_BEFORE,  /* it happens when faults_release() is called */
    FAULT_HOLD_AFTER,   /* it happens, and is answered when faults_release() is called */
    FAULT_THREAD,       /* it is answered from another thread, a little later (platform only) */
    FAULT_HANG,         /* nothing is done, and it is answered when its backend is closed */
    FAULT_TWICE,        /* it is answered twice, with another answer the second time */
    FAULT_COUNT
};

/* Forgets all plans and counts. Nothing may be held any more. */
void faults_clear(void);
/* The nth call of that name from now on (1: the next one; 0: all of them) has that fault. */
void faults_plan(const char *call, uint32_t nth, enum fault fault);
/* How often it was called since faults_clear(). */
uint32_t faults_count(const char *call);
/* How many calls are held. Any thread. */
uint32_t faults_held(void);
/* Lets go what is held, and forgets the plans. */
void faults_release(void);

/* How many calls hang. */
uint32_t faults_hung(void);

/* For the backends: */
/* Counts a call and says what happens to it. */
enum fault faults_next(const char *call);
/* Keeps go(argument) for faults_release(). Any thread. */
void faults_hold(void (*go)(void *argument), void *argument);
/* Keeps it for faults_end_hung() of that backend. On the loop. */
void faults_hang(const void *backend, void (*go)(void *argument), void *argument);
/* The backend closes. */
void faults_end_hung(const void *backend);

#endif
