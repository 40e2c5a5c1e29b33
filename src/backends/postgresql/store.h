/* The PostgreSQL store inside: jobs wait in lanes, links carry them out. All of it lives on the
 * instance's loop but the connecting, which is a thread's. */
#ifndef CVM_POSTGRESQL_STORE_H
#define CVM_POSTGRESQL_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <libpq-fe.h>

#include "cvm/plugin.h"
#include "params.h"
#include "statements.h"

#define CVM_LARGEST_BATCH     32
#define CVM_PROPERTY_PASSWORD "postgresql.password"
#define CVM_MOST_RESULTS      6 /* statements of one job */
#define CVM_MOST_LINKS        16
#define CVM_JOB_TEXT          200
#define CVM_MOST_CHANGED      256  /* certificates of one change */
#define CVM_CLOSE_GRACE_MS    3000 /* for what runs when the store closes */

struct job;
struct link;
struct store;

/* What an operation is in SQL. */
struct verb {
    /* Hands its statements to the link, by cvm_link_send(). 0, or -1 without memory. */
    int32_t (*send)(struct link *link, struct job *job);
    /* Reads what they answered, once that counts. */
    cvm_answer_t (*take)(struct store *store, struct job *job);
    int32_t writes;
    int32_t asks_writer; /* it writes nothing, and is about those that do */
};

/* One operation on its way. */
struct job {
    struct job *next;
    cvm_op_t *op;
    const struct verb *verb;
    /* Arguments, the caller's until the operation completes: */
    const cvm_change_t *change;
    const cvm_loading_t *loading;
    const char *name, *wanted;
    int64_t before_ms, version;
    uint32_t limit;
    enum statement statement;
    cvm_record_kind_t kind;
    /* The way: */
    int64_t change_id;   /* its trace in the rows that it writes */
    uint64_t until_ms;   /* by the monotonic clock: it does not wait longer */
    int32_t is_alone;    /* its batch failed: one of it is to blame */
    int32_t is_in_doubt; /* it may have been written */
    PGresult *results[CVM_MOST_RESULTS];
    uint32_t sent_count, result_count;
    char text[CVM_JOB_TEXT]; /* for people; "": nothing to say */
};

/* Jobs that wait for one of its links. */
struct lane {
    struct store *store;
    struct job *first, **last;
    struct link *links;
    uint32_t link_count;
    cvm_timer_t *turn; /* what comes in one turn of the loop goes together */
    cvm_timer_t *late; /* when the first that waits has waited long enough */
};

enum link_state {
    LINK_CLOSED,     /* nobody needed it yet, an attempt to open failed, or the store closes */
    LINK_CONNECTING, /* a thread has it */
    LINK_WAITING,    /* to connect again */
    LINK_IDLE,
    LINK_BUSY,
};

/* One connection. */
struct link {
    struct lane *lane;
    enum link_state state;
    PGconn *connection;
    int fd; /* its descriptor, as ours: libpq closes its own when it likes; -1 */
    cvm_watch_t *watch;
    cvm_timer_t *timer; /* busy: the batch is late; waiting: to connect again */
    uint32_t failures;  /* to connect, in a row */
    uint32_t losses;    /* of connections, since one was of use */
    int32_t has_warned; /* the server, of this batch */
    int32_t must_go;    /* the connection, after this batch */
    /* The batch: */
    struct job *first, *current; /* current: whose results come next; NULL: the fence's, or none */
    uint32_t fences;             /* that have not been answered */
    int32_t has_failed;
    char state_code[6], text[CVM_JOB_TEXT]; /* of the failure */
    /* The thread's: */
    pthread_t thread;
    cvm_answer_t answer; /* why there is no connection */
    char why[CVM_JOB_TEXT];
};

struct store {
    const cvm_host_t *host;
    cvm_context_t *context;
    char *location, schema[64];
    char *texts[STATEMENT_COUNT];
    int32_t may_create; /* while it is being opened */
    int64_t timeout_ms;
    int32_t is_pooled; /* by pgbouncer: nothing outlives a transaction there */
    struct lane reads, writes;
    struct link links[CVM_MOST_LINKS];
    cvm_op_t *opening, *closing;
    atomic_int is_closing; /* for the threads */
};

/* --- link.c ----------------------------------------------------------------------------------- */

/* Queues a statement of the job's; the parameters are cleared. 0, or -1 without memory or
 * connection. */
int32_t cvm_link_send(
    struct link *link, struct job *job, enum statement statement, struct params *params);
/* Begins to connect. */
void cvm_link_open(struct link *link);
/* Takes what waits, if it is idle. */
void cvm_link_work(struct link *link);
/* libpq's notice receiver; argument: the link. */
void cvm_link_warned(void *argument, const PGresult *result);
/* Ends it, unless it is busy or being connected. */
void cvm_link_close(struct link *link);

/* --- lane.c ----------------------------------------------------------------------------------- */

/* 0, or -1 without memory. */
int32_t cvm_lane_init(struct lane *lane, struct store *store, struct link *links, uint32_t count);
/* Takes the job over. */
void cvm_lane_put(struct lane *lane, struct job *job);
/* Puts a batch back, before all others. */
void cvm_lane_put_back(struct lane *lane, struct job *first);
/* Takes a batch out, in an order in which servers don't lock each other out. */
struct job *cvm_lane_take(struct lane *lane);
/* Has it go on at the end of the loop's turn, if there is anything to do. */
void cvm_lane_work(struct lane *lane);
/* The store closes: what waits does not wait long any more. */
void cvm_lane_hurry(struct lane *lane);
/* Whose a change is; "" of what is no change. */
const char *cvm_job_uid(const struct store *store, const struct job *job);
/* Nobody waits for a server that can't be reached. */
void cvm_lane_fail(struct lane *lane, const char *why);
/* Completes and frees it. */
void cvm_job_end(struct store *store, struct job *job, cvm_answer_t answer, const char *text);

/* --- connect.c: in a thread ------------------------------------------------------------------- */

/* Connects the link, and looks at what it is connected to. */
void cvm_connect(struct link *link);

/* As far as to a server that takes writes. OK, or why holds the reason. */
cvm_answer_t cvm_connect_plain(struct link *link);

/* --- migrate.c -------------------------------------------------------------------------------- */

void cvm_store_migrate_tables(struct store *store, cvm_op_t *op, uint32_t how);

/* --- verbs ------------------------------------------------------------------------------------ */

/* change.c, load.c, read.c */
extern const struct verb CVM_CHANGE, CVM_META_PUT, CVM_LOAD, CVM_READY;
extern const struct verb CVM_GET, CVM_GET_CERTIFICATES, CVM_SCAN, CVM_VALUE, CVM_NOW;

/* --- store.c ---------------------------------------------------------------------------------- */

/* A link has connected, or failed to. */
void cvm_store_connected(struct store *store, const struct link *link);
/* It closes: links that have nothing more to do end, and with the last of them the store. */
void cvm_store_closed(struct store *store);
/* 62 random bits and at least 1; even. Any thread. */
int64_t cvm_store_random(void);

#endif
