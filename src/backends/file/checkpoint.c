/* The write-ahead log moves into the file: by the checkpointer's thread, beside the writer; and by
 * the writer itself when the log has become so long that it should begin anew. */
#include <stdio.h>
#include <stdlib.h>

#include "store.h"

#define PASSIVE_PAGES 1000  /* 4 MB: worth a checkpoint that waits for nobody */
#define LONG_PAGES    16000 /* 64 MB: the writer waits for it, so that the log begins anew */
#define TOLD_PAGES    64000 /* 256 MB: somebody should know */
#define PAGES_A_MB    256

int cvm_store_on_commit(void *argument, sqlite3 *sqlite, const char *name, int pages)
{
    struct store *store = argument;
    (void)sqlite;
    (void)name;
    int before = atomic_exchange(&store->wal_pages, pages);
    if (pages < PASSIVE_PAGES || before / PASSIVE_PAGES == pages / PASSIVE_PAGES)
        return SQLITE_OK;
    if (pages > LONG_PAGES) {
        store->must_restart_log = 1;
        return SQLITE_OK;
    }
    struct job *job = calloc(1, sizeof *job);
    if (job) /* else the next thousand pages will ask again */
        cvm_lane_put(&store->checkpoints, job);
    return SQLITE_OK;
}

static void checkpoint(struct store *store, struct db *db, int mode)
{
    int rc = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, mode, NULL, NULL);
    /* Busy, or no space in the file: the next one does it, and the log may still have room. */
    if (rc != SQLITE_OK && rc != SQLITE_BUSY && !cvm_db_is_full(db, rc))
        (void)cvm_store_judge(store, db, rc);
}

void cvm_store_checkpoint(struct store *store, struct job *first)
{
    while (first) {
        struct job *next = first->next;
        free(first);
        first = next;
    }
    (void)pthread_mutex_lock(&store->checkpointer_lock);
    if (!atomic_load(&store->is_broken))
        checkpoint(store, &store->checkpointer, SQLITE_CHECKPOINT_PASSIVE);
    (void)pthread_mutex_unlock(&store->checkpointer_lock);
}

/* Each time that it has doubled. */
static void complain_of_length(struct store *store)
{
    char line[160];
    int pages = atomic_load(&store->wal_pages);
    if (pages < TOLD_PAGES || pages < 2 * store->pages_told)
        return;
    store->pages_told = pages;
    (void)snprintf(line, sizeof line,
        "the store's log has grown to %d MB: another program has been reading the store for long, "
        "and the log can't begin anew before it ends",
        pages / PAGES_A_MB);
    store->host->log(store->context, CVM_LEVEL_WARNING, line);
}

/* It holds the writer's lock: a reader who is waited for would hold up every write. */
void cvm_store_restart_log(struct store *store)
{
    if (!store->must_restart_log || atomic_load(&store->is_broken))
        return;
    store->must_restart_log = 0;
    cvm_db_be_impatient(&store->writer);
    checkpoint(store, &store->writer, SQLITE_CHECKPOINT_RESTART);
    cvm_db_be_patient(&store->writer);
    complain_of_length(store);
}
