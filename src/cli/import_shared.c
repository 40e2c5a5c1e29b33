/* By fingerprints, 64 bits of each token's hash, that are sorted: of ten million rows two different
 * tokens have the same one with a chance of 1 in 370,000. What does not fit is looked at in several
 * passes, each over a share of all fingerprints. */
#include "import_shared.h"

#include <stdlib.h>
#include <string.h>

#define MOST_IN_A_PASS ((uint64_t)8 * 1024 * 1024) /* 64 MiB */

struct finder {
    struct import_sort *sort;
    uint64_t *prints; /* of this pass; then of those that are there twice */
    uint64_t *lines;  /* of the first row with that fingerprint */
    size_t count, room;
    import_shared_cb callback;
    void *argument;
};

static uint64_t print_of(const struct import_row *row)
{
    uint64_t print;
    memcpy(&print, row->hash, sizeof print);
    return print;
}

static int compare_prints(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return one < other ? -1 : one > other;
}

/* The next row that counts: 1, 0 at the end, -1 with errno. */
static int32_t next_row(struct import_sort *sort, struct import_row *row)
{
    int32_t found;
    do
        found = import_sort_next(sort, row);
    while (found > 0 && row->duplicate_of);
    return found;
}

/* Gathers the fingerprints of a pass. */
static int32_t shared_gather(struct finder *finder, uint64_t pass, uint64_t passes)
{
    struct import_row row;
    int32_t found;
    finder->count = 0;
    if (import_sort_rewind(finder->sort))
        return -1;
    while ((found = next_row(finder->sort, &row)) > 0) {
        uint64_t print = print_of(&row);
        if (print % passes != pass)
            continue;
        if (finder->count == finder->room) { /* hashes are spread evenly, but not quite */
            size_t room = finder->room + finder->room / 8 + 1024;
            uint64_t *more = realloc(finder->prints, room * sizeof *more);
            if (!more)
                return -1;
            finder->prints = more;
            finder->room = room;
        }
        finder->prints[finder->count++] = print;
    }
    return found;
}

/* Leaves those that are there more than once, each once. */
static void keep_shared(struct finder *finder)
{
    size_t kept = 0;
    if (!finder->count)
        return;
    qsort(finder->prints, finder->count, sizeof *finder->prints, compare_prints);
    for (size_t i = 1; i < finder->count; i++)
        if (finder->prints[i] == finder->prints[i - 1] &&
            (!kept || finder->prints[kept - 1] != finder->prints[i]))
            finder->prints[kept++] = finder->prints[i];
    finder->count = kept;
}

static int32_t shared_tell(struct finder *finder)
{
    struct import_row row;
    int32_t found;
    finder->lines = calloc(finder->count, sizeof *finder->lines);
    if (!finder->lines || import_sort_rewind(finder->sort))
        return -1;
    while ((found = next_row(finder->sort, &row)) > 0) {
        uint64_t print = print_of(&row);
        const uint64_t *shared =
            bsearch(&print, finder->prints, finder->count, sizeof print, compare_prints);
        uint64_t *first = shared ? &finder->lines[shared - finder->prints] : NULL;
        if (first && *first)
            finder->callback(finder->argument, &row, *first);
        else if (first)
            *first = row.line;
    }
    return found;
}

int32_t import_shared_find(
    struct import_sort *sort, uint64_t rows, import_shared_cb callback, void *argument)
{
    struct finder finder = {.sort = sort, .callback = callback, .argument = argument};
    uint64_t passes = rows / MOST_IN_A_PASS + 1;
    int32_t failed = 0;
    if (rows < 2)
        return 0;
    for (uint64_t pass = 0; pass < passes && !failed; pass++) {
        failed = shared_gather(&finder, pass, passes);
        if (failed)
            break;
        keep_shared(&finder);
        if (finder.count)
            failed = shared_tell(&finder);
        free(finder.lines);
        finder.lines = NULL;
    }
    free(finder.prints);
    return failed ? -1 : 0;
}
