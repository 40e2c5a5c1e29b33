/* The process's table of open stores, and the locks that each holds. */
#include "anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/files.h"
#include "names.h"

/* What the last user locks: SQLite's shared bytes (os.h, SHARED_FIRST and SHARED_SIZE), and the
 * dead man's switch in -shm (os_unix.c, UNIX_SHM_DMS). */
#define SHARED_FIRST 0x40000002
#define SHARED_SIZE  510
#define SHM_DMS      128

struct anchor {
    struct anchor *next;
    dev_t device;
    ino_t inode;
    pid_t process;           /* a child of fork() has the entry, and none of the locks */
    uint32_t users, holders; /* the latter have the locks */
    int file, shm, log;
    char *path;
};

static pthread_mutex_t anchors_lock = PTHREAD_MUTEX_INITIALIZER; /* of all that follows */
static struct anchor *anchors;

/* --- Life ------------------------------------------------------------------------------------- */

static struct anchor *anchor_find(const char *path)
{
    struct stat file;
    if (stat(path, &file))
        return NULL;
    struct anchor *anchor = anchors;
    while (anchor && (anchor->device != file.st_dev || anchor->inode != file.st_ino))
        anchor = anchor->next;
    return anchor;
}

static struct anchor *anchor_make(const char *path, char *error, size_t error_size)
{
    struct stat file = {0};
    struct anchor *anchor = calloc(1, sizeof *anchor);
    if (!anchor || !(anchor->path = strdup(path))) {
        free(anchor);
        (void)snprintf(error, error_size, "out of memory");
        errno = ENOMEM;
        return NULL;
    }
    anchor->process = getpid();
    anchor->shm = anchor->log = -1;
    anchor->file = cvm_files_open(path, O_RDONLY, 0, error, error_size);
    if (anchor->file < 0) {
        int failure = errno;
        free(anchor->path);
        free(anchor);
        errno = failure;
        return NULL;
    }
    (void)fstat(anchor->file, &file);
    anchor->device = file.st_dev;
    anchor->inode = file.st_ino;
    anchor->next = anchors;
    anchors = anchor;
    return anchor;
}

struct anchor *cvm_anchor_new(const char *path, char *error, size_t error_size)
{
    (void)pthread_mutex_lock(&anchors_lock);
    struct anchor *anchor = anchor_find(path);
    if (!anchor)
        anchor = anchor_make(path, error, error_size);
    if (anchor && anchor->process != getpid()) {
        cvm_files_explain(error, error_size, path,
            "the process that this one is a child of had it open at the fork");
        errno = EBUSY;
        anchor = NULL;
    }
    if (anchor)
        anchor->users++;
    (void)pthread_mutex_unlock(&anchors_lock);
    return anchor;
}

static void anchor_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void cvm_anchor_free(struct anchor *anchor)
{
    if (!anchor)
        return;
    (void)pthread_mutex_lock(&anchors_lock);
    if (--anchor->users == 0) {
        struct anchor **link = &anchors;
        while (*link != anchor)
            link = &(*link)->next;
        *link = anchor->next;
        anchor_close(&anchor->file);
        anchor_close(&anchor->shm);
        anchor_close(&anchor->log);
        free(anchor->path);
        free(anchor);
    }
    (void)pthread_mutex_unlock(&anchors_lock);
}

/* --- The locks -------------------------------------------------------------------------------- */

static int anchor_lock(int fd, short type, off_t from, off_t length)
{
#ifdef F_OFD_SETLK
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = length};
    return fcntl(fd, F_OFD_SETLK, &range);
#else
    (void)fd;
    (void)type;
    (void)from;
    (void)length;
    errno = EINVAL;
    return -1;
#endif
}

static int anchor_open_beside(const struct anchor *anchor, const char *suffix)
{
    char name[STORE_NAME_SIZE];
    return open(cvm_store_name(name, anchor->path, suffix), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* 1 if fd is what the path leads to now. */
static int anchor_is_there(const struct anchor *anchor, int fd, const char *suffix)
{
    char name[STORE_NAME_SIZE];
    struct stat ours = {0}, there = {0};
    return fstat(fd, &ours) == 0 && ours.st_nlink != 0 &&
           stat(cvm_store_name(name, anchor->path, suffix), &there) == 0 &&
           ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

/* The present -shm; closing a descriptor of it would drop what locks SQLite has there. */
static int anchor_open_shm(struct anchor *anchor)
{
    if (anchor->shm >= 0 && anchor_is_there(anchor, anchor->shm, SHM_SUFFIX))
        return 0;
    anchor_close(&anchor->shm);
    anchor->shm = anchor_open_beside(anchor, SHM_SUFFIX);
    return anchor->shm < 0 ? -1 : 0;
}

static int anchor_take_locks(struct anchor *anchor)
{
    if (anchor_open_shm(anchor) || anchor_lock(anchor->file, F_RDLCK, SHARED_FIRST, SHARED_SIZE))
        return -1;
    if (anchor_lock(anchor->shm, F_RDLCK, SHM_DMS, 1) == 0)
        return 0;
    int failure = errno;
    (void)anchor_lock(anchor->file, F_UNLCK, SHARED_FIRST, SHARED_SIZE);
    errno = failure;
    return -1;
}

int cvm_anchor_hold(struct anchor *anchor)
{
    (void)pthread_mutex_lock(&anchors_lock);
    int failed = anchor->holders ? 0 : anchor_take_locks(anchor), failure = errno;
    if (!failed)
        anchor->holders++;
    (void)pthread_mutex_unlock(&anchors_lock);
    errno = failure;
    return failed;
}

void cvm_anchor_let_go(struct anchor *anchor)
{
    (void)pthread_mutex_lock(&anchors_lock);
    if (--anchor->holders == 0) {
        (void)anchor_lock(anchor->file, F_UNLCK, SHARED_FIRST, SHARED_SIZE);
        (void)anchor_lock(anchor->shm, F_UNLCK, SHM_DMS, 1);
    }
    (void)pthread_mutex_unlock(&anchors_lock);
}

/* --- Without such locks ----------------------------------------------------------------------- */

/* SQLite has no locks on the log: it may be opened and closed. */
int cvm_anchor_lost_log(struct anchor *anchor)
{
    (void)pthread_mutex_lock(&anchors_lock);
    if (anchor->log < 0)
        anchor->log = anchor_open_beside(anchor, LOG_SUFFIX);
    int is_lost = anchor->log >= 0 && !anchor_is_there(anchor, anchor->log, LOG_SUFFIX);
    (void)pthread_mutex_unlock(&anchors_lock);
    return is_lost;
}

void cvm_anchor_renew_log(struct anchor *anchor)
{
    (void)pthread_mutex_lock(&anchors_lock);
    anchor_close(&anchor->log);
    (void)pthread_mutex_unlock(&anchors_lock);
}
