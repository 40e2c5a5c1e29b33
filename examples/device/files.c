/* Durable writes: temporary file, fsync, rename, fsync of the folder. Without the first fsync the
 * new name may hold nothing after a power cut; without the second the rename itself may be
 * forgotten. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char TEMPORARY[] = "new.tmp";

/* Closes after a failure and keeps the failure's errno. */
static int close_failed(int fd)
{
    const int error = errno;
    close(fd);
    errno = error;
    return -1;
}

long file_read(int folder, const char *name, char *buffer, size_t size)
{
    const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    size_t length = 0;
    while (length < size) {
        const ssize_t got = read(fd, buffer + length, size - length);
        if (got < 0) {
            return close_failed(fd);
        }
        if (got == 0) {
            close(fd);
            buffer[length] = '\0';
            return (long)length;
        }
        length += (size_t)got;
    }
    errno = EFBIG;
    return close_failed(fd);
}

static int write_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        const ssize_t put = write(fd, data, length);
        if (put < 0) {
            return -1;
        }
        data += put;
        length -= (size_t)put;
    }
    return fsync(fd);
}

int file_write(int folder, const char *name, const void *data, size_t length)
{
    const int fd = openat(folder, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    const int written = write_all(fd, data, length) == 0 ? close(fd) : close_failed(fd);
    if (written == 0 && folder_rename(folder, TEMPORARY, name) == 0) {
        return 0;
    }
    const int error = errno;
    file_tidy(folder);
    errno = error;
    return -1;
}

void file_tidy(int folder)
{
    unlinkat(folder, TEMPORARY, 0);
}

int folder_open(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int folder_make(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (mkdir(path, 0700) != 0) {
        return errno == EEXIST ? 0 : -1;
    }
    const int parent = folder_open(AT_FDCWD, dirname(copy));
    if (parent < 0) {
        return -1;
    }
    return fsync(parent) == 0 ? close(parent) : close_failed(parent);
}

int folder_rename(int parent, const char *from, const char *to)
{
    return renameat(parent, from, parent, to) == 0 ? fsync(parent) : -1;
}

/* Unlinks what is in the folder; it holds files only. */
static int folder_empty(DIR *folder)
{
    for (const struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        const bool dots = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!dots && unlinkat(dirfd(folder), entry->d_name, 0) != 0) {
            return -1;
        }
    }
    return 0;
}

int folder_remove(int parent, const char *name)
{
    const int fd = folder_open(parent, name);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        return close_failed(fd);
    }
    const int emptied = folder_empty(folder);
    closedir(folder);
    return emptied == 0 ? unlinkat(parent, name, AT_REMOVEDIR) : -1;
}
