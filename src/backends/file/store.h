/* The file store inside: its jobs, its threads, and who runs what. */
#ifndef CVM_FILE_STORE_H
#define CVM_FILE_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "anchor.h"
#include "cvm/plugin.h"
#include "db.h"
#include "lock.h"

struct store;

/* One operation on its way through a thread. */
struct job {
    struct job *next;
    cvm_op_t *op;
    /* Does it; returns what SQLite says, and fills in the answer when that is SQLITE_OK. */
    int (*run)(struct store *store, struct db *db, struct job *job);
    cvm_answer_t answer;
    const char *text; /* static */
    /* Arguments, the caller's until the operation completes: */
    const cvm_change_t *change;
    const char *name, *wanted;
    const cvm_loading_t *loading;
    uint32_t limit;
    int64_t before_ms, version;
    enum statement statement;
    cvm_record_kind_t kind;
    int removes;
};

/* A thread with a queue. */
struct lane {
    struct store *store;
    void (*work)(struct store *store, struct job *first); /* all that was waiting */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    struct job *first, **last;
    int is_started, must_end;
};

struct store {
    const cvm_host_t *host;
    cvm_context_t *context;
    char *path;
    uint32_t how; /* CVM_OPEN_... */
    struct lock lock;
    struct anchor *anchor;
    int is_anchored; /* nobody can take the log away */
    int is_open;     /* the writer's: what comes is no request to open */
    atomic_int is_backing_up;
    struct db writer, reader, checkpointer;
    pthread_mutex_t reader_lock, checkpointer_lock; /* of those two connections */
    struct lane writes, reads, checkpoints;
    atomic_int
        is_broken; /* after an I/O error: the page cache may lie, a look at the disk is due */
    char break_line[320]; /* what is to be logged of that */
    atomic_int must_tell_break;
    atomic_int is_full;   /* the last write found no space */
    atomic_int wal_pages; /* after the last commit */
    int must_restart_log; /* the writer's */
    int pages_told;       /* when the log's size was last complained of */
    cvm_op_t *closing;
    pthread_t closer;
    int has_closer;
};

/* open.c */
/* Opens all but the writer's thread, which calls it. OK, or why not. */
cvm_answer_t cvm_store_open_all(struct store *store, char *error, size_t error_size);
void cvm_store_close_all(struct store *store);
/* Opens the connections anew, when the log was taken away. SQLITE_OK or the error. */
int cvm_store_reopen(struct store *store);

/* lane.c */
int cvm_lane_start(
    struct lane *lane, struct store *store, void (*work)(struct store *store, struct job *first));
/* Any thread. */
void cvm_lane_put(struct lane *lane, struct job *job);
/* Ends when what waits is done. */
void cvm_lane_end(struct lane *lane);

/* write.c: the writer's thread and its verbs */
void cvm_store_write(struct store *store, struct job *first);
/* Logs what broke the store, if that was not logged yet; no lock may be held. */
void cvm_store_tell_break(struct store *store);
/* What a failure of one of the connections means for the store, and for who waits: static text. */
const char *cvm_store_judge(struct store *store, struct db *db, int rc);
int cvm_store_run_change(struct store *store, struct db *db, struct job *job);
int cvm_store_run_load(struct store *store, struct db *db, struct job *job);
int cvm_store_run_meta_put(struct store *store, struct db *db, struct job *job);
int cvm_store_run_ready(struct store *store, struct db *db, struct job *job);

/* read.c: the reader's thread and its verbs */
void cvm_store_read(struct store *store, struct job *first);
int cvm_store_run_get(struct store *store, struct db *db, struct job *job);
int cvm_store_run_scan(struct store *store, struct db *db, struct job *job);
int cvm_store_run_value(struct store *store, struct db *db, struct job *job);

/* checkpoint.c: the checkpointer's thread */
int cvm_store_on_commit(void *argument, sqlite3 *sqlite, const char *name, int pages);
void cvm_store_checkpoint(struct store *store, struct job *first);
/* The writer's: has the log begin anew, if that is due and nobody reads in it. */
void cvm_store_restart_log(struct store *store);

#endif
