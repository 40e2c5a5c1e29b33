/* The HTTP parser, fed in parts: what it says of a stream must not depend on how the stream is cut,
 * what it holds is bounded, and after a refusal nothing is parsed. */
#include "fuzz.h"

#include <string.h>

#include "transports/http/parser.h"

/* Whatever a request is padded with: 16 KiB of head, and 8 KiB of body in chunks of a byte each. */
#define MOST_BYTES ((size_t)6 * CVM_LARGEST_HEAD)

/* All that the parser says of a stream, as a text. */
struct transcript {
    char *text;
    size_t length;
    FILE *file;
    const char *refusal; /* NULL: not refused */
    size_t taken;        /* bytes of the request that is being read */
};

/* Refuses one path, as a route would. */
static void on_head(struct cvm_parser *parser)
{
    struct transcript *transcript = parser->owner;
    CHECK(!parser->refusal);
    CHECK(strlen(parser->path) < sizeof parser->path && !strpbrk(parser->path, "?# \r\n"));
    (void)fprintf(transcript->file, "head %s <%s> <%s> <%s> %d %d %d %d\n", parser->method,
        parser->path, parser->media_type, parser->forwarded, parser->expects_continue,
        parser->has_body, parser->keep_alive, parser->is_head);
    if (strcmp(parser->path, "/refused") == 0)
        parser->refusal = "not_found";
}

static void write_request(struct transcript *transcript, const struct cvm_parser *parser)
{
    CHECK(!parser->refusal && parser->body_length <= CVM_LARGEST_BODY);
    CHECK(parser->body || !parser->body_length);
    CHECK(parser->has_body || !parser->body_length);
    CHECK(parser->head_length <= CVM_LARGEST_HEAD);
    (void)fprintf(transcript->file, "request %zu ", parser->body_length);
    if (parser->body_length)
        (void)fwrite(parser->body, 1, parser->body_length, transcript->file);
    (void)fputc('\n', transcript->file);
}

/* Nothing is parsed any more, whatever comes. */
static void check_refused(struct transcript *transcript, struct cvm_parser *parser)
{
    static const char MORE[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const char *refusal = parser->refusal;
    size_t used;
    CHECK(refusal);
    transcript->refusal = refusal;
    (void)fputs("refused\n", transcript->file);
    CHECK(cvm_parser_feed(parser, MORE, sizeof MORE - 1, &used) == PARSED_REFUSED);
    CHECK(parser->refusal == refusal && parser->body_length <= CVM_LARGEST_BODY);
}

/* Feeds one part, which may hold several requests. */
static void feed(
    struct transcript *transcript, struct cvm_parser *parser, const char *bytes, size_t length)
{
    while (length) {
        size_t used = 0;
        enum cvm_parsed parsed = cvm_parser_feed(parser, bytes, length, &used);
        if (parsed == PARSED_REFUSED) {
            check_refused(transcript, parser);
            return;
        }
        CHECK(used <= length && !parser->refusal);
        if (parsed == PARSED_MORE)
            CHECK(used == length);
        bytes += used;
        length -= used;
        transcript->taken += used;
        CHECK(transcript->taken <= MOST_BYTES);
        if (parsed == PARSED_REQUEST) {
            transcript->taken = 0;
            write_request(transcript, parser);
            cvm_parser_next(parser);
            CHECK(!parser->body && !parser->body_length && !*parser->path);
        }
    }
}

/* The transcript of a stream; its text is freed by the caller. */
static struct transcript parse(const struct fuzz_stream *stream)
{
    struct transcript transcript = {NULL, 0, NULL, NULL, 0};
    struct cvm_parser parser;
    size_t offset = 0;
    transcript.file = open_memstream(&transcript.text, &transcript.length);
    CHECK(transcript.file);
    cvm_parser_init(&parser, "x-forwarded-for", on_head, &transcript);
    for (size_t i = 0; offset < stream->length && !transcript.refusal; i++) {
        size_t length = fuzz_part(stream, i, offset);
        char *part = malloc(length); /* of its own, so that a read behind it is seen */
        CHECK(part);
        memcpy(part, stream->bytes + offset, length);
        feed(&transcript, &parser, part, length);
        free(part);
        offset += length;
    }
    cvm_parser_clear(&parser);
    (void)fclose(transcript.file);
    return transcript;
}

/* Where a head is too large and wrong too, which of the two is seen first depends on the cuts. */
static int32_t is_limit(const char *refusal)
{
    return strcmp(refusal, "too_large") == 0 || strcmp(refusal, "head_too_large") == 0 ||
           strcmp(refusal, "uri_too_long") == 0;
}

static void compare(const struct transcript *one, const struct transcript *other)
{
    const char *first = one->refusal, *second = other->refusal;
    int32_t is_same = one->length == other->length &&
                      memcmp(one->text, other->text, one->length) == 0 && !first == !second;
    if (is_same && first && strcmp(first, second) != 0)
        is_same = is_limit(first) || is_limit(second);
    if (!is_same)
        (void)fprintf(stderr, "at once (%s):\n%.2000s\nin parts (%s):\n%.2000s\n",
            first ? first : "", one->text, second ? second : "", other->text);
    CHECK(is_same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes bytes = {data, size};
    struct fuzz_stream stream;
    fuzz_read_stream(&bytes, &stream);
    struct fuzz_stream whole = stream, single = stream;
    whole.cut_count = 0;
    single.cut_count = 1;
    single.cuts[0] = 1 + stream.length / 20000; /* single bytes, but for the longest */
    struct transcript at_once = parse(&whole), in_parts = parse(&stream), by_byte = parse(&single);
    compare(&at_once, &in_parts);
    compare(&at_once, &by_byte);
    free(at_once.text);
    free(in_parts.text);
    free(by_byte.text);
    free(stream.bytes);
    return 0;
}
