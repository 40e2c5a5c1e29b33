/* The lock is flock()'s; the counts are the file's content, and are read without the lock. */
#include "crl_lock.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"

#define LOCK_TRIES   3000 /* of 10 ms: 30 s */
#define LOCK_WAIT_US 10000
#define LONGEST_PATH 4096

struct counts {
    uint64_t begun, done;
};

/* Until it is the same twice: another process may be writing it. Zeroes if there is nothing, or
 * what can not be. */
static struct counts read_counts(int fd)
{
    struct counts counts, again;
    do {
        counts = again = (struct counts){0, 0};
        if (pread(fd, &counts, sizeof counts, 0) != (ssize_t)sizeof counts ||
            pread(fd, &again, sizeof again, 0) != (ssize_t)sizeof again)
            return (struct counts){0, 0};
    } while (counts.begun != again.begun || counts.done != again.done);
    return counts.done <= counts.begun ? counts : (struct counts){0, 0};
}

/* Without them the next one makes a CRL of its own: nothing is lost. */
static void write_counts(int fd, struct counts counts)
{
    ssize_t written = pwrite(fd, &counts, sizeof counts, 0);
    (void)written;
}

int32_t cvm_crl_lock_take(
    struct crl_lock *lock, const char *folder, atomic_int *must_end, char *error, size_t error_size)
{
    char path[LONGEST_PATH];
    (void)snprintf(path, sizeof path, "%s/.crl.lock", folder);
    int fd = cvm_files_open(path, O_RDWR | O_CREAT, 0600, error, error_size);
    if (fd < 0)
        return -1;
    lock->ticket = read_counts(fd).begun;
    for (int i = 0; i < LOCK_TRIES && !atomic_load(must_end); i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            lock->fd = fd;
            return 0;
        }
        cvm_sleep_us(LOCK_WAIT_US);
    }
    cvm_files_explain(error, error_size, path, "another process does not let go of it");
    (void)close(fd);
    return -1;
}

int32_t cvm_crl_lock_is_served(const struct crl_lock *lock)
{
    return read_counts(lock->fd).done > lock->ticket;
}

void cvm_crl_lock_begin(const struct crl_lock *lock)
{
    struct counts counts = read_counts(lock->fd);
    counts.begun++;
    write_counts(lock->fd, counts);
}

void cvm_crl_lock_done(const struct crl_lock *lock)
{
    struct counts counts = read_counts(lock->fd);
    counts.done = counts.begun;
    write_counts(lock->fd, counts);
}

void cvm_crl_lock_let_go(struct crl_lock *lock)
{
    if (lock->fd >= 0)
        (void)close(lock->fd);
    lock->fd = -1;
}
