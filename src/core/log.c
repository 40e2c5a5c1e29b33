/* Log lines. Each is put together on the stack and leaves by one write(), so that threads and
 * processes that share a file don't mix theirs. */
#include "log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/at_exit.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/files.h"
#include "base/utf8.h"
#include "error.h"
#include "loop.h"
#include "metrics.h"

#define LONGEST_LINE  2048
#define LONGEST_VALUE 512
#define ERROR_SIZE    200
#define ROOM          (LONGEST_LINE - 2) /* the end of the line always fits */
#define MOST_WAITING  1024               /* lines for a sink on the loop */

struct cvm_log {
    int fd;
    enum cvm_log_level level;
    enum cvm_log_format format;
    char *path;
    struct cvm_log_sink sink;
    pthread_mutex_t lock;  /* of all that follows; not held while the sink is called */
    struct cvm_loop *loop; /* that the sink is called on; NULL: in the thread that logs */
    struct cvm_metrics *metrics;
    uint32_t waiting; /* lines on their way to the loop */
    uint64_t dropped; /* since that was told last */
};

/* A line on its way to the loop. */
struct letter {
    struct cvm_mail mail;
    struct cvm_log *log;
    enum cvm_log_level level;
    char text[];
};

static const char *const LEVELS[] = {"error", "warning", "info", "debug"};

struct line {
    char text[LONGEST_LINE];
    size_t length;
};

static void append(struct line *line, const char *text, size_t length)
{
    size_t room = ROOM - line->length;
    if (length > room)
        length = room;
    memcpy(line->text + line->length, text, length);
    line->length += length;
}

static void append_text(struct line *line, const char *text)
{
    append(line, text, strlen(text));
}

/* One character of UTF-8, of length bytes. */
static uint32_t code_point(const unsigned char *bytes, size_t length)
{
    static const unsigned char FIRST[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = bytes[0] & FIRST[length];
    for (size_t i = 1; i < length; i++)
        point = point << 6 | (bytes[i] & 0x3f);
    return point;
}

/* Escapes the character at value; returns how many bytes it has. A byte that is no UTF-8 stands for
 * itself. */
static size_t escape(const char *value, char escaped[16])
{
    const unsigned char *bytes = (const unsigned char *)value;
    size_t length = cvm_utf8_length(bytes, strnlen(value, 4));
    uint32_t point = length ? code_point(bytes, length) : *bytes;
    if (point == '"' || point == '\\')
        (void)snprintf(escaped, 16, "\\%c", (char)point);
    else if (point >= 0x20 && point <= 0x7e)
        (void)snprintf(escaped, 16, "%c", (char)point);
    else if (point < 0x10000)
        (void)snprintf(escaped, 16, "\\u%04x", point);
    else /* RFC 8259 §7: a pair of surrogates */
        (void)snprintf(escaped, 16, "\\u%04x\\u%04x", 0xd800 + ((point - 0x10000) >> 10),
            0xdc00 + ((point - 0x10000) & 0x3ff));
    return length ? length : 1;
}

/* A JSON string; what is not printable ASCII is escaped, so that no byte of a device's reaches a
 * terminal. It is cut by what it becomes, so that no device can push the other fields out. */
static void append_quoted(struct line *line, const char *value)
{
    size_t start = line->length;
    append_text(line, "\"");
    while (*value && line->length - start < LONGEST_VALUE) {
        char escaped[16];
        value += escape(value, escaped);
        append_text(line, escaped);
    }
    append_text(line, "\"");
}

static int32_t is_plain(const char *value)
{
    for (; *value; value++)
        if (*value <= 0x20 || *value > 0x7e || strchr("\"\\=", *value))
            return 0;
    return 1;
}

static void append_text_field(struct line *line, const struct cvm_log_field *field)
{
    append_text(line, " ");
    append_text(line, field->name);
    append_text(line, "=");
    if (is_plain(field->value) && strlen(field->value) <= LONGEST_VALUE)
        append_text(line, field->value);
    else
        append_quoted(line, field->value);
}

static void append_json_field(struct line *line, const struct cvm_log_field *field)
{
    append_text(line, ",");
    append_quoted(line, field->name);
    append_text(line, ":");
    append_quoted(line, field->value);
}

static void append_head(
    struct line *line, const struct cvm_log *log, enum cvm_log_level level, const char *event)
{
    char time[CVM_RFC3339_SIZE], head[160];
    (void)cvm_rfc3339_ms(cvm_now_ms(), time);
    if (log->format == LOG_JSON)
        (void)snprintf(head, sizeof head, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"",
            time, LEVELS[level], event);
    else
        (void)snprintf(head, sizeof head, "%s %-7s %s", time, LEVELS[level], event);
    append_text(line, head);
}

/* A field that does not fit is left out whole. */
static void append_field(
    struct line *line, enum cvm_log_format format, const struct cvm_log_field *field)
{
    size_t before = line->length;
    if (format == LOG_JSON)
        append_json_field(line, field);
    else
        append_text_field(line, field);
    if (line->length == ROOM)
        line->length = before;
}

/* The whole line, ended by NUL. */
static void line_print(struct line *line, const struct cvm_log *log, enum cvm_log_level level,
    const char *event, const struct cvm_log_field *fields, size_t count)
{
    append_head(line, log, level, event);
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].value || !*fields[i].value)
            continue;
        append_field(line, log->format, &fields[i]);
    }
    if (log->format == LOG_JSON)
        line->text[line->length++] = '}';
    line->text[line->length] = 0;
}

/* --- Delivering ------------------------------------------------------------------------------- */

static void log_call(const struct cvm_log *log, enum cvm_log_level level, const char *text)
{
    CVM_CALL_OUT(log->sink.callback(log->sink.user_data, (int32_t)level, text));
}

/* On the loop. Before the first line that was taken again comes how many were not. */
static void letter_open(struct cvm_mail *mail)
{
    struct letter *letter = CVM_CONTAINER(mail, struct letter, mail);
    struct cvm_log *log = letter->log;
    (void)pthread_mutex_lock(&log->lock);
    uint64_t dropped = log->dropped;
    log->dropped = 0;
    log->waiting--;
    (void)pthread_mutex_unlock(&log->lock);
    if (dropped) {
        struct line line = {.length = 0};
        char text[80];
        (void)snprintf(text, sizeof text, "%llu lines came too fast and were dropped",
            (unsigned long long)dropped);
        line_print(&line, log, LOG_WARNING, "message", &(struct cvm_log_field){"text", text}, 1);
        log_call(log, LOG_WARNING, line.text);
    }
    log_call(log, letter->level, letter->text);
    free(letter);
}

/* Under the lock. */
static void letter_send(struct cvm_log *log, enum cvm_log_level level, const struct line *line)
{
    struct letter *letter =
        log->waiting < MOST_WAITING ? malloc(sizeof *letter + line->length + 1) : NULL;
    if (!letter) {
        log->dropped++;
        cvm_metrics_add(log->metrics, METRIC_LOG_DROPPED, NULL, 1);
        return;
    }
    *letter = (struct letter){{NULL, letter_open}, log, level};
    memcpy(letter->text, line->text, line->length + 1);
    log->waiting++;
    cvm_loop_post(log->loop, &letter->mail);
}

static void log_to_sink(struct cvm_log *log, enum cvm_log_level level, const struct line *line)
{
    (void)pthread_mutex_lock(&log->lock);
    int32_t is_on_loop = log->loop != NULL;
    if (is_on_loop)
        letter_send(log, level, line);
    (void)pthread_mutex_unlock(&log->lock);
    if (!is_on_loop)
        log_call(log, level, line->text);
}

void cvm_log_deliver_on(struct cvm_log *log, struct cvm_loop *loop, struct cvm_metrics *metrics)
{
    if (!log || !log->sink.callback)
        return;
    (void)pthread_mutex_lock(&log->lock);
    log->loop = loop;
    log->metrics = metrics;
    (void)pthread_mutex_unlock(&log->lock);
}

void cvm_log_write(struct cvm_log *log, enum cvm_log_level level, const char *event,
    const struct cvm_log_field *fields, size_t count)
{
    if (!log || level > log->level)
        return;
    struct line line = {.length = 0};
    line_print(&line, log, level, event, fields, count);
    if (log->sink.callback) {
        log_to_sink(log, level, &line);
        return;
    }
    line.text[line.length++] = '\n';
    ssize_t written = write(log->fd, line.text, line.length);
    (void)written; /* there is nowhere to say that the log is full */
}

void cvm_log_message(struct cvm_log *log, enum cvm_log_level level, const char *format, ...)
{
    char text[LONGEST_VALUE];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cvm_log_write(log, level, "message", &(struct cvm_log_field){"text", text}, 1);
}

static int open_file(const char *path, cvm_error_t **error)
{
    char why[ERROR_SIZE];
    if (!*path)
        return STDERR_FILENO;
    int fd = cvm_files_open(path, O_WRONLY | O_CREAT | O_APPEND, 0640, why, sizeof why);
    if (fd < 0)
        *error = cvm_error_configuration(path, "%s", why);
    return fd;
}

struct cvm_log *cvm_log_open(const char *path, const struct cvm_log_sink *sink,
    enum cvm_log_level level, enum cvm_log_format format, cvm_error_t **error)
{
    struct cvm_log *log = calloc(1, sizeof *log);
    if (sink && sink->callback)
        path = "";
    if (!log || !(log->path = strdup(path))) {
        free(log);
        *error = cvm_error_out_of_memory();
        return NULL;
    }
    int fd = open_file(path, error);
    if (fd < 0) {
        free(log->path);
        free(log);
        return NULL;
    }
    log->fd = fd;
    log->level = level;
    log->format = format;
    if (sink)
        log->sink = *sink;
    (void)pthread_mutex_init(&log->lock, NULL); /* can't fail with default attributes */
    return log;
}

cvm_error_t *cvm_log_reopen(struct cvm_log *log)
{
    if (!log || !*log->path)
        return NULL;
    cvm_error_t *error = NULL;
    int fd = open_file(log->path, &error);
    if (fd < 0)
        return error;
    /* In place of the old descriptor: another thread may be writing to it. */
    (void)cvm_dup_to(fd, log->fd);
    (void)close(fd);
    return NULL;
}

void cvm_log_close(struct cvm_log *log)
{
    if (!log)
        return;
    if (*log->path)
        (void)close(log->fd);
    (void)pthread_mutex_destroy(&log->lock);
    free(log->path);
    free(log);
}
