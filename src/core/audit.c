/* Audit lines. They have a file of their own, that no level turns down. */
#include "audit.h"

#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "error.h"
#include "instance.h"

#define ACTOR_FIELDS 3
#define MOST_FIELDS  12
#define LONGEST_WORD 40

/* --- Who acts --------------------------------------------------------------------------------- */

cvm_error_t *cvm_set_actor(cvm_t *cvm, const char *user, const char *user_id, const char *command)
{
    const char *texts[ACTOR_FIELDS] = {user, user_id, command};
    char *copies[ACTOR_FIELDS] = {NULL};
    int32_t failed = 0;
    cvm_error_t *error = cvm_entry(cvm, __func__, 1);
    if (error)
        return error;
    for (size_t i = 0; i < ACTOR_FIELDS; i++)
        failed |= texts[i] && !(copies[i] = strdup(texts[i]));
    for (size_t i = 0; i < ACTOR_FIELDS; i++) {
        free(failed ? copies[i] : cvm->actor[i]);
        if (!failed)
            cvm->actor[i] = copies[i];
    }
    return failed ? cvm_error_out_of_memory() : NULL;
}

void cvm_actor_clear(cvm_t *cvm)
{
    for (size_t i = 0; i < ACTOR_FIELDS; i++)
        free(cvm->actor[i]);
}

/* --- Lines ------------------------------------------------------------------------------------ */

/* fields, and who acts behind them. */
static void write_line(
    cvm_t *cvm, const char *event, const struct cvm_log_field *fields, size_t count)
{
    static const char *const NAMES[ACTOR_FIELDS] = {"actor", "actor_uid", "command"};
    struct cvm_log_field all[MOST_FIELDS + ACTOR_FIELDS];
    memcpy(all, fields, count * sizeof *fields);
    for (size_t i = 0; i < ACTOR_FIELDS; i++)
        all[count + i] = (struct cvm_log_field){NAMES[i], cvm->actor[i]};
    cvm_log_write(cvm->audit, LOG_INFO, event, all, count + ACTOR_FIELDS);
}

void cvm_audit(cvm_t *cvm, const char *event, const char *uid, const char *request_id,
    const char *peer, const char *certificate_id, const char *detail)
{
    const struct cvm_log_field fields[] = {{"uid", uid}, {"request_id", request_id}, {"peer", peer},
        {"certificate_id", certificate_id}, {"detail", detail}};
    write_line(cvm, event, fields, sizeof fields / sizeof fields[0]);
}

static int32_t is_word(const char *text)
{
    size_t length = text ? strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") : 0;
    return length && length <= LONGEST_WORD && !text[length];
}

cvm_error_t *cvm_audit_event(cvm_t *cvm, const char *event, const char *const *names,
    const char *const *values, uint32_t count)
{
    struct cvm_log_field fields[MOST_FIELDS];
    cvm_error_t *error = cvm_entry(cvm, __func__, event && ((names && values) || !count));
    if (error)
        return error;
    if (count > MOST_FIELDS || !is_word(event))
        return cvm_error_new(
            REASON_invalid_request, "an event is a word, with %d fields at most", MOST_FIELDS);
    for (uint32_t i = 0; i < count; i++) {
        if (!is_word(names[i]))
            return cvm_error_new(REASON_invalid_request, "a field's name is a word");
        fields[i] = (struct cvm_log_field){names[i], values[i]};
    }
    write_line(cvm, event, fields, count);
    return NULL;
}
