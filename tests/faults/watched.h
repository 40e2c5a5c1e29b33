/*
 * What the preloaded libraries share: which files lie below the one folder that is watched, and how
 * to reach the function that an interposed one stands in front of.
 */
#ifndef CVM_FAULTS_WATCHED_H
#define CVM_FAULTS_WATCHED_H

#include <limits.h>
#include <stdbool.h>

#define INTERPOSED __attribute__((visibility("default")))

/* Declares `next`: the same function in the libraries behind this one. */
#define NEXT(function)                                                                             \
    static __typeof__(&(function)) next;                                                           \
    next_symbol(#function, &next)

/* Fills an empty slot with the next symbol of that name; ends the program if there is none. */
void next_symbol(const char *name, void *slot);

/* Watches the folder that the environment variable names; it must exist. False if the variable is
 * not set. */
bool watch_folder(const char *variable);

/* Is it the folder or below it? Its path relative to the folder (the folder's own is ".") goes to
 * `path`. Both keep errno. */
bool watched_fd(int fd, char path[PATH_MAX]);
bool watched_name(int dirfd, const char *name, char path[PATH_MAX]);

#endif
