/* Whole copies of a store's file: for a backup, and for putting one in place. */
#ifndef CVM_FILE_COPY_H
#define CVM_FILE_COPY_H

#include "cvm/plugin.h"
#include "db.h"

/* Copies one snapshot of the store at path into an empty file. OK; UNAVAILABLE, or BROKEN if it is
 * what is at path that can't be copied; and why. */
cvm_answer_t cvm_copy(const char *path, const char *to, char *error, size_t error_size);
/* Last of all: the copy is one that SQLite opens with a write-ahead log from the first on, so that
 * no other kind of log is ever made for it. SQLITE_OK or the error. */
int cvm_copy_set_wal(struct db *db);
/* Opens a copy that nobody else has, to change it: nothing is durable before cvm_copy_sync().
 * SQLITE_OK, or the error, and why in error. */
int cvm_copy_open(struct db *db, const char *path, char *error, size_t error_size);
/* Has a file's content reach the disk. 0, or -1 and errno. */
int32_t cvm_copy_sync(const char *path);
/* Renames, but does not replace a file. 0, or -1 and errno. */
int32_t cvm_copy_rename(const char *from, const char *to);

#endif
