/*
 * A store on LMDB: what its parts share.
 *
 *   store.c   the table of verbs, and a store's life
 *   lane.c    the threads: one writes, one reads; what waits is written in one transaction
 *   env.c     the file, which a process may have open once
 *   rows.c    records as bytes, and the index
 *   change.c  what is written
 *   read.c    what is answered
 */
#ifndef LMDB_STORE_H
#define LMDB_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <lmdb.h>

#include <cvm/plugin.h>

struct store;

/* --- The file (env.c) ------------------------------------------------------------------------- */

/* Records by their ids, values by their names; and what leads to them. */
enum db { DEVICES, CERTIFICATES, VALUES, INDEX, DB_COUNT };

struct env {
    struct env *next;
    char path[1024];
    MDB_env *lmdb;
    MDB_dbi dbs[DB_COUNT];
    pthread_rwlock_t map_lock; /* who reads or writes it has it for reading */
    unsigned users;            /* stores of this process that have it open */
};

/* An LMDB error or errno; 0 and *result. */
int env_open(const char *path, size_t map_size, int may_create, struct env **result);
void env_close(struct env *env);

/* --- Jobs (lane.c) ---------------------------------------------------------------------------- */

/* One operation on its way through a thread. What it was handed is the host's until it completes.
 */
struct job {
    struct job *next;
    cvm_op_t *op;
    /* Does it, and sets the answer; what LMDB says. */
    int (*run)(struct store *store, MDB_txn *txn, struct job *job);
    cvm_answer_t answer;
    const char *text; /* static */
    const cvm_change_t *change;
    const cvm_loading_t *loading;
    const char *name, *value;
    int64_t version, before_ms;
    uint32_t limit;
    int32_t what; /* a scan's kind, or what find() goes by */
};

struct lane {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    struct job *first, **last;
    int writes, is_started, must_end;
};

struct store {
    const cvm_host_t *host;
    cvm_context_t *context;
    char path[1024];
    struct env *env;
    struct lane writes, reads;
    int is_opening; /* the loop's, as is closing until the threads end */
    cvm_op_t *closing;
    atomic_int lanes; /* threads that have not ended, and copies that are made */
};

/* 0, or -1. */
int lane_start(struct store *store, struct lane *lane, int writes);
/* Takes a copy of job; completes it without memory. */
void lane_add(struct lane *lane, const struct job *job);
/* It ends once it has done what it has. */
void lane_end(struct lane *lane);
/* A thread or a copy has ended; the last one to end completes store->closing. */
void lane_leave(struct store *store);

/* --- Records as bytes (rows.c) ------------------------------------------------------------------
 */

/* What an entry of the index begins with. Behind it stands what it is looked for by. */
#define OF_UNSUSPENDED 'u' /* uid */
#define OF_LEASED      'l' /* uid */
#define OF_DISABLED    'x' /* uid */
#define OF_RETIRING    'r' /* certificate_id */
#define OF_REVOKED     'R' /* certificate_id: revoked, or it may become due */
#define OF_THING       't' /* thing_name, 0, uid */
#define OF_KEY         'k' /* public_key_sha256, 0, uid: whose it is */
#define OF_CERTIFIED   'q' /* public_key_sha256, 0, certificate_id */
#define OF_DEVICE      'c' /* uid, 0, certificate_id */

#define KEY_SIZE 300

/* Prints an entry's key: its letter, first, and second behind a 0 if it isn't NULL. Its length. */
size_t index_key(char key[KEY_SIZE], char letter, const char *first, const char *second);
/* The record of that id, which the caller frees; NULL and MDB_NOTFOUND or another error. sequence
 * may be NULL: receives its place among the certificates. */
cvm_record_t *row_get(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const char *id,
    int64_t *sequence, int *rc);
/* Writes it with its entries in the index. */
int row_put(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const cvm_record_t *record,
    int64_t sequence);
int row_delete(struct store *store, MDB_txn *txn, cvm_record_kind_t kind, const char *id);
cvm_record_t *row_read(const cvm_host_t *host, cvm_record_kind_t kind, const MDB_val *bytes);
int is_text(struct store *store, const cvm_record_t *record, uint32_t field, const char *text);
/* The next of a sequence that never ends. */
int sequence_next(struct store *store, MDB_txn *txn, int64_t *number);

/* Goes through the index's entries that begin with prefix, from the one after `after` on (NULL:
 * from the first); each is handed to visit, which answers 0 to go on. Returns what it answered
 * last, or an error. rest: what stands behind the prefix. */
typedef int (*visit_fn)(void *argument, const char *rest);
int index_visit(struct store *store, MDB_txn *txn, const char *prefix, size_t length,
    const char *after, visit_fn visit, void *argument);
#define STOP 1 /* a visit that has seen enough */

/* --- What jobs do (change.c, read.c)
 * -------------------------------------------------------------- */

int run_swap(struct store *store, MDB_txn *txn, struct job *job);
int run_load(struct store *store, MDB_txn *txn, struct job *job);
int run_meta_put(struct store *store, MDB_txn *txn, struct job *job);
int run_ready(struct store *store, MDB_txn *txn, struct job *job);
int run_get(struct store *store, MDB_txn *txn, struct job *job);
int run_get_certificates(struct store *store, MDB_txn *txn, struct job *job);
int run_scan(struct store *store, MDB_txn *txn, struct job *job);
int run_find(struct store *store, MDB_txn *txn, struct job *job);
int run_meta_get(struct store *store, MDB_txn *txn, struct job *job);

#endif
