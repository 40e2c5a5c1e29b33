/* The shared parts of the fuzz targets. */
#include "fuzz.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#define REPEAT       0xff
#define REPEAT_COUNT 4096

uint8_t fuzz_byte(struct fuzz_bytes *bytes)
{
    if (!bytes->left)
        return 0;
    bytes->left--;
    return *bytes->at++;
}

char *fuzz_text(struct fuzz_bytes *bytes, int end)
{
    const uint8_t *found = bytes->left ? memchr(bytes->at, end, bytes->left) : NULL;
    size_t length = found ? (size_t)(found - bytes->at) : bytes->left;
    char *text = malloc(length + 1);
    CHECK(text);
    if (length)
        memcpy(text, bytes->at, length);
    text[length] = 0;
    length += found != NULL;
    bytes->at += length;
    bytes->left -= length;
    /* Exactly as long as it is, so that a read behind it is seen. */
    char *exact = strdup(text);
    CHECK(exact);
    free(text);
    return exact;
}

/* --- Streams ---------------------------------------------------------------------------------- */

static size_t append(struct fuzz_stream *stream, uint8_t byte, size_t count)
{
    size_t room = FUZZ_LARGEST_STREAM - stream->length;
    if (count > room)
        count = room;
    memset(stream->bytes + stream->length, byte, count);
    stream->length += count;
    return count;
}

void fuzz_read_stream(struct fuzz_bytes *bytes, struct fuzz_stream *stream)
{
    stream->length = 0;
    stream->cut_count = fuzz_byte(bytes) % FUZZ_MOST_CUTS;
    for (size_t i = 0; i < stream->cut_count; i++)
        stream->cuts[i] = 1 + fuzz_byte(bytes);
    uint8_t *room = malloc(FUZZ_LARGEST_STREAM);
    CHECK(room);
    stream->bytes = room;
    while (bytes->left) {
        uint8_t byte = fuzz_byte(bytes);
        if (byte == REPEAT)
            append(stream, fuzz_byte(bytes), REPEAT_COUNT);
        else
            append(stream, byte, 1);
    }
}

size_t fuzz_part(const struct fuzz_stream *stream, size_t i, size_t offset)
{
    size_t left = stream->length - offset;
    size_t part = stream->cut_count ? stream->cuts[i % stream->cut_count] : left;
    return part < left ? part : left;
}

/* --- Folders ---------------------------------------------------------------------------------- */

char *fuzz_folder(void)
{
    const char *parent = getenv("TMPDIR");
    char *folder = NULL;
    CHECK(asprintf(&folder, "%s/cvm-fuzz-XXXXXX", parent ? parent : "/tmp") > 0);
    CHECK(mkdtemp(folder));
    return folder;
}

void fuzz_remove_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    CHECK(dir);
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char *path = NULL;
        CHECK(asprintf(&path, "%s/%s", folder, entry->d_name) > 0);
        (void)unlink(path); /* "." and ".." are none */
        free(path);
    }
    (void)closedir(dir);
    (void)rmdir(folder);
}
