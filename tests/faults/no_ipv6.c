/*
 * A kernel without IPv6: no socket of that family. LD_PRELOAD=libcvm-noipv6.so PROGRAM
 */
#include <errno.h>
#include <sys/socket.h>

#include "watched.h"

INTERPOSED int socket(int family, int type, int protocol)
{
    NEXT(socket);
    if (family == AF_INET6) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return next(family, type, protocol);
}
