/* Log and audit lines: one write per line, as text or JSON, to a file or standard error. */
#ifndef CVM_CORE_LOG_H
#define CVM_CORE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "cvm/cvm.h"

enum cvm_log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG }; /* as log.level's choices */
enum cvm_log_format { LOG_TEXT, LOG_JSON };                         /* as log.format's */

struct cvm_log;
struct cvm_loop;
struct cvm_metrics;

/* Takes the lines instead of a file: in whatever thread they come from, or on a loop. */
struct cvm_log_sink {
    cvm_log_cb callback; /* NULL: none */
    void *user_data;
};

struct cvm_log_field {
    const char *name, *value; /* a NULL or empty value is left out */
};

/* path "" is standard error; a sink, which may be NULL, goes before it. On failure: NULL, and error
 * receives why. */
struct cvm_log *cvm_log_open(const char *path, const struct cvm_log_sink *sink,
    enum cvm_log_level level, enum cvm_log_format format, cvm_error_t **error);
/* From now on the sink is called on the loop; lines that it is too slow for are dropped and
 * counted. Without a loop: in the thread again that a line comes from. */
void cvm_log_deliver_on(struct cvm_log *log, struct cvm_loop *loop, struct cvm_metrics *metrics);
/* Opens the file again, for after it was moved away. What can't be opened stays as it was. */
cvm_error_t *cvm_log_reopen(struct cvm_log *log);
void cvm_log_close(struct cvm_log *log);
/* Any thread. Values may come from a device: they are escaped and cut. A NULL log takes nothing. */
void cvm_log_write(struct cvm_log *log, enum cvm_log_level level, const char *event,
    const struct cvm_log_field *fields, size_t count);
/* A line with a message alone. */
void cvm_log_message(struct cvm_log *log, enum cvm_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The instance's log, for transports. */
struct cvm_log *cvm_log_of(cvm_t *cvm);

#endif
