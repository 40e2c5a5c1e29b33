/*
 * Writing the recorder's log: the lock that orders threads and processes, and the records' form on
 * disk. What is recorded is recorder.c's business.
 */
#include "record_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x524d5643u /* "CVMR" */

/* Out of the way of programs that count on low descriptors. */
#define FIRST_LOG_FD 700

struct header {
    uint32_t magic;
    uint32_t kind;
    uint64_t time_ns;
    uint64_t inode;
    int64_t offset;
    uint32_t mode;
    uint32_t path_length;
    uint32_t second_path_length;
    uint32_t data_length;
};

_Static_assert(sizeof(struct header) == 48, "replay.py reads 48 bytes");

static int log_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *buffer;
static size_t buffer_size;
static uint32_t tokens;

static _Noreturn void fail(const char *what)
{
    perror(what);
    abort();
}

static void lock_mutex(void)
{
    pthread_mutex_lock(&mutex);
}

static void unlock_mutex(void)
{
    pthread_mutex_unlock(&mutex);
}

bool record_log_open(const char *variable)
{
    const char *name = getenv(variable);
    if (name == NULL)
        return false;
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, flags, 0600);
    log_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_LOG_FD);
    if (log_fd < 0)
        fail(name);
    close(fd);
    pthread_atfork(lock_mutex, unlock_mutex, unlock_mutex);
    return true;
}

/* A lock of the process, not of the open file: a forked child is kept out as well. */
static void lock_file(short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    while (fcntl(log_fd, F_SETLKW, &lock) != 0)
        if (errno != EINTR)
            fail("recorder: lock");
}

void record_lock(void)
{
    int saved = errno;
    lock_mutex();
    lock_file(F_WRLCK);
    errno = saved;
}

void record_unlock(void)
{
    int saved = errno;
    lock_file(F_UNLCK);
    unlock_mutex();
    errno = saved;
}

int64_t record_token(void)
{
    return ((int64_t)getpid() << 32) | tokens++;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void reserve(size_t size)
{
    if (size <= buffer_size)
        return;
    buffer = realloc(buffer, size);
    if (buffer == NULL)
        fail("recorder");
    buffer_size = size;
}

static unsigned char *put(unsigned char *to, const void *from, size_t size)
{
    if (size > 0)
        memcpy(to, from, size);
    return to + size;
}

void record_append(const struct record *record)
{
    int saved = errno;
    struct header header = {
        .magic = MAGIC,
        .kind = record->kind,
        .time_ns = now_ns(),
        .inode = record->inode,
        .offset = record->offset,
        .mode = record->mode,
        .path_length = record->path == NULL ? 0 : (uint32_t)strlen(record->path),
        .second_path_length =
            record->second_path == NULL ? 0 : (uint32_t)strlen(record->second_path),
        .data_length = (uint32_t)record->size,
    };
    size_t total = sizeof(header) + header.path_length + header.second_path_length + record->size;
    reserve(total);
    unsigned char *end = put(buffer, &header, sizeof(header));
    end = put(end, record->path, header.path_length);
    end = put(end, record->second_path, header.second_path_length);
    put(end, record->data, record->size);
    /* One call for the whole record: a killed process leaves no half of one behind. */
    if (syscall(SYS_write, log_fd, buffer, total) != (long)total)
        fail("recorder: log");
    errno = saved;
}
