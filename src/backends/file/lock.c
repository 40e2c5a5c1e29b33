/* Two locks on one file: flock() for the one server, and a byte's range for everybody who has the
 * store open. The range is locked for the open file description (F_OFD_SETLK), so that it does not
 * go when something else in this process opens and closes the file. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "names.h"

#define USERS_AT    4096 /* the byte that users lock: behind all that is written */
#define SLOT_SIZE   64
#define ENTER_TRIES 2000 /* of 5 ms: 10 s */
#define ENTER_US    5000

static const char *const SLOT_NAMES[SLOT_COUNT] = {"generation", "next", "restore"};

/* --- Opening ---------------------------------------------------------------------------------- */

cvm_answer_t cvm_lock_judge(void)
{
    return errno == ENOSPC || errno == EDQUOT || errno == EIO || errno == EMFILE ||
                   errno == ENFILE || errno == ENOMEM
               ? CVM_ANSWER_UNAVAILABLE
               : CVM_ANSWER_INVALID;
}

cvm_answer_t cvm_lock_open(
    struct lock *lock, const char *store_path, char *error, size_t error_size)
{
    (void)cvm_store_name(lock->path, store_path, LOCK_SUFFIX);
    lock->fd = cvm_files_open(lock->path, O_RDWR | O_CREAT, 0600, error, error_size);
    lock->is_read_only = lock->fd < 0 && errno == EROFS;
    if (lock->is_read_only) {
        lock->fd = open(lock->path, O_RDONLY | O_CLOEXEC);
        return CVM_ANSWER_OK;
    }
    return lock->fd >= 0 ? CVM_ANSWER_OK : cvm_lock_judge();
}

void cvm_lock_close(struct lock *lock)
{
    if (lock->fd >= 0)
        (void)close(lock->fd);
    lock->fd = -1;
}

/* --- The locks -------------------------------------------------------------------------------- */

/* What only who can write may ask for. */
static cvm_answer_t lock_refuse(const struct lock *lock, char *error, size_t error_size)
{
    cvm_files_explain(error, error_size, lock->path, strerror(EROFS));
    return CVM_ANSWER_INVALID;
}

cvm_answer_t cvm_lock_serve(struct lock *lock, char *error, size_t error_size)
{
    if (lock->is_read_only)
        return lock_refuse(lock, error, error_size);
    if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0)
        return CVM_ANSWER_OK;
    int is_taken = errno == EWOULDBLOCK;
    cvm_files_explain(error, error_size, lock->path,
        is_taken ? "another server has this store" : strerror(errno));
    return is_taken ? CVM_ANSWER_BUSY : cvm_lock_judge();
}

/* Read or write lock, as fcntl() calls them. Where there are no locks for open file descriptions,
 * the process's own. */
static int lock_users(const struct lock *lock, short type)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = USERS_AT, .l_len = 1};
#ifdef F_OFD_SETLK
    if (fcntl(lock->fd, F_OFD_SETLK, &range) == 0)
        return 0;
    if (errno != EINVAL)
        return -1;
#endif
    return fcntl(lock->fd, F_SETLK, &range);
}

static int is_held_by_others(void)
{
    return errno == EAGAIN || errno == EACCES;
}

static cvm_answer_t lock_complain(const struct lock *lock, char *error, size_t error_size)
{
    cvm_files_explain(error, error_size, lock->path, strerror(errno));
    return CVM_ANSWER_UNAVAILABLE;
}

cvm_answer_t cvm_lock_enter(struct lock *lock, int *is_alone, char *error, size_t error_size)
{
    *is_alone = 0;
    if (lock->is_read_only && lock->fd < 0)
        return CVM_ANSWER_OK;
    for (int i = 0; i < ENTER_TRIES; i++) {
        *is_alone = !lock->is_read_only && lock_users(lock, F_WRLCK) == 0;
        if (*is_alone || lock_users(lock, F_RDLCK) == 0)
            return CVM_ANSWER_OK;
        if (!is_held_by_others())
            return lock_complain(lock, error, error_size);
        cvm_sleep_us(ENTER_US);
    }
    cvm_files_explain(
        error, error_size, lock->path, "somebody is alone with this store: `cvm restore`?");
    return CVM_ANSWER_BUSY;
}

void cvm_lock_share(struct lock *lock)
{
    if (!lock->is_read_only)
        (void)lock_users(lock, F_RDLCK);
}

cvm_answer_t cvm_lock_enter_alone(struct lock *lock, char *error, size_t error_size)
{
    if (lock->is_read_only)
        return lock_refuse(lock, error, error_size);
    if (lock_users(lock, F_WRLCK) == 0)
        return CVM_ANSWER_OK;
    if (!is_held_by_others())
        return lock_complain(lock, error, error_size);
    cvm_files_explain(error, error_size, lock->path,
        "the store is in use: stop the server, and let commands on it end");
    return CVM_ANSWER_BUSY;
}

/* --- What it says ----------------------------------------------------------------------------- */

void cvm_lock_read(const struct lock *lock, enum lock_slot slot, char *text, size_t size)
{
    char bytes[SLOT_SIZE + 1] = "", name[16], value[SLOT_SIZE + 1] = "";
    ssize_t length = pread(lock->fd, bytes, SLOT_SIZE, (off_t)slot * SLOT_SIZE);
    bytes[length > 0 ? length : 0] = 0;
    if (sscanf(bytes, "%15s %48[-0-9a-zA-Z]", name, value) != 2 ||
        strcmp(name, SLOT_NAMES[slot]) != 0 || strlen(value) >= size)
        *value = 0;
    (void)snprintf(text, size, "%.*s", (int)(size - 1), value);
}

int cvm_lock_write(const struct lock *lock, enum lock_slot slot, const char *text)
{
    char bytes[SLOT_SIZE + 1];
    (void)snprintf(bytes, sizeof bytes, "%-10s %-52s\n", SLOT_NAMES[slot], text);
    ssize_t written = pwrite(lock->fd, bytes, SLOT_SIZE, (off_t)slot * SLOT_SIZE);
    if (written >= 0 && written != SLOT_SIZE)
        errno = ENOSPC;
    return written == SLOT_SIZE && fsync(lock->fd) == 0 ? 0 : -1;
}
