/*
 * The watched folder. What a descriptor stands for is asked of the kernel each time (/proc/self/fd)
 * rather than kept in a table, so that dup, fork, renames and symbolic links need no care.
 */
#include "watched.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char folder[PATH_MAX];
static size_t folder_length;

void next_symbol(const char *name, void *slot)
{
    void *symbol;
    memcpy(&symbol, slot, sizeof(symbol));
    if (symbol != NULL)
        return;
    symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL) {
        fprintf(stderr, "fault tools: no %s behind this library\n", name);
        abort();
    }
    memcpy(slot, &symbol, sizeof(symbol));
}

bool watch_folder(const char *variable)
{
    const char *name = getenv(variable);
    if (name == NULL)
        return false;
    if (realpath(name, folder) == NULL) {
        fprintf(stderr, "fault tools: %s: %s: %s\n", variable, name, strerror(errno));
        abort();
    }
    folder_length = strlen(folder);
    return true;
}

static bool relative_to_folder(const char *absolute, char path[PATH_MAX])
{
    if (folder_length == 0 || strncmp(absolute, folder, folder_length) != 0)
        return false;
    const char *rest = absolute + folder_length;
    if (*rest != '\0' && *rest != '/')
        return false;
    strcpy(path, *rest == '\0' ? "." : rest + 1);
    return true;
}

bool watched_fd(int fd, char path[PATH_MAX])
{
    char link[32];
    char absolute[PATH_MAX];
    int saved = errno;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, absolute, sizeof(absolute) - 1);
    errno = saved;
    if (length < 0)
        return false;
    absolute[length] = '\0';
    return relative_to_folder(absolute, path);
}

/* Splits "a/b/c/" into "a/b/" and "c"; the parent of a bare name is ".". */
static bool split(const char *name, char parent[PATH_MAX], const char **base, size_t *base_length)
{
    size_t end = strlen(name);
    while (end > 1 && name[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && name[start - 1] != '/')
        start--;
    if (end == 0 || end >= PATH_MAX)
        return false;
    memcpy(parent, name, start);
    strcpy(parent + start, start == 0 ? "." : "");
    *base = name + start;
    *base_length = end - start;
    return true;
}

bool watched_name(int dirfd, const char *name, char path[PATH_MAX])
{
    char parent[PATH_MAX];
    const char *base;
    size_t base_length;
    if (folder_length == 0 || name == NULL || !split(name, parent, &base, &base_length))
        return false;
    int saved = errno;
    int fd = (int)syscall(SYS_openat, dirfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    bool below = fd >= 0 && watched_fd(fd, path);
    if (fd >= 0)
        close(fd);
    errno = saved;
    if (!below)
        return false;
    size_t length = strcmp(path, ".") == 0 ? 0 : strlen(path);
    if (length + 1 + base_length >= PATH_MAX)
        return false;
    if (length > 0)
        path[length++] = '/';
    memcpy(path + length, base, base_length);
    path[length + base_length] = '\0';
    return true;
}
