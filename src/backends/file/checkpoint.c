/* The checkpointer: moves the write-ahead log into the file, beside the writer. */
#include <stdlib.h>

#include "store.h"

#define PASSIVE_PAGES 1000  /* 4 MB: worth a checkpoint that waits for nobody */
#define FORCED_PAGES  16000 /* 64 MB: readers and writers wait, so that the log starts anew */

int cvm_store_on_commit(void *argument, sqlite3 *sqlite, const char *name, int pages)
{
    struct store *store = argument;
    (void)sqlite;
    (void)name;
    int before = atomic_exchange(&store->wal_pages, pages);
    if (pages < PASSIVE_PAGES || before / PASSIVE_PAGES == pages / PASSIVE_PAGES)
        return SQLITE_OK;
    struct job *job = calloc(1, sizeof *job);
    if (job) /* else the next thousand pages will ask again */
        cvm_lane_put(&store->checkpoints, job);
    return SQLITE_OK;
}

void cvm_store_checkpoint(struct store *store, struct job *first)
{
    while (first) {
        struct job *next = first->next;
        free(first);
        first = next;
    }
    if (atomic_load(&store->is_broken))
        return;
    int mode = atomic_load(&store->wal_pages) > FORCED_PAGES ? SQLITE_CHECKPOINT_RESTART
                                                             : SQLITE_CHECKPOINT_PASSIVE;
    int rc = sqlite3_wal_checkpoint_v2(store->checkpointer.sqlite, NULL, mode, NULL, NULL);
    /* Busy, or no space in the file: the next one does it, and the log may still have room. */
    if (rc != SQLITE_OK && rc != SQLITE_BUSY && !cvm_db_is_full(&store->checkpointer, rc))
        (void)cvm_store_judge(store, &store->checkpointer, rc);
}
