/* Reads an HTTP/1.1 answer's head and finds the end of its body. A measuring tool's reader: it
 * trusts the server that it measures, and is no model for a client. */
#include "answer.h"

#include <stdlib.h>
#include <string.h>

#define STATUS_MIN 100
#define STATUS_MAX 599

void answer_reset(struct answer *answer)
{
    answer->status = 0;
    answer->closes = false;
    answer->chunked = false;
    answer->head_length = 0;
    answer->body_length = 0;
    answer->length = 0;
    answer->data[0] = '\0';
}

/* The value of a field of the head, or NULL. `name` comes with its colon. */
static const char *find_field(const struct answer *answer, const char *name)
{
    const char *end = answer->data + answer->head_length;
    const char *line = answer->data;

    while ((line = strstr(line, "\r\n")) && (line += 2) < end)
        if (strncasecmp(line, name, strlen(name)) == 0)
            return line + strlen(name) + strspn(line + strlen(name), " ");
    return NULL;
}

static bool field_is(const struct answer *answer, const char *name, const char *value)
{
    const char *found = find_field(answer, name);

    return found && strncasecmp(found, value, strlen(value)) == 0;
}

static enum answer_state read_head(struct answer *answer)
{
    const char *end = strstr(answer->data, "\r\n\r\n");
    const char *length = NULL;

    if (!end)
        return ANSWER_INCOMPLETE;
    if (strncmp(answer->data, "HTTP/1.1 ", 9) != 0)
        return ANSWER_BAD;
    answer->head_length = (size_t)(end - answer->data) + 4;
    answer->status = (int)strtol(answer->data + 9, NULL, 10);
    answer->closes = field_is(answer, "Connection:", "close");
    answer->chunked = field_is(answer, "Transfer-Encoding:", "chunked");
    length = find_field(answer, "Content-Length:");
    if (length)
        answer->body_length = strtoul(length, NULL, 10);
    else if (!answer->chunked)
        return ANSWER_BAD;
    return answer->status < STATUS_MIN || answer->status > STATUS_MAX ? ANSWER_BAD
                                                                      : ANSWER_COMPLETE;
}

static enum answer_state check_chunks(const struct answer *answer)
{
    const char *chunk = answer->data + answer->head_length;
    const char *end = answer->data + answer->length;

    for (;;) {
        const char *line_end = strstr(chunk, "\r\n");
        size_t size = strtoul(chunk, NULL, 16);

        if (!line_end)
            return ANSWER_INCOMPLETE;
        if (size > ANSWER_MAX)
            return ANSWER_BAD;
        if (size + 4 > (size_t)(end - line_end))
            return ANSWER_INCOMPLETE;
        if (size == 0)
            return ANSWER_COMPLETE;
        chunk = line_end + size + 4;
    }
}

enum answer_state answer_check(struct answer *answer)
{
    enum answer_state state = ANSWER_COMPLETE;

    answer->data[answer->length] = '\0';
    if (answer->head_length == 0)
        state = read_head(answer);
    if (state == ANSWER_COMPLETE && answer->chunked)
        state = check_chunks(answer);
    else if (state == ANSWER_COMPLETE && answer->length < answer->head_length + answer->body_length)
        state = ANSWER_INCOMPLETE;
    return state == ANSWER_INCOMPLETE && answer->length == ANSWER_MAX ? ANSWER_BAD : state;
}

bool answer_is_success(const struct answer *answer)
{
    const char *name = strstr(answer->data + answer->head_length, "\"status\"");

    if (!name)
        return false;
    name += strlen("\"status\"");
    name += strspn(name, " :");
    return strncmp(name, "\"SUCCESS\"", 9) == 0;
}
