/* Reads the input in blocks, line by line into the sorter; then looks in its order for what is
 * wrong beside other lines. */
#include "import_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/hex.h"
#include "cli.h"
#include "import_csv.h"
#include "import_json.h"
#include "import_lines.h"
#include "import_shared.h"
#include "interrupt.h"

#define BLOCK_SIZE ((size_t)1024 * 1024)

struct reader {
    struct import_input *input;
    int fd;
    uint64_t size, done; /* bytes; size 0: not known */
    char *block;
    struct import_lines lines;
    EVP_MD_CTX *digest;
    struct import_csv csv;
    int32_t is_json, has_begun; /* the first line is behind */
};

static void complain(struct import_input *input, uint64_t line, const char *complaint)
{
    if (notes_next(&input->bad))
        (void)cli_fail(0, "%s:%" PRIu64 ": %s", input->name, line, complaint);
}

static int32_t sorting_failed(const struct import_input *input)
{
    return cli_fail(EX_TEMPFAIL, "the rows can't be sorted in %s: %s; TMPDIR names another folder",
        input->folder, strerror(errno));
}

/* Without its header nothing in a file means anything. */
static int32_t take_header(struct reader *reader, struct import_line *line)
{
    const char *complaint = line->complaint;
    if (!complaint)
        complaint =
            import_csv_header(&reader->csv, line->text, reader->input->check->secret != NULL);
    if (!complaint)
        return 0;
    complain(reader->input, line->number, complaint);
    return EX_DATAERR;
}

/* One object or one array over many lines would be as many complaints. */
static int32_t check_json(const struct reader *reader, const struct import_line *line)
{
    const char *name = reader->input->name;
    const char *first = line->text + strspn(line->text, " \t");
    size_t length = line->length;
    while (length && strchr(" \t", line->text[length - 1]))
        length--;
    int32_t is_array = *first == '[', is_item = length > 1 && line->text[length - 1] == ',';
    if (line->complaint || (is_item && line->text[length - 2] == '}') ||
        (!is_array && (*first != '{' || line->text[length - 1] == '}')))
        return 0;
    return cli_fail(EX_DATAERR,
        "%s: is %s; an import reads one object a line: `jq -c '%s' %s > devices.jsonl` makes such "
        "lines",
        name, is_array ? "a JSON array" : "JSON over several lines", is_array ? ".[]" : ".", name);
}

static int32_t take_row(struct reader *reader, struct import_line *line)
{
    struct import_fields fields = {0};
    struct import_row row = {.line = line->number, .flag = IMPORT_UNSAID};
    struct cJSON *object = NULL;
    const char *complaint = line->complaint;
    int32_t code = 0;
    if (!complaint)
        complaint = reader->is_json ? import_json_line(line->text, line->length, &fields, &object)
                                    : import_csv_line(&reader->csv, line->text, &fields);
    if (!complaint && !reader->is_json && !fields.uid)
        return 0; /* the line is empty */
    if (!complaint)
        complaint = import_check_row(reader->input->check, &fields, &row);
    reader->input->says_flags |= fields.is_enabled && row.flag != IMPORT_UNSAID;
    if (complaint)
        complain(reader->input, line->number, complaint);
    else if (import_sort_add(reader->input->sort, &row))
        code = sorting_failed(reader->input);
    else
        reader->input->good++;
    import_json_forget(object);
    return code;
}

static int32_t take_line(struct reader *reader, struct import_line *line)
{
    int32_t is_first = !reader->has_begun;
    reader->has_begun = 1;
    if (is_first && !reader->is_json)
        return take_header(reader, line);
    int32_t code = is_first ? check_json(reader, line) : 0;
    return code ? code : take_row(reader, line);
}

static int32_t finish_digest(struct reader *reader)
{
    uint8_t digest[32];
    if (!EVP_DigestFinal_ex(reader->digest, digest, NULL))
        return cli_fail(EX_OSERR, "out of memory");
    cvm_hex(digest, sizeof digest, reader->input->sha256);
    return 0;
}

/* The next block's length, 0 at the end, -1 after saying why. */
static ssize_t read_block(struct reader *reader)
{
    ssize_t n;
    do
        n = read(reader->fd, reader->block, BLOCK_SIZE);
    while (n < 0 && errno == EINTR && !interrupt_came());
    if (n < 0 && interrupt_came())
        return 0;
    if (n < 0)
        (void)cli_fail(0, "%s: %s", reader->input->name, strerror(errno));
    return n;
}

/* What no line alone shows. */
static int32_t check_columns(struct reader *reader)
{
    const char *complaint = reader->is_json ? NULL : import_csv_finish(&reader->csv);
    return complaint ? cli_fail(EX_DATAERR, "%s: %s", reader->input->name, complaint) : 0;
}

static int32_t read_lines(struct reader *reader)
{
    struct import_line line;
    int32_t code = 0;
    ssize_t n;
    while (!code && !interrupt_came() && (n = read_block(reader)) != 0) {
        if (n < 0)
            return EX_NOINPUT;
        if (!EVP_DigestUpdate(reader->digest, reader->block, (size_t)n))
            return cli_fail(EX_OSERR, "out of memory");
        import_lines_feed(&reader->lines, reader->block, (size_t)n);
        while (!code && import_lines_next(&reader->lines, &line))
            code = take_line(reader, &line);
        reader->done += (uint64_t)n;
        progress_at(reader->input->progress, reader->done, reader->size, reader->input->good);
    }
    if (!code && interrupt_came())
        code = cli_fail(EX_TEMPFAIL, "interrupted: nothing is written");
    if (!code && import_lines_last(&reader->lines, &line))
        code = take_line(reader, &line);
    if (!code && !reader->is_json && !reader->has_begun)
        code = cli_fail(EX_DATAERR, "%s: is empty; even a file without devices has a header",
            reader->input->name);
    return code ? code : check_columns(reader);
}

/* 1 if the row is bad beside the others: what is wrong is said, or counted. */
static int32_t complain_beside(struct import_input *input, const struct import_row *row)
{
    int32_t is_unsaid = row->flag == IMPORT_UNSAID && input->says_flags;
    if (!row->duplicate_of && !is_unsaid)
        return 0;
    if (!notes_next(&input->bad))
        return 1;
    if (row->duplicate_of)
        (void)cli_fail(0, "%s:%" PRIu64 ": %s is in line %" PRIu64 " already", input->name,
            row->line, row->uid, row->duplicate_of);
    else
        (void)cli_fail(0,
            "%s:%" PRIu64 ": is_enabled is empty, and in other lines it is not: write 1 or 0",
            input->name, row->line);
    return 1;
}

/* Finds the same uid twice, with whatever tokens, and flags that are empty beside filled ones: one
 * of the lines is not what was meant. */
static int32_t check_beside_others(struct import_input *input)
{
    struct import_row row;
    int32_t found;
    if (import_sort_rewind(input->sort))
        return sorting_failed(input);
    while ((found = import_sort_next(input->sort, &row)) > 0)
        input->good -= complain_beside(input, &row) != 0;
    return found ? sorting_failed(input) : 0;
}

static void warn_of_shared(void *argument, const struct import_row *row, uint64_t first)
{
    struct import_input *input = argument;
    if (notes_next(&input->shared))
        (void)cli_fail(0,
            "warning: %s:%" PRIu64 ": %s has the same token as the device in line %" PRIu64
            ": whoever has it can claim both",
            input->name, row->line, row->uid, first);
}

/* Computed ones are each device's own. */
static int32_t find_shared(struct import_input *input)
{
    if (input->check->secret)
        return 0;
    return import_shared_find(input->sort, input->good, warn_of_shared, input)
               ? sorting_failed(input)
               : 0;
}

static int32_t has_suffix(const char *path, const char *suffix)
{
    size_t length = strlen(path), end = strlen(suffix);
    return length > end && strcmp(path + length - end, suffix) == 0;
}

static int32_t is_json_lines(const char *path)
{
    return has_suffix(path, ".jsonl") || has_suffix(path, ".ndjson") || has_suffix(path, ".json");
}

static int32_t open_input(struct reader *reader)
{
    const char *path = reader->input->path;
    struct stat status;
    reader->is_json = is_json_lines(path);
    reader->fd = STDIN_FILENO;
    if (strcmp(path, "-") != 0)
        reader->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->fd < 0)
        return cli_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    if (fstat(reader->fd, &status) == 0 && S_ISREG(status.st_mode))
        reader->size = (uint64_t)status.st_size;
    return 0;
}

/* Blocks and lines held tokens. */
static void close_input(struct reader *reader)
{
    if (reader->fd > STDIN_FILENO)
        (void)close(reader->fd);
    EVP_MD_CTX_free(reader->digest);
    if (reader->block)
        OPENSSL_cleanse(reader->block, BLOCK_SIZE);
    free(reader->block);
    OPENSSL_cleanse(reader, sizeof *reader);
}

int32_t import_read(struct import_input *input)
{
    struct reader reader = {
        .input = input, .fd = -1, .block = malloc(BLOCK_SIZE), .digest = EVP_MD_CTX_new()};
    int32_t code =
        reader.block && reader.digest && EVP_DigestInit_ex(reader.digest, EVP_sha256(), NULL)
            ? open_input(&reader)
            : cli_fail(EX_OSERR, "out of memory");
    progress_phase(input->progress, "checking");
    if (!code)
        code = read_lines(&reader);
    if (!code)
        code = finish_digest(&reader);
    if (!code)
        code = check_beside_others(input);
    if (!code)
        code = find_shared(input);
    notes_end(&input->bad);
    notes_end(&input->shared);
    progress_clear(input->progress);
    close_input(&reader);
    return code;
}
