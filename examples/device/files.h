/* Files that survive a power cut. Names are relative to an open folder; results are 0 or -1 with
 * errno, as in the system calls beneath. */
#ifndef CVM_DEVICE_FILES_H
#define CVM_DEVICE_FILES_H

#include <stddef.h>

/* Reads a whole file of at most size - 1 bytes and ends it with NUL. Returns its length, or -1
 * (EFBIG: longer). No stdio: its buffers would keep a copy of what may be a secret. */
long file_read(int folder, const char *name, char *buffer, size_t size);

/* Writes a file, mode 0600, so that its name holds either the old content or all of the new. */
int file_write(int folder, const char *name, const void *data, size_t length);

/* Removes what a file_write that was killed has left in the folder. */
void file_tidy(int folder);

/* Opens a folder, for use as `folder` above. */
int folder_open(int parent, const char *name);

/* Makes a folder, mode 0700, that is on disk on return; one that is there already is fine. */
int folder_make(const char *path);

/* Renames within a folder, durably. */
int folder_rename(int parent, const char *from, const char *to);

/* Removes a folder and the files in it; none there is fine. */
int folder_remove(int parent, const char *name);

#endif
