/* Cuts bytes into lines, however they come. Pure: no input or output of its own. */
#ifndef CVM_CLI_IMPORT_LINES_H
#define CVM_CLI_IMPORT_LINES_H

#include <stddef.h>
#include <stdint.h>

/* Many times the longest good line: uid, token, commas and names are under 500 bytes. */
#define IMPORT_LONGEST_LINE 4096

struct import_lines {
    char *next, *end;                    /* what is left of the block */
    char carry[IMPORT_LONGEST_LINE + 1]; /* a line that began in an earlier block */
    size_t carried;
    int32_t is_too_long, is_begun;
    uint64_t number;
};

/* A line without its end (LF or CRLF) and without a byte order mark, ended by NUL, in the block or
 * the carry: good until the next call, and the caller may write to it. */
struct import_line {
    char *text;
    size_t length;
    uint64_t number;       /* from 1; empty lines count */
    const char *complaint; /* why it can't be read, or NULL */
};

/* Zeroes make a reader. Hands it a block; the one before must be used up. */
void import_lines_feed(struct import_lines *lines, char *bytes, size_t length);
/* The next line that isn't empty: 1, or 0 when the block is used up. */
int32_t import_lines_next(struct import_lines *lines, struct import_line *line);
/* A last line without an end, after all blocks: 1, or 0 if there is none. */
int32_t import_lines_last(struct import_lines *lines, struct import_line *line);

#endif
