/* Files that are replaced as a whole: a reader sees the old one or the new one, after a crash too.
 */
#ifndef CVM_LOCAL_FILES_H
#define CVM_LOCAL_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes path by temporary file, fsync, rename, fsync of the folder. group: who may read it beside
 * the owner (mode 0640 then), or (gid_t)-1. 0, or -1 and why. */
int32_t cvm_files_replace(const char *path, const void *bytes, size_t length, mode_t mode,
    gid_t group, char *error, size_t error_size);
/* Reads a file of at most 1 MiB; ended by NUL, freed by the caller. NULL and why. */
char *cvm_files_read(const char *path, size_t *length, char *error, size_t error_size);
/* 1 if there is something at path. */
int32_t cvm_files_exists(const char *path);

#endif
