/* Writes sorted rows in chunks, one transaction each, with room for a running server between them.
 */
#include "import_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "cli.h"
#include "interrupt.h"

/* A server beside an import answered with p99 22 ms at these two; in one transaction it stood
 * still. */
#define CHUNK_ROWS 2000
#define PAUSE_MS   2

#define TRIES          6
#define FIRST_RETRY_MS 100
#define LAST_RETRY_MS  5000
/* A busy store makes a try take 10 s by itself. */
#define MOST_MS     30000
#define PATIENCE_MS 3000

#define WHAT_IS_WRITTEN                                                                            \
    "%" PRIu64 " of %" PRIu64 " rows are written: run the same import again, it goes on there"

struct writer {
    struct import_output *output;
    cvm_batch_t *batch; /* on its way to the store */
    cvm_batch_t *next;  /* filled meanwhile */
    int32_t tries, is_done, code, may_retry, has_said_so;
    uint32_t retry_ms;
    int64_t begun_ms; /* the chunk's first try */
};

static void count_rows(struct import_output *output, const cvm_batch_t *batch)
{
    for (uint32_t i = 0; i < cvm_batch_count(batch); i++) {
        int32_t row = cvm_batch_row(batch, i);
        if (row < CVM_ROW_INSERTED || row > CVM_ROW_REPLACED)
            continue;
        output->became[row]++;
        if (row == CVM_ROW_CONFLICT && notes_next(&output->conflicts))
            (void)cli_fail(0, "%s: has another token; it was kept (--replace-tokens replaces it)",
                cvm_batch_uid(batch, i));
    }
    output->written += cvm_batch_count(batch);
}

/* Notes how a try failed. The last one's reason is printed. */
static void try_failed(struct writer *writer, const cvm_error_t *error)
{
    const uint32_t wanted_s = cvm_error_retry_after_s(error);
    const uint32_t wanted_ms = wanted_s < LAST_RETRY_MS / 1000 ? wanted_s * 1000 : LAST_RETRY_MS;
    writer->is_done = 1;
    writer->may_retry = cvm_error_retryable(error) && writer->tries < TRIES &&
                        cli_now_ms() - writer->begun_ms < MOST_MS;
    writer->code = cvm_error_retryable(error) ? EX_TEMPFAIL : cli_code_of(error);
    if (wanted_ms > writer->retry_ms)
        writer->retry_ms = wanted_ms;
    if (writer->may_retry)
        return;
    progress_clear(writer->output->progress);
    (void)cli_fail(0, "%s; " WHAT_IS_WRITTEN, cvm_error_text(error), writer->output->written,
        writer->output->expected);
}

static void imported(void *user_data, const cvm_error_t *error, cvm_batch_t *batch)
{
    struct writer *writer = user_data;
    writer->is_done = 1;
    if (error)
        try_failed(writer, error);
    else
        count_rows(writer->output, batch);
}

static void start_chunk(struct writer *writer)
{
    struct import_output *output = writer->output;
    writer->is_done = writer->code = writer->may_retry = 0;
    writer->tries++;
    cvm_error_t *error =
        cvm_import(output->cvm, writer->batch, output->replaces_tokens, imported, writer);
    if (error)
        try_failed(writer, error);
    cvm_error_free(error);
}

/* Somebody at the terminal should know why nothing moves. */
static void wait_for_try(struct writer *writer)
{
    while (!cli_run_for(writer->output->cvm, &writer->is_done, PATIENCE_MS)) {
        if (writer->has_said_so)
            continue;
        writer->has_said_so = 1;
        progress_clear(writer->output->progress);
        (void)cli_fail(0, "waiting for the store: another program is writing to it");
    }
}

/* Waits for the batch that was started, with tries again where that may help: a chunk that was
 * written unknown to us is found unchanged. 0 or an exit code. */
static int32_t finish_chunk(struct writer *writer)
{
    wait_for_try(writer);
    while (writer->may_retry) {
        cvm_sleep_us(writer->retry_ms * 1000); /* less, if a signal comes */
        writer->retry_ms *= 2;
        start_chunk(writer);
        wait_for_try(writer);
    }
    writer->tries = 0;
    writer->retry_ms = FIRST_RETRY_MS;
    return writer->code;
}

/* Fills the next batch. 0, or an exit code after saying why; an empty batch is the end. */
static int32_t fill_next(struct writer *writer)
{
    struct import_row row;
    char hash[2 * IMPORT_HASH_BYTES + 1];
    cvm_error_free(cvm_batch_clear(writer->next));
    while (cvm_batch_count(writer->next) < CHUNK_ROWS) {
        int32_t found = import_sort_next(writer->output->sort, &row);
        if (found < 0)
            return cli_fail(EX_TEMPFAIL, "the sorted rows can't be read: %s", strerror(errno));
        if (!found)
            return 0;
        if (row.duplicate_of || (row.flag == IMPORT_UNSAID && writer->output->leaves_unsaid))
            continue;
        cvm_hex(row.hash, sizeof row.hash, hash);
        cvm_error_t *error =
            cvm_batch_add(writer->next, row.uid, hash, row.flag != IMPORT_DISABLED);
        if (error)
            return cli_error(row.uid, error);
    }
    return 0;
}

/* Writes what fill_next() has left while the next batch is filled. */
static int32_t write_chunk(struct writer *writer)
{
    struct import_output *output = writer->output;
    cvm_batch_t *filled = writer->next;
    writer->next = writer->batch;
    writer->batch = filled;
    writer->begun_ms = cli_now_ms();
    start_chunk(writer);
    const int32_t fill_code = fill_next(writer);
    const int32_t code = finish_chunk(writer);
    progress_at(output->progress, output->written, output->expected, output->written);
    cvm_sleep_us(PAUSE_MS * 1000);
    return code ? code : fill_code;
}

static int32_t write_all(struct writer *writer)
{
    int32_t code = fill_next(writer);
    while (!code && cvm_batch_count(writer->next) && !interrupt_came())
        code = write_chunk(writer);
    if (code || !cvm_batch_count(writer->next))
        return code;
    progress_clear(writer->output->progress);
    return cli_fail(EX_TEMPFAIL, "interrupted; " WHAT_IS_WRITTEN, writer->output->written,
        writer->output->expected);
}

int32_t import_write(struct import_output *output)
{
    struct writer writer = {
        .output = output,
        .batch = cvm_batch_new(CHUNK_ROWS),
        .next = cvm_batch_new(CHUNK_ROWS),
        .retry_ms = FIRST_RETRY_MS,
    };
    int32_t code;
    progress_phase(output->progress, "writing");
    if (writer.batch && writer.next) {
        cvm_error_free(cvm_batch_set_part(writer.batch, 1));
        cvm_error_free(cvm_batch_set_part(writer.next, 1));
    }
    if (!writer.batch || !writer.next)
        code = cli_fail(EX_OSERR, "out of memory");
    else if (import_sort_rewind(output->sort))
        code = cli_fail(EX_TEMPFAIL, "the sorted rows can't be read: %s", strerror(errno));
    else
        code = write_all(&writer);
    notes_end(&output->conflicts);
    progress_clear(output->progress);
    cvm_batch_free(writer.batch);
    cvm_batch_free(writer.next);
    return code;
}
