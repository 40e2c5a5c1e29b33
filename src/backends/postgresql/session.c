/* libpq without its waiting: that knows no end. */
#include "session.h"

#include <poll.h>

#include "base/clock.h"

#define LOOK_MS 100 /* how often is looked whether it must stop */

static int32_t session_is_over(const struct session *session)
{
    return atomic_load(session->must_stop) ||
           (session->until_ms && cvm_monotonic_ms() >= session->until_ms);
}

/* Until the socket is ready, for a while. 0, or -1 if it is too late. */
static int32_t session_poll(const struct session *session, short events)
{
    struct pollfd ready = {.fd = PQsocket(session->connection), .events = events};
    while (!session_is_over(session))
        if (poll(&ready, 1, LOOK_MS) > 0)
            return 0;
    return -1;
}

int32_t cvm_session_wait(struct session *session)
{
    int left;
    while ((left = PQflush(session->connection)) > 0 || PQisBusy(session->connection)) {
        if (left < 0 || session_poll(session, left ? POLLIN | POLLOUT : POLLIN) ||
            !PQconsumeInput(session->connection))
            return -1;
    }
    return left < 0 ? -1 : 0;
}

PGresult *cvm_session_run(struct session *session, const char *text)
{
    PGresult *last = NULL, *result;
    if (!PQsendQuery(session->connection, text))
        return NULL;
    do {
        if (cvm_session_wait(session)) {
            PQclear(last);
            return NULL;
        }
        result = PQgetResult(session->connection);
        if (result && (!last || PQresultStatus(last) != PGRES_FATAL_ERROR)) {
            PQclear(last);
            last = result;
        } else {
            PQclear(result);
        }
    } while (result);
    return last;
}
