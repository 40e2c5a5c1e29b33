/* The file store: SQLite, one server a file. For builtin.c, and for what only the command does. */
#ifndef CVM_FILE_FILE_H
#define CVM_FILE_FILE_H

#include "cvm/plugin.h"

/* Makes the store known as "file". */
int32_t cvm_plugin_file(const cvm_host_t *host, cvm_registry_t *registry);
/* Writes a consistent copy of the store at path, also beside a running server, to a new file. 0, or
 * -1 and why. */
int32_t cvm_file_backup(const char *path, const char *to, char *error, size_t error_size);

#endif
