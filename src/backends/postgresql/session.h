/* A connection (which does not block) while it is a thread's: what is asked on it waits no longer
 * than it may. */
#ifndef CVM_POSTGRESQL_SESSION_H
#define CVM_POSTGRESQL_SESSION_H

#include <stdatomic.h>
#include <stdint.h>

#include <libpq-fe.h>

struct session {
    PGconn *connection;
    uint64_t until_ms;           /* by the monotonic clock; 0: as long as it takes */
    const atomic_int *must_stop; /* somebody wants an end */
};

/* Runs one statement. NULL if the connection is lost, or it is too late: then it is of no use any
 * more. */
PGresult *cvm_session_run(struct session *session, const char *text);
/* Waits until a result of the pipeline's can be had without blocking. 0, or -1. */
int32_t cvm_session_wait(struct session *session);

#endif
