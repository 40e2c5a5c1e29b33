/* `cvm store migrate`: on a connection of its own, in a thread. */
#include <stdio.h>
#include <stdlib.h>

#include "base/at_exit.h"
#include "schema.h"
#include "store.h"

struct migration {
    struct link link; /* as far as connecting needs one */
    struct lane lane;
    cvm_op_t *op;
    uint32_t how;
    cvm_answer_t answer;
    char *statements;
    char text[CVM_JOB_TEXT];
};

static void migrate_work(void *argument)
{
    struct migration *migration = argument;
    const struct store *store = migration->lane.store;
    cvm_at_exit_enter();
    migration->answer = cvm_connect_plain(&migration->link);
    struct session session = {migration->link.connection, 0, &store->is_closing};
    if (migration->answer != CVM_ANSWER_OK)
        (void)snprintf(migration->text, sizeof migration->text, "%s", migration->link.why);
    else if (migration->how & CVM_MIGRATE_PRINT)
        migration->answer = cvm_schema_print(&session, store->schema, &migration->statements,
            migration->text, sizeof migration->text);
    else
        migration->answer =
            cvm_schema_migrate(&session, store->schema, migration->text, sizeof migration->text);
    PQfinish(session.connection);
    cvm_at_exit_leave();
}

static void migrate_done(void *argument)
{
    struct migration *migration = argument;
    const cvm_host_t *host = migration->lane.store->host;
    const char *value = migration->statements ? migration->statements : migration->text;
    int32_t failed = migration->answer == CVM_ANSWER_OK &&
                     host->op_set_text(migration->op, CVM_OUT_VALUE, value);
    host->complete(migration->op, failed ? CVM_ANSWER_UNAVAILABLE : migration->answer,
        failed ? "out of memory" : migration->text);
    free(migration->statements);
    free(migration);
}

void cvm_store_migrate_tables(struct store *store, cvm_op_t *op, uint32_t how)
{
    struct migration *migration = calloc(1, sizeof *migration);
    if (migration) {
        migration->lane.store = store;
        migration->link.lane = &migration->lane;
        migration->op = op;
        migration->how = how;
        if (!store->host->run(store->context, migrate_work, migrate_done, migration))
            return;
    }
    free(migration);
    store->host->complete(op, CVM_ANSWER_UNAVAILABLE, "out of memory");
}
