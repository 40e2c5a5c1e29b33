/* What the fuzz targets share: an invariant that fails ends the run, and inputs are cut into parts.
 */
#ifndef CVM_FUZZ_H
#define CVM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer calls. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the run, and libFuzzer keeps the input. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What is left of an input. */
struct fuzz_bytes {
    const uint8_t *at;
    size_t left;
};

/* The next byte; 0 past the end. */
uint8_t fuzz_byte(struct fuzz_bytes *bytes);
/* All up to a byte of value end, which is taken too, or all that is left; cut at a NUL. Freed by
 * the caller. */
char *fuzz_text(struct fuzz_bytes *bytes, int end);

#define FUZZ_LARGEST_STREAM 163840
#define FUZZ_MOST_CUTS      16

/* A stream of bytes and how it is cut into what arrives at once. */
struct fuzz_stream {
    uint8_t *bytes;
    size_t length;
    size_t cuts[FUZZ_MOST_CUTS]; /* used in turn */
    size_t cut_count;            /* 0: all at once */
};

/* A count of cuts, their lengths, then the stream, in which 0xff C stands for 4,096 times C: so
 * that a small input gets to the limits. Freed by free(stream->bytes). */
void fuzz_read_stream(struct fuzz_bytes *bytes, struct fuzz_stream *stream);
/* The length of part i, which begins at offset. */
size_t fuzz_part(const struct fuzz_stream *stream, size_t i, size_t offset);

/* A folder under $TMPDIR. Freed by the caller. */
char *fuzz_folder(void);
/* Removes it and the files in it. */
void fuzz_remove_folder(const char *folder);

#endif
