/* Opening, atomic replacement, bounded reading. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "hex.h"

#define LARGEST_FILE    ((size_t)1024 * 1024)
#define SUFFIX_BYTES    3
#define MOST_NAME_TRIES 16
#define MOST_LINKS      8
#define NOT_FOLLOWED                                                                               \
    "is a link, or no regular file with one name, in a folder that others can write to"

void cvm_files_explain(char *error, size_t error_size, const char *path, const char *why)
{
    static const char CUT[] = "...";
    size_t length = strlen(path), needed = strlen(": ") + strlen(why) + 1;
    size_t room = needed < error_size ? error_size - needed : 0;
    if (length <= room)
        (void)snprintf(error, error_size, "%s: %s", path, why);
    else if (room < sizeof CUT)
        (void)snprintf(error, error_size, "%s", why);
    else
        (void)snprintf(
            error, error_size, "%s%s: %s", CUT, path + length - (room - strlen(CUT)), why);
}

static int32_t complain(const char *path, char *error, size_t error_size)
{
    int failure = errno;
    cvm_files_explain(error, error_size, path, strerror(failure));
    errno = failure;
    return -1;
}

static void close_quietly(int fd)
{
    int failure = errno;
    (void)close(fd);
    errno = failure;
}

/* --- The folder that a file lies in ----------------------------------------------------------- */

struct place {
    int folder;       /* a descriptor to open the file by */
    const char *name; /* the last part of the path */
    int is_others;    /* others than the caller and root can write to the folder */
    uid_t owner;
    gid_t group;
};

static int32_t look_at_folder(struct place *place)
{
    struct stat status;
    if (fstat(place->folder, &status))
        return -1;
    place->owner = status.st_uid;
    place->group = status.st_gid;
    place->is_others = (status.st_uid != 0 && status.st_uid != geteuid()) ||
                       (status.st_mode & (S_IWGRP | S_IWOTH)) != 0;
    return 0;
}

/* Into the next folder of the path; who can write to the one before could have made it a link. */
static int32_t step_into(struct place *place, const char *name)
{
    int flags = O_PATH | O_DIRECTORY | O_CLOEXEC | (place->is_others ? O_NOFOLLOW : 0);
    int folder = openat(place->folder, name, flags);
    close_quietly(place->folder);
    place->folder = folder;
    return folder < 0 ? -1 : look_at_folder(place);
}

static int32_t walk(struct place *place, const char *path)
{
    char name[NAME_MAX + 1];
    for (;;) {
        path += strspn(path, "/");
        size_t length = strcspn(path, "/");
        const char *rest = path + length + strspn(path + length, "/");
        if (!*rest) {
            place->name = path;
            return 0;
        }
        if (length > NAME_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(name, path, length);
        name[length] = 0;
        if (step_into(place, name))
            return -1;
        path = rest;
    }
}

/* The folder of path, and the file's name in it. 0, or -1 and errno. */
static int32_t find_place(struct place *place, const char *path)
{
    place->folder = open(*path == '/' ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place->folder >= 0 && !look_at_folder(place) && !walk(place, path))
        return 0;
    if (place->folder >= 0)
        close_quietly(place->folder);
    return -1;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int32_t is_plain_file(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1;
}

/* What root makes in somebody's folder is his. */
static void hand_over(const struct place *place, int fd)
{
    struct stat status;
    if (geteuid() == 0 && place->owner != 0 && fstat(fd, &status) == 0 && status.st_uid == 0)
        (void)!fchown(fd, place->owner, place->group);
}

static int open_place(const struct place *place, int flags, mode_t mode)
{
    if (!place->is_others)
        return openat(place->folder, place->name, flags | O_CLOEXEC, mode);
    /* Without waiting for who would read a pipe. */
    int fd = openat(place->folder, place->name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode);
    if (fd >= 0 && !is_plain_file(fd)) {
        (void)close(fd);
        errno = ELOOP;
        return -1;
    }
    if (fd >= 0)
        hand_over(place, fd);
    return fd;
}

int cvm_files_open(const char *path, int flags, mode_t mode, char *error, size_t error_size)
{
    struct place place;
    if (find_place(&place, path))
        return complain(path, error, error_size);
    int fd = open_place(&place, flags, mode);
    close_quietly(place.folder);
    if (fd < 0 && place.is_others && (errno == ELOOP || errno == ENXIO || errno == EMLINK)) {
        cvm_files_explain(error, error_size, path, NOT_FOLLOWED);
        errno = ELOOP;
    } else if (fd < 0) {
        (void)complain(path, error, error_size);
    }
    return fd;
}

static int32_t is_link(const struct place *place)
{
    struct stat status;
    return fstatat(place->folder, place->name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISLNK(status.st_mode);
}

/* A link to what is not there yet leads to where that will be. Frees path. */
static char *follow_missing(char *path)
{
    char target[PATH_MAX];
    for (int i = 0; path && i < MOST_LINKS; i++) {
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            return path;
        target[length] = 0;
        const char *slash = *target == '/' ? NULL : strrchr(path, '/');
        int folder = slash ? (int)(slash + 1 - path) : 0;
        char *next = NULL;
        if (asprintf(&next, "%.*s%s", folder, path, target) < 0)
            next = NULL;
        free(path);
        path = next;
    }
    return path;
}

char *cvm_files_resolve(const char *path, char *error, size_t error_size)
{
    struct place place;
    if (find_place(&place, path)) {
        (void)complain(path, error, error_size);
        return NULL;
    }
    int32_t is_refused = place.is_others && is_link(&place);
    (void)close(place.folder);
    if (is_refused) {
        errno = ELOOP;
        cvm_files_explain(error, error_size, path, NOT_FOLLOWED);
        return NULL;
    }
    char *resolved = realpath(path, NULL);
    if (!resolved && errno == ENOENT)
        resolved = follow_missing(strdup(path));
    if (!resolved)
        (void)complain(path, error, error_size);
    return resolved;
}

/* --- Replacing -------------------------------------------------------------------------------- */

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

static int32_t sync_folder(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* O_PATH can't be synced */
    int32_t failed = fd < 0 || fsync(fd);
    if (fd >= 0)
        close_quietly(fd);
    return failed ? -1 : 0;
}

int32_t cvm_files_sync_folder_of(const char *path)
{
    struct place place;
    if (find_place(&place, path))
        return -1;
    int32_t failed = sync_folder(place.folder);
    close_quietly(place.folder);
    return failed;
}

/* A new file beside the one wanted, which only its owner reads. A descriptor and its name, or -1.
 */
static int make_temporary(const struct place *place, char name[NAME_MAX + 1])
{
    int fd = -1;
    for (int i = 0; fd < 0 && i < MOST_NAME_TRIES; i++) {
        char suffix[2 * SUFFIX_BYTES + 1];
        if (cvm_random_hex(SUFFIX_BYTES, suffix)) {
            errno = EAGAIN;
            return -1;
        }
        if (snprintf(name, NAME_MAX + 1, "%s.%s", place->name, suffix) > NAME_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd =
            openat(place->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST)
            return -1;
    }
    return fd;
}

/* Fills the temporary file and gives it its rights before anybody can know its name. */
static int32_t fill(int fd, const void *bytes, size_t length, mode_t mode, gid_t group)
{
    if (group != (gid_t)-1 && fchown(fd, (uid_t)-1, group) == 0)
        mode |= S_IRGRP;
    return write_all(fd, bytes, length) || fchmod(fd, mode) || fsync(fd) ? -1 : 0;
}

static int32_t replace_in(
    const struct place *place, const void *bytes, size_t length, mode_t mode, gid_t group)
{
    char temporary[NAME_MAX + 1];
    int fd = make_temporary(place, temporary);
    if (fd < 0)
        return -1;
    hand_over(place, fd);
    int32_t failed = fill(fd, bytes, length, mode, group);
    if (failed)
        close_quietly(fd);
    else
        failed = close(fd);
    if (failed || renameat(place->folder, temporary, place->folder, place->name)) {
        int failure = errno;
        (void)unlinkat(place->folder, temporary, 0);
        errno = failure;
        return -1;
    }
    return sync_folder(place->folder);
}

int32_t cvm_files_replace(const char *path, const void *bytes, size_t length, mode_t mode,
    gid_t group, char *error, size_t error_size)
{
    struct place place;
    if (find_place(&place, path))
        return complain(path, error, error_size);
    int32_t failed = replace_in(&place, bytes, length, mode, group);
    close_quietly(place.folder);
    return failed ? complain(path, error, error_size) : 0;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* A pipe or a device may never end, and opening one may wait for ever. */
static int open_regular(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, &status) || !S_ISREG(status.st_mode))) {
        int failure = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
        (void)close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

static int32_t read_whole(int fd, char *bytes, size_t most, size_t *length)
{
    ssize_t count;
    *length = 0;
    do {
        count = read(fd, bytes + *length, most + 1 - *length);
        *length += count > 0 ? (size_t)count : 0;
    } while ((count > 0 && *length <= most) || (count < 0 && errno == EINTR));
    if (count >= 0 && *length > most)
        errno = EFBIG;
    return count < 0 || *length > most ? -1 : 0;
}

char *cvm_files_read_most(
    const char *path, size_t most, size_t *length, char *error, size_t error_size)
{
    struct stat status = {0};
    int fd = open_regular(path);
    size_t room = fd >= 0 && fstat(fd, &status) == 0 && (size_t)status.st_size < most
                      ? (size_t)status.st_size
                      : most;
    char *bytes = fd >= 0 ? malloc(room + 2) : NULL;
    if (!bytes || read_whole(fd, bytes, room, length)) {
        (void)complain(path, error, error_size);
        int failure = errno;
        if (fd >= 0)
            (void)close(fd);
        free(bytes);
        errno = failure;
        return NULL;
    }
    (void)close(fd);
    bytes[*length] = 0;
    return bytes;
}

char *cvm_files_read(const char *path, size_t *length, char *error, size_t error_size)
{
    return cvm_files_read_most(path, LARGEST_FILE, length, error, error_size);
}

int32_t cvm_files_is_read_only(const char *path)
{
    return access(path, W_OK) != 0 && errno == EROFS;
}

int32_t cvm_files_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
