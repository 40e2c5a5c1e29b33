/*
 * The recorder's log: one file that any number of threads and processes append to, in the order in
 * which the effects took place. replay.py reads it.
 *
 * A record is a header of 48 bytes, little-endian, then both paths and the data:
 *   u32 magic 'CVMR'   u32 kind   u64 CLOCK_MONOTONIC ns   u64 inode   i64 offset
 *   u32 mode   u32 length of path   u32 length of the second path   u32 length of the data
 */
#ifndef CVM_FAULTS_RECORD_LOG_H
#define CVM_FAULTS_RECORD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_kind {
    RECORD_CREATE = 'C',      /* inode, path, mode: a new file */
    RECORD_OPEN = 'O',        /* inode, path: a file that was there, opened for writing */
    RECORD_WRITE = 'W',       /* inode, offset, data */
    RECORD_TRUNCATE = 'T',    /* inode, offset: the new size */
    RECORD_EXTEND = 'X',      /* inode, offset: the size is at least this */
    RECORD_MODE = 'P',        /* inode, mode */
    RECORD_SYNC_BEGIN = 'B',  /* inode, path, mode, offset: a token */
    RECORD_SYNC_END = 'E',    /* the same token: what was done before its begin is durable */
    RECORD_SYNC_FAILED = 'F', /* the same token: what was done before it may be lost for good */
    RECORD_RENAME = 'R',      /* path, second path */
    RECORD_LINK = 'L',        /* path, second path */
    RECORD_UNLINK = 'U',      /* path */
    RECORD_MKDIR = 'M',       /* path, mode */
    RECORD_RMDIR = 'D',       /* path */
};

struct record {
    enum record_kind kind;
    uint64_t inode;
    int64_t offset;
    uint32_t mode;
    const char *path;
    const char *second_path;
    const void *data;
    size_t size;
};

/* Opens the log that the environment variable names. False if the variable is not set. */
bool record_log_open(const char *variable);

/* Held around an effect and its record, so that the log's order is true. Both keep errno. */
void record_lock(void);
void record_unlock(void);

/* Only under the lock; keeps errno. */
void record_append(const struct record *record);

/* A number that no other begin of a sync in this log has. Only under the lock. */
int64_t record_token(void);

#endif
