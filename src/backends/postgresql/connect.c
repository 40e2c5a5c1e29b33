/* Connecting, in a thread: DNS, TLS and the look at what is there may take their time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/at_exit.h"
#include "base/clock.h"
#include "schema.h"
#include "session.h"
#include "store.h"

#define MOST_PASSWORD 1024

/* What libpq says of what no second try makes better. It has no code for it (libpq 15). */
static const char *const HOPELESS[] = {"authentication failed", "does not exist",
    "no password supplied", "no pg_hba.conf entry", "pg_hba.conf rejects", "prepared statement",
    "permission denied", "invalid ", "certificate verify failed", "server does not support SSL",
    "could not read root certificate", "definition of service", "could not load private key"};

static cvm_answer_t connect_fail(struct link *link)
{
    const char *message = PQerrorMessage(link->connection);
    cvm_answer_t answer = CVM_ANSWER_UNAVAILABLE;
    for (size_t i = 0; i < sizeof HOPELESS / sizeof HOPELESS[0]; i++)
        if (strstr(message, HOPELESS[i]))
            answer = CVM_ANSWER_INVALID;
    int32_t is_pooled = strstr(message, "prepared statement") != NULL;
    (void)snprintf(link->why, sizeof link->why, "PostgreSQL: %.*s%s", (int)strcspn(message, "\n"),
        *message ? message : "no memory",
        is_pooled ? "; behind pgbouncer set postgresql.pgbouncer = on" : "");
    return answer;
}

/* The password is read anew each time: it may be another one by now. 0, or -1 and why. */
static int32_t connect_read_password(struct link *link, char password[MOST_PASSWORD])
{
    const struct store *store = link->lane->store;
    char error[160];
    if (store->host->secret(store->context, CVM_PROPERTY_PASSWORD, password, MOST_PASSWORD, error,
            sizeof error) >= 0)
        return 0;
    (void)snprintf(link->why, sizeof link->why, "PostgreSQL: %s", error);
    return -1;
}

static cvm_answer_t connect_begin(struct link *link)
{
    /* Those before dbname are what counts where the location says nothing; those behind it count
     * unless they are empty. */
    static const char *const NAMES[] = {"target_session_attrs", "connect_timeout",
        "fallback_application_name", "dbname", "client_encoding", "password", NULL};
    char password[MOST_PASSWORD];
    if (connect_read_password(link, password))
        return CVM_ANSWER_INVALID;
    const char *values[] = {
        "read-write", "5", "cvm", link->lane->store->location, "UTF8", password, NULL};
    link->connection = PQconnectdbParams(NAMES, values, 1);
    OPENSSL_cleanse(password, sizeof password);
    if (!link->connection || PQstatus(link->connection) != CONNECTION_OK)
        return connect_fail(link);
    (void)PQsetNoticeReceiver(link->connection, cvm_link_warned, link);
    return PQsetnonblocking(link->connection, 1) ? connect_fail(link) : CVM_ANSWER_OK;
}

static struct session connect_session(const struct link *link, int64_t most_ms)
{
    return (struct session){link->connection, most_ms ? cvm_monotonic_ms() + (uint64_t)most_ms : 0,
        &link->lane->store->is_closing};
}

/* Of what a statement did not answer as it should. */
static cvm_answer_t connect_fail_to(struct link *link, const PGresult *result)
{
    if (result)
        return connect_fail(link);
    (void)snprintf(link->why, sizeof link->why, "PostgreSQL does not answer");
    return CVM_ANSWER_UNAVAILABLE;
}

/* What is acknowledged must be on its disk: a role or a database may have its own settings. */
static cvm_answer_t connect_check_server(struct link *link)
{
    struct session session = connect_session(link, link->lane->store->timeout_ms);
    PGresult *result = cvm_session_run(&session,
        "SELECT " CVM_SQL_READ_ONLY ", current_setting('synchronous_commit') = 'off'"
        ", current_setting('transaction_isolation') <> 'read committed'");
    cvm_answer_t answer = CVM_ANSWER_OK;
    if (!result || PQresultStatus(result) != PGRES_TUPLES_OK) {
        answer = connect_fail_to(link, result);
    } else if (*PQgetvalue(result, 0, 0) == 't') {
        (void)snprintf(link->why, sizeof link->why, CVM_TEXT_READ_ONLY);
        answer = CVM_ANSWER_UNAVAILABLE;
    } else if (*PQgetvalue(result, 0, 1) == 't') {
        (void)snprintf(link->why, sizeof link->why,
            "PostgreSQL: synchronous_commit is off for this role or database: what is acknowledged "
            "could be lost");
        answer = CVM_ANSWER_INVALID;
    } else if (link->lane->store->is_pooled && *PQgetvalue(result, 0, 2) == 't') {
        (void)snprintf(link->why, sizeof link->why,
            "PostgreSQL: transactions are not `read committed` by default for this role or "
            "database, and through pgbouncer that can't be set");
        answer = CVM_ANSWER_INVALID;
    }
    PQclear(result);
    return answer;
}

cvm_answer_t cvm_connect_plain(struct link *link)
{
    cvm_answer_t answer = connect_begin(link);
    return answer == CVM_ANSWER_OK ? connect_check_server(link) : answer;
}

/* A server that is being made waits for who else makes it, however long. */
static cvm_answer_t connect_check_schema(struct link *link)
{
    const struct store *store = link->lane->store;
    struct session session = connect_session(link, store->may_create ? 0 : store->timeout_ms);
    char why[160] = "";
    cvm_answer_t answer = CVM_ANSWER_OK;
    if (store->may_create && !cvm_schema_is_there(&session, store->schema))
        answer = cvm_schema_migrate(&session, store->schema, why, sizeof why);
    if (answer == CVM_ANSWER_OK)
        answer = cvm_schema_check(&session, store->schema, why, sizeof why);
    if (answer != CVM_ANSWER_OK)
        (void)snprintf(link->why, sizeof link->why, "PostgreSQL: %s", why);
    return answer;
}

/* A statement has to see what was committed while it waited for a lock. And it is planned once,
 * while the tables may be empty, so its plan must go by an index. */
static const char SESSION[] = "SET default_transaction_isolation = 'read committed';"
                              " SET plan_cache_mode = force_generic_plan;"
                              " SET enable_seqscan = off; SET enable_bitmapscan = off;"
                              " SET max_parallel_workers_per_gather = 0; SET jit = off";

/* Once this end is given up, the server's is to end what it waits in: no matter if it can't. */
static cvm_answer_t connect_set_session(struct link *link)
{
    struct session session = connect_session(link, link->lane->store->timeout_ms);
    if (link->lane->store->is_pooled)
        return CVM_ANSWER_OK;
    PGresult *result = cvm_session_run(&session, SESSION);
    int32_t is_set = result && PQresultStatus(result) == PGRES_COMMAND_OK;
    cvm_answer_t answer = is_set ? CVM_ANSWER_OK : connect_fail_to(link, result);
    PQclear(result);
    if (answer != CVM_ANSWER_OK)
        return answer;
    result = cvm_session_run(&session, "SET client_connection_check_interval = '2s'");
    answer = result ? CVM_ANSWER_OK : connect_fail_to(link, NULL);
    PQclear(result);
    return answer;
}

/* All at once, before anything else is asked. */
static cvm_answer_t connect_prepare(struct link *link)
{
    const struct store *store = link->lane->store;
    struct session session = connect_session(link, store->timeout_ms);
    PGconn *connection = link->connection;
    char name[CVM_STATEMENT_NAME_SIZE];
    int32_t has_failed = !PQenterPipelineMode(connection);
    for (enum statement i = 0; i < STATEMENT_COUNT && !store->is_pooled && !has_failed; i++)
        has_failed =
            !PQsendPrepare(connection, cvm_statement_name(i, name), store->texts[i], 0, NULL);
    if (has_failed || !PQpipelineSync(connection))
        return connect_fail(link);
    for (int32_t is_done = 0; !is_done;) {
        if (cvm_session_wait(&session))
            return connect_fail_to(link, NULL);
        PGresult *result = PQgetResult(connection);
        is_done = result && PQresultStatus(result) == PGRES_PIPELINE_SYNC;
        if (result && PQresultStatus(result) == PGRES_FATAL_ERROR) {
            PQclear(result);
            return connect_fail(link);
        }
        PQclear(result);
    }
    return CVM_ANSWER_OK;
}

void cvm_connect(struct link *link)
{
    cvm_at_exit_enter();
    link->answer = cvm_connect_plain(link);
    if (link->answer == CVM_ANSWER_OK)
        link->answer = connect_check_schema(link);
    if (link->answer == CVM_ANSWER_OK)
        link->answer = connect_set_session(link);
    if (link->answer == CVM_ANSWER_OK)
        link->answer = connect_prepare(link);
    cvm_at_exit_leave();
}
