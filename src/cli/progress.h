/* The progress bar of what takes long, on a terminal only, and the lines that are printed beside
 * it. */
#ifndef CVM_CLI_PROGRESS_H
#define CVM_CLI_PROGRESS_H

#include <stdint.h>

struct progress {
    int32_t is_terminal, is_drawn;
    const char *phase, *unit; /* of what is counted: "rows" unless it is set */
    int64_t drawn_ms;
};

void progress_init(struct progress *progress);
/* Names what comes; done of total count from here. */
void progress_phase(struct progress *progress, const char *phase);
/* Draws, a few times a second at most. total 0: not known. rows: shown as a count. */
void progress_at(struct progress *progress, uint64_t done, uint64_t total, uint64_t rows);
/* Takes the bar away, so that a line can be printed. */
void progress_clear(struct progress *progress);

/* A kind of message that can come a million times: the first ones are printed, the rest are
 * counted. */
struct notes {
    struct progress *progress;
    const char *what; /* "bad lines" */
    uint64_t most, count;
};

/* Counts one. 1 if it is to be printed; the bar is out of the way then. */
int32_t notes_next(struct notes *notes);
/* Says how many were not printed. */
void notes_end(struct notes *notes);

#endif
