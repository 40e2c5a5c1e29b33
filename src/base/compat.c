/* The same by what each system has. */
#include "compat.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#ifdef __APPLE__
/* Sets what SOCK_NONBLOCK and SOCK_CLOEXEC would have. */
static int compat_prepare(int fd)
{
    if (fd < 0 || (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
                      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0))
        return fd;
    (void)close(fd);
    return -1;
}

int cvm_pipe(int ends[2])
{
    if (pipe(ends))
        return -1;
    ends[0] = compat_prepare(ends[0]);
    ends[1] = compat_prepare(ends[1]);
    return ends[0] < 0 || ends[1] < 0 ? -1 : 0;
}

int cvm_socket(int family, int type)
{
    return compat_prepare(socket(family, type, 0));
}

int cvm_accept(int listener, struct sockaddr *address, socklen_t *size)
{
    return compat_prepare(accept(listener, address, size));
}

int cvm_dup_to(int from, int to)
{
    int fd = dup2(from, to);
    return fd >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

void *memrchr(const void *bytes, int byte, size_t length)
{
    const unsigned char *text = bytes;
    while (length)
        if (text[--length] == (unsigned char)byte)
            return (void *)(uintptr_t)(text + length);
    return NULL;
}
#else
int cvm_pipe(int ends[2])
{
    return pipe2(ends, O_NONBLOCK | O_CLOEXEC);
}

int cvm_socket(int family, int type)
{
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int cvm_accept(int listener, struct sockaddr *address, socklen_t *size)
{
    return accept4(listener, address, size, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

int cvm_dup_to(int from, int to)
{
    return dup3(from, to, O_CLOEXEC);
}
#endif

int32_t cvm_rename_new(const char *from, const char *to)
{
#if defined(__GLIBC__)
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
#elif defined(SYS_renameat2)
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 1u) ? -1 : 0; /* RENAME_NOREPLACE */
#else
    (void)from;
    (void)to;
    errno = ENOSYS;
    return -1;
#endif
}
