/* devices.db.lock: which server has the store, who uses it, and which file its log belongs to. */
#ifndef CVM_FILE_LOCK_H
#define CVM_FILE_LOCK_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/plugin.h"
#include "names.h"

#define GENERATION_SIZE 9  /* 8 hex digits and a NUL */
#define DATE_SIZE       24 /* 20261126T130102Z, perhaps -2, and a NUL */

/* What the file says, in slots of fixed places. Empty texts where nothing is said. */
enum lock_slot {
    SLOT_GENERATION, /* of the file that the log belongs to */
    SLOT_NEXT,       /* the one that a server is about to give it */
    SLOT_RESTORE,    /* the date in the names that a restore gives to what it replaces */
    SLOT_COUNT
};

struct lock {
    int fd;           /* -1: not open */
    int is_read_only; /* so is the file system: there may be no lock, and nobody here can write */
    char path[STORE_NAME_SIZE];
};

/* Opens it, and makes it if there is none. OK, or why not. */
cvm_answer_t cvm_lock_open(
    struct lock *lock, const char *store_path, char *error, size_t error_size);
void cvm_lock_close(struct lock *lock);
/* Takes the one server's lock. OK, or BUSY if another server has it, or UNAVAILABLE. */
cvm_answer_t cvm_lock_serve(struct lock *lock, char *error, size_t error_size);
/* Begins to use the store: alone (*is_alone: nobody else does, and nobody else can before
 * cvm_lock_share()) or beside others. BUSY if somebody who must be alone stays too long. */
cvm_answer_t cvm_lock_enter(struct lock *lock, int *is_alone, char *error, size_t error_size);
/* Lets others in. */
void cvm_lock_share(struct lock *lock);
/* Uses the store alone, or not at all: BUSY beside anybody. */
cvm_answer_t cvm_lock_enter_alone(struct lock *lock, char *error, size_t error_size);

/* Reads a slot; "" if it says nothing. */
void cvm_lock_read(const struct lock *lock, enum lock_slot slot, char *text, size_t size);
/* Writes a slot, durably. 0, or -1 and errno. */
int cvm_lock_write(const struct lock *lock, enum lock_slot slot, const char *text);

/* What errno means for who opens a store: better later, or somebody has to mend it first. */
cvm_answer_t cvm_lock_judge(void);

#endif
