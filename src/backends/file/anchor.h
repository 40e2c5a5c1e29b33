/*
 * Keeps other processes from becoming the last user of a store that is open here.
 *
 * SQLite's own locks are the process's: they all go when anything in it opens and closes devices.db
 * or -shm (a copy, a hash, another SQLite). The next program that closes the store then believes to
 * be its last user, and unlinks the log that we write to. So we hold read locks of our own on the
 * bytes that a last user locks for writing, which belong to the open file description.
 */
#ifndef CVM_FILE_ANCHOR_H
#define CVM_FILE_ANCHOR_H

#include <stddef.h>
#include <stdint.h>

struct anchor;

/* Opens the file (as cvm_files_open does), before SQLite does. One for each file in a process,
 * however many instances have it open: closing a descriptor would drop the locks that SQLite has
 * for another one. NULL, errno and why. */
struct anchor *cvm_anchor_new(const char *path, char *error, size_t error_size);
/* Once SQLite has the store open. 0; or -1 and errno if the locks can't be had: EINVAL where there
 * are none. Then nothing is to be let go, and cvm_anchor_lost_log() has to be asked. */
int cvm_anchor_hold(struct anchor *anchor);
/* Lets go of what was held, right before SQLite closes the store. */
void cvm_anchor_let_go(struct anchor *anchor);
/* Once SQLite has closed it. NULL is fine. */
void cvm_anchor_free(struct anchor *anchor);

/* Where there are no such locks: 1 if the log that was there is no more. */
int cvm_anchor_lost_log(struct anchor *anchor);
/* Looks at the log anew, when the connections were opened again. */
void cvm_anchor_renew_log(struct anchor *anchor);

#endif
