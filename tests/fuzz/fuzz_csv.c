/* The import's reader of lines and CSV: bytes that come in any pieces mean what they mean at once,
 * and a row never holds what its checks can't see. */
#include "fuzz.h"

#include <string.h>

/* NOLINTBEGIN(bugprone-suspicious-include): parts of the command, which is no library */
#include "cli/import_csv.c"
#include "cli/import_lines.c"
#include "cli/import_spreadsheet.c"
/* NOLINTEND(bugprone-suspicious-include) */

/* What was read, as a number: FNV-1a over all that a row is made of. */
struct reading {
    struct import_lines lines;
    struct import_csv csv;
    int32_t has_header;
    uint64_t digest, rows;
};

static void add_text(struct reading *reading, const char *text)
{
    for (size_t i = 0; text && i <= strlen(text); i++)
        reading->digest = (reading->digest ^ (uint8_t)text[i]) * 0x100000001b3;
    reading->digest = (reading->digest ^ !text) * 0x100000001b3;
}

static void take(struct reading *reading, struct import_line *line)
{
    struct import_fields fields = {0};
    const char *complaint = line->complaint;
    CHECK(complaint || strlen(line->text) == line->length);
    CHECK(complaint || line->length <= IMPORT_LONGEST_LINE);
    if (!complaint && reading->has_header)
        complaint = import_csv_line(&reading->csv, line->text, &fields);
    else if (!complaint)
        complaint = import_csv_header(&reading->csv, line->text, 0);
    reading->has_header |= !complaint;
    reading->digest ^= line->number;
    reading->rows++;
    add_text(reading, complaint);
    add_text(reading, fields.uid);
    add_text(reading, fields.token);
    add_text(reading, fields.is_enabled);
}

/* Feeds a copy of just the piece's size, so that a step beyond it is found. */
static void feed(struct reading *reading, const uint8_t *bytes, size_t length)
{
    struct import_line line;
    char *block = malloc(length);
    CHECK(block);
    memcpy(block, bytes, length);
    import_lines_feed(&reading->lines, block, length);
    while (import_lines_next(&reading->lines, &line))
        take(reading, &line);
    free(block);
}

static void end(struct reading *reading)
{
    struct import_line line;
    if (import_lines_last(&reading->lines, &line))
        take(reading, &line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes input = {data, size};
    struct fuzz_stream stream;
    struct reading whole = {0}, parts = {0};
    fuzz_read_stream(&input, &stream);
    if (stream.length)
        feed(&whole, stream.bytes, stream.length);
    end(&whole);
    size_t part;
    for (size_t i = 0, at = 0; at < stream.length; i++, at += part) {
        part = fuzz_part(&stream, i, at);
        feed(&parts, stream.bytes + at, part);
    }
    end(&parts);
    add_text(&whole, import_csv_finish(&whole.csv));
    add_text(&parts, import_csv_finish(&parts.csv));
    CHECK(whole.digest == parts.digest);
    CHECK(whole.rows == parts.rows);
    free(stream.bytes);
    return 0;
}
