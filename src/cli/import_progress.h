/* The progress bar of an import, on a terminal only, and the lines that are printed beside it. */
#ifndef CVM_CLI_IMPORT_PROGRESS_H
#define CVM_CLI_IMPORT_PROGRESS_H

#include <stdint.h>

struct import_progress {
    int32_t is_terminal, is_drawn;
    const char *phase;
    int64_t drawn_ms;
};

void import_progress_init(struct import_progress *progress);
/* Names what comes; done of total count from here. */
void import_progress_phase(struct import_progress *progress, const char *phase);
/* Draws, a few times a second at most. total 0: not known. rows: shown as a count. */
void import_progress_at(
    struct import_progress *progress, uint64_t done, uint64_t total, uint64_t rows);
/* Takes the bar away, so that a line can be printed. */
void import_progress_clear(struct import_progress *progress);

/* A kind of message that can come a million times: the first ones are printed, the rest are
 * counted. */
struct import_notes {
    struct import_progress *progress;
    const char *what; /* "bad lines" */
    uint64_t most, count;
};

/* Counts one. 1 if it is to be printed; the bar is out of the way then. */
int32_t import_notes_next(struct import_notes *notes);
/* Says how many were not printed. */
void import_notes_end(struct import_notes *notes);

#endif
