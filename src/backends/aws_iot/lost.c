/* Certificates that were perhaps made, that nobody recorded, and that a search did not come as far
 * as: each is noted in the store, and `cvm reconcile --full` looks on. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "find.h"

#define NAME      "aws_iot_lost:" /* of the store's value; then comes a hash of device and key */
#define NAME_SIZE (sizeof NAME + CVM_SHA256_HEX_SIZE)
#define LARGEST   4096
#define MORE      "more"
/* AWS's clock may be ahead of ours, and a request be carried out after nobody waited for it any
 * more. Until then, and a lease longer, a note is left alone: who registers now may be about to
 * record what is found. */
#define LATE_MS  INT64_C(300000)
#define LEASE_MS 60000

/* One note that is worked at. */
struct lost {
    struct find find;
    char cursor[CVM_CURSOR_SIZE], name[CVM_LONGEST_NAME + 1];
    int64_t version;
};

static struct lost *lost_of(struct step *step)
{
    return (struct lost *)(void *)step;
}

static int64_t now_ms(const struct step *step)
{
    return step->platform->aws.host->now_ms(step->platform->aws.context);
}

/* --- Notes ------------------------------------------------------------------------------------ */

/* How far the search has come, and of what. Freed by the caller. */
static struct cvm_buffer note_written(const struct find *find)
{
    struct cvm_buffer text = {.most = LARGEST};
    cvm_buffer_text(&text, "{\"device_uid\":");
    cvm_buffer_json(&text, find->step.uid);
    cvm_buffer_text(&text, ",\"public_key_sha256\":");
    cvm_buffer_json(&text, find->key);
    cvm_buffer_text(&text, ",\"since\":");
    cvm_buffer_number(&text, find->since_ms);
    cvm_buffer_text(&text, ",\"until\":");
    cvm_buffer_number(&text, find->until_ms);
    cvm_buffer_text(&text, ",\"marker\":");
    cvm_buffer_json(&text, find->marker);
    cvm_buffer_text(&text, ",\"after\":");
    cvm_buffer_json(&text, find->after);
    cvm_buffer_text(&text, "}");
    return text;
}

static cJSON *note_parsed(const char *text)
{
    const char *why;
    return cvm_json_object(text, strlen(text), &why);
}

/* 0, or -1 if it is none. */
static int32_t note_read(struct find *find, const char *text)
{
    cJSON *note = note_parsed(text);
    (void)snprintf(find->step.uid, sizeof find->step.uid, "%s", cvm_iot_text(note, "device_uid"));
    (void)snprintf(find->key, sizeof find->key, "%s", cvm_iot_text(note, "public_key_sha256"));
    (void)snprintf(find->marker, sizeof find->marker, "%s", cvm_iot_text(note, "marker"));
    (void)snprintf(find->after, sizeof find->after, "%s", cvm_iot_text(note, "after"));
    find->since_ms = cvm_iot_time(note, "since");
    find->until_ms = cvm_iot_time(note, "until");
    cJSON_Delete(note);
    return *find->step.uid && *find->key && find->since_ms && find->until_ms ? 0 : -1;
}

static void note_failed(struct step *step)
{
    cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "the store takes no note of a search");
}

static void note_put(struct find *find, const char *name, int64_t version, iot_told told)
{
    struct cvm_buffer text = note_written(find);
    if (text.failed)
        cvm_aws_job_out_of_memory(&find->step.aws);
    else
        cvm_iot_put_value(&find->step, name, version, text.text, told);
    cvm_buffer_free(&text);
}

/* 0, or -1 without memory. */
static int32_t note_name(const struct find *find, char name[NAME_SIZE])
{
    char both[sizeof find->step.uid + CVM_SHA256_HEX_SIZE + 1];
    (void)snprintf(both, sizeof both, "%s/%s", find->step.uid, find->key);
    memcpy(name, NAME, sizeof NAME);
    return cvm_sha256_hex(both, strlen(both), name + strlen(NAME));
}

static void note_widened(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    (void)op;
    if (answer == CVM_ANSWER_OK)
        cvm_iot_find_of(step)->noted(step);
    else
        note_failed(step);
}

/* One that is there is of an earlier time: now it is of both, and the search begins anew. */
static void note_got(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    struct find *find = cvm_iot_find_of(step);
    const cvm_host_t *host = step->platform->aws.host;
    const char *text = host->op_text(op, CVM_OUT_VALUE);
    char name[NAME_SIZE];
    if (answer != CVM_ANSWER_OK || !text || note_name(find, name)) {
        note_failed(step);
        return;
    }
    cJSON *earlier = note_parsed(text);
    int64_t since_ms = cvm_iot_time(earlier, "since");
    cJSON_Delete(earlier);
    if (since_ms && since_ms < find->since_ms)
        find->since_ms = since_ms;
    *find->marker = *find->after = 0;
    note_put(find, name, host->op_number(op, CVM_OUT_VERSION), note_widened);
}

static void note_made(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    char name[NAME_SIZE];
    if (answer == CVM_ANSWER_CONFLICT && !note_name(cvm_iot_find_of(step), name))
        cvm_iot_get_value(step, name, note_got);
    else
        note_widened(step, op, answer);
}

void cvm_iot_note_lost(struct find *find, void (*then)(struct step *step))
{
    char name[NAME_SIZE];
    find->noted = then;
    find->until_ms = now_ms(&find->step) + LATE_MS;
    if (note_name(find, name))
        cvm_aws_job_out_of_memory(&find->step.aws);
    else
        note_put(find, name, 0, note_made);
}

/* --- Looking on ------------------------------------------------------------------------------- */

/* This note is done with, for now or for good; others may be there. */
static void note_done(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    (void)op;
    if (answer != CVM_ANSWER_OK)
        note_failed(step);
    else if (step->platform->aws.host->op_set_text(step->aws.op, CVM_OUT_CURSOR, MORE))
        cvm_aws_job_out_of_memory(&step->aws);
    else
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
}

static void note_remove(struct lost *lost)
{
    cvm_iot_put_value(&lost->find.step, lost->name, lost->version, NULL, note_done);
}

static void lost_ended(struct find *find)
{
    note_remove(lost_of(&find->step));
}

static void lost_stopped(struct find *find)
{
    const struct lost *lost = lost_of(&find->step);
    if (find->pages)
        note_put(find, lost->name, lost->version, note_done);
    else
        cvm_iot_end(&find->step, CVM_ANSWER_UNAVAILABLE,
            "AWS IoT's quota leaves nothing to search by for now");
}

static void lost_deleted(struct step *step)
{
    char text[AWS_TEXT_SIZE];
    (void)snprintf(text, sizeof text,
        "certificate %.64s of %.128s, which nobody recorded, was deleted", step->certificate_id,
        step->uid);
    step->platform->aws.host->log(step->platform->aws.context, CVM_LEVEL_INFO, text);
    cvm_iot_find_on(&lost_of(step)->find);
}

/* One that a row has is not lost: a device was registered with it after all. */
static void lost_owner_told(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    (void)op;
    if (answer == CVM_ANSWER_NOT_FOUND)
        cvm_iot_delete(step, lost_deleted);
    else if (answer == CVM_ANSWER_OK)
        cvm_iot_find_on(&lost_of(step)->find);
    else
        cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "the store does not answer whose it is");
}

static void lost_found(struct find *find, const cJSON *description)
{
    (void)snprintf(find->step.certificate_id, sizeof find->step.certificate_id, "%s",
        cvm_iot_text(description, "certificateId"));
    cvm_iot_find_owner(&find->step, find->step.certificate_id, lost_owner_told);
}

static void lost_got_note(struct step *step, const cvm_op_t *op, cvm_answer_t answer);
static void lost_scanned(struct step *step, const cvm_op_t *op, cvm_answer_t answer);

/* The next note; at the end of a page, the next page. Any of them may be the first: one that fails
 * keeps no other from its turn. */
static void lost_next(struct step *step)
{
    struct lost *lost = lost_of(step);
    int count = cJSON_GetArraySize(step->things);
    if (count) {
        cJSON *name =
            cJSON_DetachItemFromArray(step->things, (int)(cvm_monotonic_ms() % (uint64_t)count));
        (void)snprintf(lost->name, sizeof lost->name, "%s", name->valuestring);
        cJSON_Delete(name);
        cvm_iot_get_value(step, lost->name, lost_got_note);
    } else if (*lost->cursor) {
        cvm_iot_scan_values(step, lost->cursor, lost_scanned);
    } else {
        cvm_iot_end(step, CVM_ANSWER_OK, NULL);
    }
}

static void lost_got_note(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    struct lost *lost = lost_of(step);
    const cvm_host_t *host = step->platform->aws.host;
    const char *text = host->op_text(op, CVM_OUT_VALUE);
    if (answer != CVM_ANSWER_OK && answer != CVM_ANSWER_NOT_FOUND) {
        cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "the store does not answer");
        return;
    }
    if (answer == CVM_ANSWER_NOT_FOUND) { /* another server has done it */
        note_done(step, NULL, CVM_ANSWER_OK);
        return;
    }
    lost->version = host->op_number(op, CVM_OUT_VERSION);
    if (!text || note_read(&lost->find, text))
        note_remove(lost);
    else if (now_ms(step) < lost->find.until_ms + LEASE_MS)
        lost_next(step);
    else
        cvm_iot_find_begin(&lost->find);
}

/* A page of values: the names of those that are notes. */
static void lost_scanned(struct step *step, const cvm_op_t *op, cvm_answer_t answer)
{
    struct lost *lost = lost_of(step);
    const cvm_host_t *host = step->platform->aws.host;
    const cvm_record_t *value;
    const char *cursor = host->op_text(op, CVM_OUT_CURSOR);
    int32_t failed = 0;
    if (answer != CVM_ANSWER_OK) {
        cvm_iot_end(step, CVM_ANSWER_UNAVAILABLE, "the store does not answer");
        return;
    }
    for (uint32_t i = 0; (value = host->op_record(op, i)); i++) {
        const char *name = host->text(value, CVM_V_NAME);
        if (strncmp(name, NAME, strlen(NAME)) == 0)
            failed |= !cJSON_AddItemToArray(step->things, cJSON_CreateString(name));
    }
    int32_t goes_on = cursor && *cursor && strcmp(cursor, lost->cursor) != 0;
    (void)snprintf(lost->cursor, sizeof lost->cursor, "%s", goes_on ? cursor : "");
    if (failed)
        cvm_aws_job_out_of_memory(&step->aws);
    else
        lost_next(step);
}

void cvm_iot_find_lost(void *platform, cvm_op_t *op)
{
    struct lost *lost = (struct lost *)(void *)cvm_iot_find_step(
        platform, op, VERB_STEPS, NULL, NULL, sizeof *lost);
    if (!lost)
        return;
    lost->find.found = lost_found;
    lost->find.ended = lost_ended;
    lost->find.stopped = lost_stopped;
    lost->find.step.things = cJSON_CreateArray();
    if (!lost->find.step.things)
        cvm_aws_job_out_of_memory(&lost->find.step.aws);
    else
        cvm_iot_scan_values(&lost->find.step, "", lost_scanned);
}
