/*
 * libcvm-faultio.so, for LD_PRELOAD: makes calls fail on the files of one folder while a control
 * file says so.
 *
 *   CVM_FAULT_DIR       the folder; must exist
 *   CVM_FAULT_CONTROL   the control file, outside the folder; it may come and go at any time
 *
 * The control file holds one fault a line: CALL ERROR [after N] [times N] [on TEXT] [end TEXT]
 *   CALL    fsync, fdatasync, write (writev too), pwrite (pwritev too), ftruncate
 *   ERROR   EIO, ENOSPC, EDQUOT
 *   after   the first N calls still succeed, counted since the control file was last changed
 *   times   only N calls fail
 *   on      only files whose path, relative to the folder, holds TEXT
 *   end     only files whose path ends with TEXT
 * Nothing is written by a call that fails. Put the file in place by a rename, so that no half of it
 * is read.
 */
#include "watched.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FAULTS 16

struct fault {
    char call[16];
    char on[256];
    char end[256];
    int error;
    uint64_t after;
    uint64_t times;
    uint64_t calls;
};

static const char *control;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct stat control_seen;
static struct fault faults[MAX_FAULTS];
static size_t fault_count;

__attribute__((constructor)) static void start(void)
{
    if (watch_folder("CVM_FAULT_DIR"))
        control = getenv("CVM_FAULT_CONTROL");
}

static _Noreturn void bad_control(const char *line)
{
    fprintf(stderr, "libcvm-faultio: %s: can't read \"%s\"\n", control, line);
    abort();
}

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}};
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].error;
    return 0;
}

static void parse_option(struct fault *fault, const char *name, const char *value)
{
    if (strcmp(name, "after") == 0)
        fault->after = strtoull(value, NULL, 10);
    else if (strcmp(name, "times") == 0)
        fault->times = strtoull(value, NULL, 10);
    else if (strcmp(name, "on") == 0)
        snprintf(fault->on, sizeof(fault->on), "%s", value);
    else if (strcmp(name, "end") == 0)
        snprintf(fault->end, sizeof(fault->end), "%s", value);
    else
        bad_control(name);
}

static void parse_line(char *line)
{
    char *rest;
    const char *call = strtok_r(line, " \t", &rest);
    if (call == NULL)
        return;
    const char *error = strtok_r(NULL, " \t", &rest);
    if (error == NULL || error_of(error) == 0 || fault_count == MAX_FAULTS)
        bad_control(call);
    struct fault *fault = &faults[fault_count++];
    *fault = (struct fault){.error = error_of(error), .times = UINT64_MAX};
    snprintf(fault->call, sizeof(fault->call), "%s", call);
    const char *name;
    while ((name = strtok_r(NULL, " \t", &rest)) != NULL) {
        const char *value = strtok_r(NULL, " \t", &rest);
        if (value == NULL)
            bad_control(name);
        parse_option(fault, name, value);
    }
}

static void parse_control(void)
{
    char text[4096];
    fault_count = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[length < 0 ? 0 : length] = '\0';
    char *rest;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        parse_line(line);
}

static bool same_content(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static bool is_meant(const struct fault *fault, const char *call, const char *path)
{
    size_t length = strlen(path), end = strlen(fault->end);
    return strcmp(fault->call, call) == 0 && strstr(path, fault->on) != NULL && end <= length &&
           strcmp(path + length - end, fault->end) == 0;
}

/* Only under the mutex. */
static int error_for(const char *call, const char *path)
{
    for (size_t i = 0; i < fault_count; i++) {
        struct fault *fault = &faults[i];
        if (!is_meant(fault, call, path))
            continue;
        uint64_t number = fault->calls++;
        if (number >= fault->after && number - fault->after < fault->times)
            return fault->error;
    }
    return 0;
}

/* Shall this call on this descriptor fail? Sets errno if so. */
static bool fails(const char *call, int fd)
{
    char path[PATH_MAX];
    struct stat now;
    if (control == NULL)
        return false;
    int saved = errno;
    bool active = stat(control, &now) == 0 && watched_fd(fd, path);
    errno = saved;
    if (!active)
        return false;
    pthread_mutex_lock(&mutex);
    if (!same_content(&now, &control_seen)) {
        control_seen = now;
        parse_control();
    }
    int error = error_for(call, path);
    pthread_mutex_unlock(&mutex);
    errno = error != 0 ? error : saved;
    return error != 0;
}

INTERPOSED int fsync(int fd)
{
    NEXT(fsync);
    return fails("fsync", fd) ? -1 : next(fd);
}

INTERPOSED int fdatasync(int fd)
{
    NEXT(fdatasync);
    return fails("fdatasync", fd) ? -1 : next(fd);
}

INTERPOSED ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(write);
    return fails("write", fd) ? -1 : next(fd, data, size);
}

INTERPOSED ssize_t writev(int fd, const struct iovec *vector, int count)
{
    NEXT(writev);
    return fails("write", fd) ? -1 : next(fd, vector, count);
}

INTERPOSED ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    NEXT(pwrite);
    return fails("pwrite", fd) ? -1 : next(fd, data, size, offset);
}

INTERPOSED ssize_t pwritev2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
    NEXT(pwritev2);
    return fails("pwrite", fd) ? -1 : next(fd, vector, count, offset, flags);
}

INTERPOSED ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
    return pwritev2(fd, vector, count, offset, 0);
}

INTERPOSED int ftruncate(int fd, off_t size)
{
    NEXT(ftruncate);
    return fails("ftruncate", fd) ? -1 : next(fd, size);
}

INTERPOSED ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));
INTERPOSED ssize_t pwritev64(int, const struct iovec *, int, off64_t)
    __attribute__((alias("pwritev")));
INTERPOSED ssize_t pwritev64v2(int, const struct iovec *, int, off64_t, int)
    __attribute__((alias("pwritev2")));
INTERPOSED int ftruncate64(int, off64_t) __attribute__((alias("ftruncate")));
