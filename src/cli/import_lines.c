/* Cuts bytes into lines: LF or CRLF, a byte order mark at the start, no NUL, bounded length. */
#include "import_lines.h"

#include <string.h>

void import_lines_feed(struct import_lines *lines, char *bytes, size_t length)
{
    lines->next = bytes;
    lines->end = bytes + length;
}

/* Keeps the part of a line that the block holds. */
static void carry(struct import_lines *lines, size_t length)
{
    if (!length)
        return;
    lines->is_begun = 1;
    if (length > IMPORT_LONGEST_LINE - lines->carried)
        lines->is_too_long = 1;
    if (!lines->is_too_long) {
        memcpy(lines->carry + lines->carried, lines->next, length);
        lines->carried += length;
    }
    lines->next += length;
}

static void strip(struct import_line *line)
{
    if (line->length && line->text[line->length - 1] == '\r')
        line->text[--line->length] = 0;
    if (line->number == 1 && line->length >= 3 && memcmp(line->text, "\xef\xbb\xbf", 3) == 0) {
        line->text += 3;
        line->length -= 3;
    }
}

/* Fills in a line. 0 if it is empty. */
static int32_t present(
    struct import_lines *lines, struct import_line *line, char *text, size_t length)
{
    *line = (struct import_line){.text = text, .length = length, .number = ++lines->number};
    text[length] = 0;
    if (lines->is_too_long) {
        line->complaint = "the line is longer than 4096 bytes";
    } else if (memchr(text, 0, length)) {
        line->complaint = "the line holds a NUL byte (the file must be UTF-8 or ASCII, not UTF-16)";
    } else {
        strip(line);
    }
    lines->carried = 0;
    lines->is_begun = lines->is_too_long = 0;
    return line->complaint || line->length;
}

/* The line that ends length bytes into the block. */
static int32_t finish(struct import_lines *lines, struct import_line *line, size_t length)
{
    char *text = lines->next;
    if (lines->is_begun || length > IMPORT_LONGEST_LINE) {
        carry(lines, length);
        text = lines->carry;
        length = lines->carried;
    } else {
        lines->next += length;
    }
    lines->next++;
    return present(lines, line, text, length);
}

int32_t import_lines_next(struct import_lines *lines, struct import_line *line)
{
    while (lines->next < lines->end) {
        size_t left = (size_t)(lines->end - lines->next);
        char *newline = memchr(lines->next, '\n', left);
        if (!newline)
            carry(lines, left);
        else if (finish(lines, line, (size_t)(newline - lines->next)))
            return 1;
    }
    return 0;
}

int32_t import_lines_last(struct import_lines *lines, struct import_line *line)
{
    return lines->is_begun && present(lines, line, lines->carry, lines->carried);
}
