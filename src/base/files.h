/* Files: opened so that nobody's link is followed, replaced as a whole (a reader sees the old one
 * or the new one, after a crash too), read within bounds. Errors are one line that names the file.
 */
#ifndef CVM_BASE_FILES_H
#define CVM_BASE_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The one way to open a file for writing; flags are open()'s. In a folder that others than the
 * caller and root can write to, it must be a regular file with one name: no link is followed.
 * Elsewhere links, pipes and devices are fine. What root makes in another user's folder is handed
 * to that user. A descriptor (closed on exec), or -1, errno and why. */
int cvm_files_open(const char *path, int flags, mode_t mode, char *error, size_t error_size);
/* The path without links, as cvm_files_open() would follow them; path itself where there is no file
 * yet. Freed by the caller. NULL, errno and why. */
char *cvm_files_resolve(const char *path, char *error, size_t error_size);
/* Writes path by temporary file, fsync, rename, fsync of the folder. group: who may read it beside
 * the owner (mode 0640 then), or (gid_t)-1. 0, or -1 and why. */
int32_t cvm_files_replace(const char *path, const void *bytes, size_t length, mode_t mode,
    gid_t group, char *error, size_t error_size);
/* Has what was renamed, made or removed beside path reach the disk. 0, or -1 and errno. */
int32_t cvm_files_sync_folder_of(const char *path);
/* Reads a regular file of at most that many bytes; ended by NUL, freed by the caller. NULL, errno
 * and why. */
char *cvm_files_read_most(
    const char *path, size_t most, size_t *length, char *error, size_t error_size);
/* The same of at most 1 MiB. */
char *cvm_files_read(const char *path, size_t *length, char *error, size_t error_size);
/* 1 if what is at path can't be written because its file system is read-only. */
int32_t cvm_files_is_read_only(const char *path);
/* 1 if there is something at path. */
int32_t cvm_files_exists(const char *path);
/* "path: why", without the beginning of a path that is too long. */
void cvm_files_explain(char *error, size_t error_size, const char *path, const char *why);

#endif
