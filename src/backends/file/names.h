/* The files that stand beside a store's. */
#ifndef CVM_FILE_NAMES_H
#define CVM_FILE_NAMES_H

#define STORE_NAME_SIZE 4160 /* of a path with a suffix */

#define LOG_SUFFIX "-wal"
#define SHM_SUFFIX "-shm"
#define JOURNAL_SUFFIX                                                                             \
    "-journal" /* the log of a file that was never in use, until its first write */
#define LOCK_SUFFIX      ".lock"
#define RESTORING_SUFFIX ".restoring" /* what a restore is making */
#define REPLACED_SUFFIX  ".replaced-" /* and a date: what a restore has put aside */

/* Prints path and suffix; returns name. */
const char *cvm_store_name(char name[STORE_NAME_SIZE], const char *path, const char *suffix);
/* 1 if there is such a file, and it isn't empty. */
int cvm_store_has(const char *path, const char *suffix);
/* 1 if there is a log, of either kind, that SQLite would apply to whatever file is there. */
int cvm_store_has_log(const char *path);

#endif
