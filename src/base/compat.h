/* What Linux with glibc has and musl, FreeBSD or macOS lack, so that it compiles there. The file
 * store does not work on the latter two yet: they have one lock where Linux has flock() and
 * fcntl().
 */
#ifndef CVM_BASE_COMPAT_H
#define CVM_BASE_COMPAT_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder to open files by; reading it is more than is needed, and the next best. */
#ifndef O_PATH
#ifdef O_SEARCH
#define O_PATH O_SEARCH
#else
#define O_PATH O_RDONLY
#endif
#endif

/* Without it open() of a folder for writing fails, as it does where a file system lacks it. */
#ifndef O_TMPFILE
#define O_TMPFILE 0
#endif

#ifdef __APPLE__
#include <crt_externs.h>
#define environ (*_NSGetEnviron())
#define st_mtim st_mtimespec
#define st_ctim st_ctimespec
void *memrchr(const void *bytes, int byte, size_t length);
#elif !defined(__linux__)
extern char **environ;
#endif

/* pipe(), socket(), accept() and dup2(), with what they make closed on exec; all but the last
 * without blocking. */
int cvm_pipe(int ends[2]);
int cvm_socket(int family, int type);
int cvm_accept(int listener, struct sockaddr *address, socklen_t *size);
int cvm_dup_to(int from, int to);
/* Renames a file unless there is one at to (EEXIST). 0, or -1 and errno: EINVAL or ENOSYS where
 * that can't be had in one step. */
int32_t cvm_rename_new(const char *from, const char *to);

#endif
