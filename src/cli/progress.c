/* The progress bar of what takes long, and messages that are capped. */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli.h"

#define REDRAW_MS 100
#define BAR_WIDTH 30

void progress_init(struct progress *progress)
{
    *progress =
        (struct progress){.is_terminal = isatty(STDERR_FILENO), .phase = "", .unit = "rows"};
}

void progress_phase(struct progress *progress, const char *phase)
{
    progress_clear(progress);
    progress->phase = phase;
    progress->drawn_ms = 0;
}

static void draw_bar(uint64_t done, uint64_t total)
{
    uint64_t filled = done < total ? done * BAR_WIDTH / total : BAR_WIDTH;
    uint64_t percent = done < total ? done * 100 / total : 100;
    (void)fputc('[', stderr);
    for (uint64_t i = 0; i < BAR_WIDTH; i++)
        (void)fputc(i < filled ? '#' : '.', stderr);
    (void)fprintf(stderr, "] %3" PRIu64 " %%, ", percent);
}

void progress_at(struct progress *progress, uint64_t done, uint64_t total, uint64_t rows)
{
    int64_t now;
    if (!progress->is_terminal || (now = cli_now_ms()) < progress->drawn_ms + REDRAW_MS)
        return;
    progress->drawn_ms = now;
    progress->is_drawn = 1;
    (void)fprintf(stderr, "\r%-8s ", progress->phase);
    if (total)
        draw_bar(done, total);
    (void)fprintf(stderr, "%" PRIu64 " %s ", rows, progress->unit);
    (void)fflush(stderr);
}

void progress_clear(struct progress *progress)
{
    if (progress->is_drawn)
        (void)fputs("\r\033[K", stderr);
    progress->is_drawn = 0;
}

int32_t notes_next(struct notes *notes)
{
    if (notes->count++ >= notes->most)
        return 0;
    progress_clear(notes->progress);
    return 1;
}

void notes_end(struct notes *notes)
{
    if (notes->count <= notes->most)
        return;
    progress_clear(notes->progress);
    (void)cli_fail(0, "… and %" PRIu64 " more %s", notes->count - notes->most, notes->what);
}
