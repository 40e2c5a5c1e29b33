/* Which file a write-ahead log belongs to: a random generation in the file's header (SQLite's
 * application id), noted in devices.db.lock. A log that is replayed over another file destroys it.
 */
#ifndef CVM_FILE_GENERATION_H
#define CVM_FILE_GENERATION_H

#include "db.h"
#include "lock.h"

/* Enters a store (its lock is open) among those who use it, and before SQLite opens it. INVALID if
 * it has a log that is another file's. OK, or why not. */
cvm_answer_t cvm_generation_enter(
    struct lock *lock, const char *path, char *error, size_t error_size);
/* INVALID, and why, if there is a log that is another file's. To be asked alone. */
cvm_answer_t cvm_generation_check(
    const struct lock *lock, const char *path, char *error, size_t error_size);
/* On a store that is there: what a restore has noted that was cut short is over. */
void cvm_generation_forget_restore(const struct lock *lock);
/* Before SLOT_NEXT is written: if that is what the file says, it goes to SLOT_GENERATION. 0, or -1
 * and errno. */
int cvm_generation_settle(const struct lock *lock, const char *path);
/* 1 if another file has taken the place of the one that is open. */
int cvm_generation_is_replaced(const struct lock *lock, const char *path);
/* Gives the file a new generation and notes it. SQLITE_OK, or what kept it from that: then the old
 * one holds. */
int cvm_generation_renew(const struct lock *lock, struct db *writer);
/* Gives a copy a generation of its own. SQLITE_OK or the error. */
int cvm_generation_stamp(sqlite3 *copy, char generation[GENERATION_SIZE]);

#endif
