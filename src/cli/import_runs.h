/* Sorted runs of packed rows in one unlinked temporary file, and their merge. */
#ifndef CVM_CLI_IMPORT_RUNS_H
#define CVM_CLI_IMPORT_RUNS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct import_run {
    off_t begin, end;
    off_t at;        /* what is read next */
    uint8_t *buffer; /* a share of the memory that the merge was given */
    size_t size, from, to;
};

struct import_runs {
    const char *directory;
    int fd; /* -1: no file yet */
    off_t length;
    struct import_run *runs;
    uint32_t count, room;
    uint8_t *staged; /* rows on their way to the file */
    size_t staged_length;
    uint32_t *heap; /* runs with rows left, that with the smallest row first */
    uint32_t heap_count;
    int32_t is_top_used;
};

void import_runs_init(struct import_runs *runs, const char *directory);
void import_runs_clear(struct import_runs *runs);

/* Writes a run: begin, then its rows in order, then end. 0, or -1 with errno. */
int32_t import_runs_begin(struct import_runs *runs);
int32_t import_runs_put(struct import_runs *runs, const uint8_t *packed);
int32_t import_runs_end(struct import_runs *runs);

/* Starts a merge of all runs in size bytes of the caller's memory. 0, or -1 with errno. */
int32_t import_runs_merge(struct import_runs *runs, uint8_t *memory, size_t size);
/* The next packed row, good until the next call: 1, 0 at the end, -1 with errno. */
int32_t import_runs_next(struct import_runs *runs, const uint8_t **packed);

#endif
