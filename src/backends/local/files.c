/* Atomic replacement, and bounded reading. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST_FILE ((size_t)1024 * 1024)
#define LONGEST_PATH 4096

static int32_t complain(const char *path, char *error, size_t error_size)
{
    (void)snprintf(error, error_size, "%s: %s", path, strerror(errno));
    return -1;
}

static int32_t write_all(int fd, const char *bytes, size_t length)
{
    while (length) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static int32_t sync_folder_of(const char *path)
{
    char folder[LONGEST_PATH];
    const char *slash = strrchr(path, '/');
    if (!slash)
        (void)snprintf(folder, sizeof folder, ".");
    else
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd);
    if (fd >= 0)
        (void)close(fd);
    return failed ? -1 : 0;
}

/* Fills the temporary file and gives it its rights before anybody can know its name. */
static int32_t fill(int fd, const void *bytes, size_t length, mode_t mode, gid_t group)
{
    if (group != (gid_t)-1 && fchown(fd, (uid_t)-1, group) == 0)
        mode |= S_IRGRP;
    return write_all(fd, bytes, length) || fchmod(fd, mode) || fsync(fd) ? -1 : 0;
}

int32_t cvm_files_replace(const char *path, const void *bytes, size_t length, mode_t mode,
    gid_t group, char *error, size_t error_size)
{
    char temporary[LONGEST_PATH];
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return complain(path, error, error_size);
    }
    int fd = mkostemp(temporary, O_CLOEXEC); /* 0600 */
    if (fd < 0)
        return complain(path, error, error_size);
    int32_t failed = fill(fd, bytes, length, mode, group);
    if (close(fd) || failed || rename(temporary, path)) {
        (void)complain(path, error, error_size);
        (void)unlink(temporary);
        return -1;
    }
    return sync_folder_of(path) ? complain(path, error, error_size) : 0;
}

char *cvm_files_read(const char *path, size_t *length, char *error, size_t error_size)
{
    char *bytes = malloc(LARGEST_FILE + 1);
    FILE *file = bytes ? fopen(path, "re") : NULL;
    if (!file) {
        (void)complain(path, error, error_size);
        free(bytes);
        return NULL;
    }
    (void)setvbuf(file, NULL, _IONBF, 0); /* no copy of a key in stdio's buffer */
    *length = fread(bytes, 1, LARGEST_FILE + 1, file);
    int failed = ferror(file) || *length > LARGEST_FILE;
    (void)fclose(file);
    if (failed) {
        (void)snprintf(error, error_size, "%s: can't be read, or larger than 1 MiB", path);
        free(bytes);
        return NULL;
    }
    bytes[*length] = 0;
    char *fitting = realloc(bytes, *length + 1);
    return fitting ? fitting : bytes;
}

int32_t cvm_files_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
