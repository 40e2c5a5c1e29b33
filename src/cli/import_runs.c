/* Sorted runs in a temporary file and their k-way merge by a heap. What rows mean is elsewhere. */
#include "import_runs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compat.h"
#include "import_pack.h"

#define STAGED_SIZE ((size_t)256 * 1024)
/* Less than this for a run, and the merge would read row by row. */
#define SMALLEST_SHARE ((size_t)2 * PACKED_LONGEST)

void import_runs_init(struct import_runs *runs, const char *directory)
{
    *runs = (struct import_runs){.directory = directory, .fd = -1};
}

void import_runs_clear(struct import_runs *runs)
{
    if (runs->fd >= 0)
        (void)close(runs->fd);
    free(runs->runs);
    free(runs->staged);
    free(runs->heap);
    import_runs_init(runs, NULL);
}

/* A file without a name. Some file systems know no O_TMPFILE. */
static int open_temporary(const char *directory)
{
    char path[4096];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    int length = snprintf(path, sizeof path, "%s/cvm-import-XXXXXX", directory);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

static int32_t prepare_file(struct import_runs *runs)
{
    if (runs->fd < 0)
        runs->fd = open_temporary(runs->directory);
    if (!runs->staged)
        runs->staged = malloc(STAGED_SIZE);
    return runs->fd >= 0 && runs->staged ? 0 : -1;
}

int32_t import_runs_begin(struct import_runs *runs)
{
    if (prepare_file(runs))
        return -1;
    if (runs->count == runs->room) {
        uint32_t room = runs->room ? 2 * runs->room : 16;
        struct import_run *larger = realloc(runs->runs, room * sizeof *larger);
        if (!larger)
            return -1;
        runs->runs = larger;
        runs->room = room;
    }
    runs->runs[runs->count++] = (struct import_run){.begin = runs->length};
    return 0;
}

static int32_t flush(struct import_runs *runs)
{
    for (size_t done = 0; done < runs->staged_length;) {
        ssize_t n = write(runs->fd, runs->staged + done, runs->staged_length - done);
        if (n < 0 && errno != EINTR)
            return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    runs->length += (off_t)runs->staged_length;
    runs->staged_length = 0;
    return 0;
}

int32_t import_runs_put(struct import_runs *runs, const uint8_t *packed)
{
    size_t size = packed_size(packed);
    if (runs->staged_length + size > STAGED_SIZE && flush(runs))
        return -1;
    memcpy(runs->staged + runs->staged_length, packed, size);
    runs->staged_length += size;
    return 0;
}

int32_t import_runs_end(struct import_runs *runs)
{
    if (flush(runs))
        return -1;
    runs->runs[runs->count - 1].end = runs->length;
    return 0;
}

/* Reads on, so that the run's next row is whole in its buffer. */
static int32_t fill(struct import_runs *runs, struct import_run *run)
{
    memmove(run->buffer, run->buffer + run->from, run->to - run->from);
    run->to -= run->from;
    run->from = 0;
    while (run->to < run->size && run->at < run->end) {
        size_t room = run->size - run->to;
        if ((off_t)room > run->end - run->at)
            room = (size_t)(run->end - run->at);
        ssize_t n = pread(runs->fd, run->buffer + run->to, room, run->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : EIO;
            return -1;
        }
        run->to += (size_t)n;
        run->at += n;
    }
    return 0;
}

static int32_t fill_if_short(struct import_runs *runs, struct import_run *run)
{
    if (run->to - run->from >= PACKED_LONGEST || run->at == run->end)
        return 0;
    return fill(runs, run);
}

static const uint8_t *row_of(const struct import_runs *runs, uint32_t place)
{
    const struct import_run *run = &runs->runs[runs->heap[place]];
    return run->buffer + run->from;
}

static void sift_down(struct import_runs *runs, uint32_t place)
{
    for (;;) {
        uint32_t least = place;
        for (uint32_t child = 2 * place + 1; child <= 2 * place + 2; child++)
            if (child < runs->heap_count &&
                packed_compare(row_of(runs, child), row_of(runs, least)) < 0)
                least = child;
        if (least == place)
            return;
        uint32_t moved = runs->heap[place];
        runs->heap[place] = runs->heap[least];
        runs->heap[least] = moved;
        place = least;
    }
}

int32_t import_runs_merge(struct import_runs *runs, uint8_t *memory, size_t size)
{
    size_t share = size / runs->count;
    if (share < SMALLEST_SHARE) {
        errno = ENOMEM;
        return -1;
    }
    free(runs->heap);
    runs->heap = calloc(runs->count, sizeof *runs->heap);
    if (!runs->heap)
        return -1;
    for (uint32_t i = 0; i < runs->count; i++) {
        struct import_run *run = &runs->runs[i];
        *run = (struct import_run){.begin = run->begin, .end = run->end, .at = run->begin};
        run->buffer = memory + i * share;
        run->size = share;
        if (fill(runs, run))
            return -1;
        runs->heap[i] = i;
    }
    runs->is_top_used = 0;
    runs->heap_count = runs->count;
    for (uint32_t i = runs->count / 2; i-- > 0;)
        sift_down(runs, i);
    return 0;
}

/* Goes past the row that was handed out last. */
static int32_t drop_top(struct import_runs *runs)
{
    struct import_run *run = &runs->runs[runs->heap[0]];
    run->from += packed_size(run->buffer + run->from);
    if (fill_if_short(runs, run))
        return -1;
    if (run->from == run->to)
        runs->heap[0] = runs->heap[--runs->heap_count];
    sift_down(runs, 0);
    return 0;
}

int32_t import_runs_next(struct import_runs *runs, const uint8_t **packed)
{
    if (runs->is_top_used && drop_top(runs))
        return -1;
    runs->is_top_used = runs->heap_count > 0;
    if (!runs->heap_count)
        return 0;
    *packed = row_of(runs, 0);
    return 1;
}
