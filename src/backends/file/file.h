/* The file store: SQLite, one server a file. For builtin.c, and for what only the command does. */
#ifndef CVM_FILE_FILE_H
#define CVM_FILE_FILE_H

#include "base/listed.h"
#include "cvm/plugin.h"

/* Makes the store known as "file". */
int32_t cvm_plugin_file(const cvm_host_t *host, cvm_registry_t *registry, void *user_data);
/* Writes a consistent copy of the store at path, also beside a running server, to a new file. Any
 * thread. CONFLICT if that is there already. OK, or why not. */
cvm_answer_t cvm_file_backup(const char *path, const char *to, char *error, size_t error_size);

struct cvm_file_restore {
    const char *backup;
    /* Called once nobody else has the store: sets the three that follow. 0, or -1 and why. */
    int32_t (*get_listed)(
        void *argument, struct cvm_file_restore *restore, char *error, size_t error_size);
    void *argument;
    const struct cvm_listed *listed; /* published as revoked, whatever the backup knows of it */
    uint32_t listed_count;
    /* Receive: */
    uint32_t revoked;         /* certificates that the backup took for good */
    uint32_t kept;            /* of which the backup knows nothing: kept by their serials */
    char replaced[4096 + 64]; /* where the store is that was there; "" if there was none */
};

/* Puts a backup in place of the store at path, durably: after a crash there is the old store, or
 * the new one, or none, and then it has to be called again. BUSY beside anybody who has the store
 * open; BROKEN if the backup is none or is damaged. OK, or why not. */
cvm_answer_t cvm_file_restore(
    const char *path, struct cvm_file_restore *asked, char *error, size_t error_size);

/* 1 if no store is at path, but parts of one: a restore was cut short, or the file was moved away.
 */
int32_t cvm_file_has_parts(const char *path);

/* Looks for damage, beside a server too; tells each finding as a line. OK if it could look, or why
 * not. */
cvm_answer_t cvm_file_check(const char *path, void (*found)(void *argument, const char *line),
    void *argument, char *error, size_t error_size);

struct cvm_file_clock {
    int64_t mark_ms; /* the latest time on record; 0: none */
    uint32_t future; /* certificates that begin later than now */
};

/* Reads the latest time on record, and with accept makes it now. OK, or why not. */
cvm_answer_t cvm_file_clock(const char *path, int64_t now_ms, int32_t accept,
    struct cvm_file_clock *clock, char *error, size_t error_size);

#endif
