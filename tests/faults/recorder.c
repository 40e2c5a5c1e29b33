/*
 * libcvm-recorder.so, for LD_PRELOAD: records every effect that a program has on the files of one
 * folder, so that replay.py can rebuild the folder as a power cut would have left it.
 *
 *   CVM_RECORD_DIR   the folder; must exist
 *   CVM_RECORD_LOG   the log; several processes may share it; not below the folder
 *
 * Seen: open, write, truncate, fallocate, sync, rename, link, unlink, mkdir, rmdir, fchmod in all
 * their spellings, and stdio, whose writes stay inside libc and are read back from the file at
 * fflush, fsync and fclose. Not seen: shared mappings (SQLite's -shm is one: it is left out, being
 * rebuilt), sendfile, O_TMPFILE, raw system calls, and files moved in from elsewhere. O_SYNC counts
 * for nothing here.
 */
#include "record_log.h"
#include "watched.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "the 64-bit names are aliases of the plain ones");

#define STDIO_FDS 4096

/* For each descriptor that stdio writes to: 1 + how much of the file is in the log already. */
static _Atomic int64_t stdio_seen[STDIO_FDS];
static bool recording;

__attribute__((constructor)) static void start(void)
{
    recording = watch_folder("CVM_RECORD_DIR") && record_log_open("CVM_RECORD_LOG");
}

static bool is_shm(const char *path)
{
    size_t length = strlen(path);
    return length >= 4 && strcmp(path + length - 4, "-shm") == 0;
}

static bool recorded_fd(int fd, char path[PATH_MAX])
{
    return recording && watched_fd(fd, path) && !is_shm(path);
}

static bool recorded_name(int dirfd, const char *name, char path[PATH_MAX])
{
    return recording && watched_name(dirfd, name, path) && !is_shm(path);
}

static struct stat stat_of(int fd)
{
    int saved = errno;
    struct stat status = {0};
    fstat(fd, &status);
    errno = saved;
    return status;
}

static void record_on_fd(enum record_kind kind, int fd, int64_t offset)
{
    struct stat status = stat_of(fd);
    record_append(&(struct record){
        .kind = kind, .inode = status.st_ino, .offset = offset, .mode = status.st_mode});
}

static void record_name(enum record_kind kind, const char *path, const char *second, mode_t mode)
{
    record_append(
        &(struct record){.kind = kind, .path = path, .second_path = second, .mode = mode});
}

/* ---- opening ---- */

static void record_open(int fd, const char *path, bool existed, int flags)
{
    struct stat status = stat_of(fd);
    if (!S_ISREG(status.st_mode))
        return;
    record_append(&(struct record){.kind = existed ? RECORD_OPEN : RECORD_CREATE,
        .inode = status.st_ino,
        .mode = status.st_mode,
        .path = path});
    if (existed && (flags & O_TRUNC) != 0)
        record_on_fd(RECORD_TRUNCATE, fd, 0);
}

static bool exists(int dirfd, const char *name)
{
    int saved = errno;
    struct stat status;
    bool found = fstatat(dirfd, name, &status, 0) == 0;
    errno = saved;
    return found;
}

static int recorded_open(int dirfd, const char *name, int flags, mode_t mode)
{
    NEXT(openat);
    char path[PATH_MAX];
    bool changes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
    if (!changes || !recorded_name(dirfd, name, path))
        return next(dirfd, name, flags, mode);
    record_lock();
    bool existed = exists(dirfd, name);
    int fd = next(dirfd, name, flags, mode);
    if (fd >= 0)
        record_open(fd, path, existed, flags);
    record_unlock();
    return fd;
}

/* Reads the mode that follows the flags, where there is one. */
#define MODE_AFTER(flags, mode)                                                                    \
    mode_t mode = 0;                                                                               \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                                  \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        (mode) = va_arg(arguments, mode_t);                                                        \
        va_end(arguments);                                                                         \
    }

INTERPOSED int open(const char *name, int flags, ...)
{
    MODE_AFTER(flags, mode)
    return recorded_open(AT_FDCWD, name, flags, mode);
}

INTERPOSED int openat(int dirfd, const char *name, int flags, ...)
{
    MODE_AFTER(flags, mode)
    return recorded_open(dirfd, name, flags, mode);
}

INTERPOSED int creat(const char *name, mode_t mode)
{
    return recorded_open(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

INTERPOSED int open64(const char *, int, ...) __attribute__((alias("open")));
INTERPOSED int openat64(int, const char *, int, ...) __attribute__((alias("openat")));
INTERPOSED int creat64(const char *, mode_t) __attribute__((alias("creat")));

/* What fortified programs call. */
INTERPOSED int __open_2(const char *name, int flags);
INTERPOSED int __open_2(const char *name, int flags)
{
    return recorded_open(AT_FDCWD, name, flags, 0);
}

INTERPOSED int __openat_2(int dirfd, const char *name, int flags);
INTERPOSED int __openat_2(int dirfd, const char *name, int flags)
{
    return recorded_open(dirfd, name, flags, 0);
}

INTERPOSED int __open64_2(const char *, int) __attribute__((alias("__open_2")));
INTERPOSED int __openat64_2(int, const char *, int) __attribute__((alias("__openat_2")));

INTERPOSED int mkostemps(char *name, int suffix_length, int flags)
{
    NEXT(mkostemps);
    char path[PATH_MAX];
    if (!recorded_name(AT_FDCWD, name, path))
        return next(name, suffix_length, flags);
    record_lock();
    int fd = next(name, suffix_length, flags);
    if (fd >= 0 && recorded_fd(fd, path))
        record_open(fd, path, false, 0);
    record_unlock();
    return fd;
}

INTERPOSED int mkostemp(char *name, int flags)
{
    return mkostemps(name, 0, flags);
}

INTERPOSED int mkstemp(char *name)
{
    return mkostemps(name, 0, 0);
}

INTERPOSED int mkostemp64(char *, int) __attribute__((alias("mkostemp")));
INTERPOSED int mkstemp64(char *) __attribute__((alias("mkstemp")));

/* ---- writing ---- */

static void record_write(int fd, const char *path, off_t offset, const void *data, size_t size)
{
    struct stat status = stat_of(fd);
    record_append(&(struct record){.kind = RECORD_WRITE,
        .inode = status.st_ino,
        .offset = offset,
        .path = path,
        .data = data,
        .size = size});
}

static void record_vector(
    int fd, const char *path, off_t offset, const struct iovec *vector, int count, size_t size)
{
    for (int i = 0; i < count && size > 0; i++) {
        size_t part = vector[i].iov_len < size ? vector[i].iov_len : size;
        record_write(fd, path, offset, vector[i].iov_base, part);
        offset += (off_t)part;
        size -= part;
    }
}

/* Where a write that moved the file's position began. */
static off_t start_of(int fd, ssize_t written)
{
    return (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) - written;
}

INTERPOSED ssize_t write(int fd, const void *data, size_t size)
{
    NEXT(write);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, data, size);
    record_lock();
    ssize_t written = next(fd, data, size);
    if (written > 0)
        record_write(fd, path, start_of(fd, written), data, (size_t)written);
    record_unlock();
    return written;
}

INTERPOSED ssize_t writev(int fd, const struct iovec *vector, int count)
{
    NEXT(writev);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, vector, count);
    record_lock();
    ssize_t written = next(fd, vector, count);
    if (written > 0)
        record_vector(fd, path, start_of(fd, written), vector, count, (size_t)written);
    record_unlock();
    return written;
}

INTERPOSED ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    NEXT(pwrite);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, data, size, offset);
    record_lock();
    ssize_t written = next(fd, data, size, offset);
    if (written > 0)
        record_write(fd, path, offset, data, (size_t)written);
    record_unlock();
    return written;
}

/* With the offset -1 it moves the file's position as writev does. */
INTERPOSED ssize_t pwritev2(int fd, const struct iovec *vector, int count, off_t offset, int flags)
{
    NEXT(pwritev2);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, vector, count, offset, flags);
    record_lock();
    ssize_t written = next(fd, vector, count, offset, flags);
    if (written > 0) {
        off_t start = offset == -1 ? start_of(fd, written) : offset;
        record_vector(fd, path, start, vector, count, (size_t)written);
    }
    record_unlock();
    return written;
}

INTERPOSED ssize_t pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
    return pwritev2(fd, vector, count, offset, 0);
}

INTERPOSED ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));
INTERPOSED ssize_t pwritev64(int, const struct iovec *, int, off64_t)
    __attribute__((alias("pwritev")));
INTERPOSED ssize_t pwritev64v2(int, const struct iovec *, int, off64_t, int)
    __attribute__((alias("pwritev2")));

/* ---- sizes and modes ---- */

INTERPOSED int ftruncate(int fd, off_t size)
{
    NEXT(ftruncate);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, size);
    record_lock();
    int result = next(fd, size);
    if (result == 0)
        record_on_fd(RECORD_TRUNCATE, fd, size);
    record_unlock();
    return result;
}

INTERPOSED int truncate(const char *name, off_t size)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = ftruncate(fd, size);
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

INTERPOSED int fallocate(int fd, int mode, off_t offset, off_t size)
{
    NEXT(fallocate);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, mode, offset, size);
    record_lock();
    int result = next(fd, mode, offset, size);
    if (result == 0 && mode == 0)
        record_on_fd(RECORD_EXTEND, fd, offset + size);
    record_unlock();
    return result;
}

INTERPOSED int posix_fallocate(int fd, off_t offset, off_t size)
{
    NEXT(posix_fallocate);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, offset, size);
    record_lock();
    int result = next(fd, offset, size);
    if (result == 0)
        record_on_fd(RECORD_EXTEND, fd, offset + size);
    record_unlock();
    return result;
}

INTERPOSED int ftruncate64(int, off64_t) __attribute__((alias("ftruncate")));
INTERPOSED int truncate64(const char *, off64_t) __attribute__((alias("truncate")));
INTERPOSED int fallocate64(int, int, off64_t, off64_t) __attribute__((alias("fallocate")));
INTERPOSED int posix_fallocate64(int, off64_t, off64_t) __attribute__((alias("posix_fallocate")));

INTERPOSED int fchmod(int fd, mode_t mode)
{
    NEXT(fchmod);
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return next(fd, mode);
    record_lock();
    int result = next(fd, mode);
    if (result == 0 && S_ISREG(stat_of(fd).st_mode))
        record_on_fd(RECORD_MODE, fd, 0);
    record_unlock();
    return result;
}

/* ---- stdio ---- */

static void stdio_begins(int fd, bool nothing_seen)
{
    if (fd < STDIO_FDS)
        stdio_seen[fd] = 1 + (nothing_seen ? 0 : stat_of(fd).st_size);
}

static bool is_stdio(int fd)
{
    return fd >= 0 && fd < STDIO_FDS && stdio_seen[fd] > 0;
}

/* Reads through a descriptor of its own: the program's may be open for writing only. */
static size_t read_back(int fd, off_t offset, char *data, size_t size)
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    int reader = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    ssize_t length = reader < 0 ? -1 : pread(reader, data, size, offset);
    if (reader >= 0)
        close(reader);
    return length < 0 ? 0 : (size_t)length;
}

/* Records what stdio has written to the file since the last time. Only under the lock. */
static void record_stdio(int fd, const char *path)
{
    int saved = errno;
    int64_t seen = is_stdio(fd) ? stdio_seen[fd] - 1 : INT64_MAX;
    int64_t size = stat_of(fd).st_size;
    if (size > seen) {
        char *data = malloc((size_t)(size - seen));
        if (data == NULL)
            abort();
        size_t length = read_back(fd, seen, data, (size_t)(size - seen));
        record_write(fd, path, seen, data, length);
        stdio_seen[fd] = 1 + seen + (int64_t)length;
        free(data);
    }
    errno = saved;
}

static int flags_of(const char *mode)
{
    if (strchr(mode, '+') == NULL && mode[0] == 'r')
        return O_RDONLY;
    return mode[0] == 'w' ? O_RDWR | O_TRUNC : O_RDWR;
}

INTERPOSED FILE *fopen(const char *name, const char *mode)
{
    NEXT(fopen);
    char path[PATH_MAX];
    if (flags_of(mode) == O_RDONLY || !recorded_name(AT_FDCWD, name, path))
        return next(name, mode);
    record_lock();
    bool existed = exists(AT_FDCWD, name);
    FILE *file = next(name, mode);
    if (file != NULL) {
        record_open(fileno(file), path, existed, flags_of(mode));
        stdio_begins(fileno(file), mode[0] != 'a');
    }
    record_unlock();
    return file;
}

INTERPOSED FILE *fopen64(const char *, const char *) __attribute__((alias("fopen")));

INTERPOSED FILE *fdopen(int fd, const char *mode)
{
    NEXT(fdopen);
    char path[PATH_MAX];
    FILE *file = next(fd, mode);
    if (file != NULL && flags_of(mode) != O_RDONLY && recorded_fd(fd, path))
        stdio_begins(fd, false);
    return file;
}

INTERPOSED int fflush(FILE *file)
{
    NEXT(fflush);
    char path[PATH_MAX];
    if (file == NULL || !is_stdio(fileno(file)) || !recorded_fd(fileno(file), path))
        return next(file);
    record_lock();
    int result = next(file);
    record_stdio(fileno(file), path);
    record_unlock();
    return result;
}

INTERPOSED int fclose(FILE *file)
{
    NEXT(fclose);
    if (is_stdio(fileno(file))) {
        fflush(file);
        stdio_seen[fileno(file)] = 0;
    }
    return next(file);
}

/* ---- syncing ---- */

/* The lock isn't held while the disk works: what others write meanwhile is not covered, and the log
 * says so. */
static int recorded_sync(int fd, int (*sync_function)(int))
{
    char path[PATH_MAX];
    if (!recorded_fd(fd, path))
        return sync_function(fd);
    struct stat status = stat_of(fd);
    struct record record = {
        .kind = RECORD_SYNC_BEGIN, .inode = status.st_ino, .mode = status.st_mode, .path = path};
    record_lock();
    record_stdio(fd, path);
    record.offset = record_token();
    record_append(&record);
    record_unlock();

    int result = sync_function(fd);

    record_lock();
    record.kind = result == 0 ? RECORD_SYNC_END : RECORD_SYNC_FAILED;
    record_append(&record);
    record_unlock();
    return result;
}

INTERPOSED int fsync(int fd)
{
    NEXT(fsync);
    return recorded_sync(fd, next);
}

INTERPOSED int fdatasync(int fd)
{
    NEXT(fdatasync);
    return recorded_sync(fd, next);
}

/* ---- names ---- */

INTERPOSED int renameat2(
    int from_dir, const char *from, int to_dir, const char *to, unsigned int flags)
{
    NEXT(renameat2);
    char path[PATH_MAX];
    char second[PATH_MAX];
    bool leaves = recorded_name(from_dir, from, path);
    if (!leaves)
        return next(from_dir, from, to_dir, to, flags);
    bool stays = recorded_name(to_dir, to, second);
    record_lock();
    int result = next(from_dir, from, to_dir, to, flags);
    if (result == 0 && stays)
        record_name(RECORD_RENAME, path, second, 0);
    else if (result == 0)
        record_name(RECORD_UNLINK, path, NULL, 0);
    record_unlock();
    return result;
}

INTERPOSED int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return renameat2(from_dir, from, to_dir, to, 0);
}

INTERPOSED int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

INTERPOSED int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    NEXT(linkat);
    char path[PATH_MAX];
    char second[PATH_MAX];
    if (!recorded_name(from_dir, from, path) || !recorded_name(to_dir, to, second))
        return next(from_dir, from, to_dir, to, flags);
    record_lock();
    int result = next(from_dir, from, to_dir, to, flags);
    if (result == 0)
        record_name(RECORD_LINK, path, second, 0);
    record_unlock();
    return result;
}

INTERPOSED int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

INTERPOSED int unlinkat(int dirfd, const char *name, int flags)
{
    NEXT(unlinkat);
    char path[PATH_MAX];
    if (!recorded_name(dirfd, name, path))
        return next(dirfd, name, flags);
    record_lock();
    int result = next(dirfd, name, flags);
    if (result == 0)
        record_name((flags & AT_REMOVEDIR) != 0 ? RECORD_RMDIR : RECORD_UNLINK, path, NULL, 0);
    record_unlock();
    return result;
}

INTERPOSED int unlink(const char *name)
{
    return unlinkat(AT_FDCWD, name, 0);
}

INTERPOSED int rmdir(const char *name)
{
    return unlinkat(AT_FDCWD, name, AT_REMOVEDIR);
}

INTERPOSED int remove(const char *name)
{
    int result = unlink(name);
    return result != 0 && errno == EISDIR ? rmdir(name) : result;
}

INTERPOSED int mkdirat(int dirfd, const char *name, mode_t mode)
{
    NEXT(mkdirat);
    char path[PATH_MAX];
    if (!recorded_name(dirfd, name, path))
        return next(dirfd, name, mode);
    record_lock();
    int result = next(dirfd, name, mode);
    struct stat status;
    if (result == 0 && fstatat(dirfd, name, &status, 0) == 0)
        record_name(RECORD_MKDIR, path, NULL, status.st_mode & 07777);
    record_unlock();
    return result;
}

INTERPOSED int mkdir(const char *name, mode_t mode)
{
    return mkdirat(AT_FDCWD, name, mode);
}
