/* The maker's row has the reference system's attributes, in the forms that it takes, and
 * cvm_revision. What matters is not in it alone: makers' scripts put whole rows over those that are
 * there. */
#include "device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN          "device_token"
#define ENABLED        "is_enabled"
#define REGISTERED     "is_registered"
#define THING          "iot_core_thing_name"
#define REGISTERED_ON  "iot_core_registered_on"
#define REVISION       "cvm_revision"
#define STATE_REVISION "revision"

#define LAST_REVISION (INT64_MAX - 1)

/* Where a field of a device is. */
enum where {
    IN_ROW,  /* the maker's row alone */
    IN_BOTH, /* what the row says counts first; the state keeps a copy, in case the row is put anew
              */
    IN_STATE,
};

static enum where where_is(uint32_t field)
{
    switch (field) {
    case CVM_D_DEVICE_UID:
    case CVM_D_DEVICE_TOKEN:
    case CVM_D_IS_ENABLED:
    case CVM_D_REVISION:
        return IN_ROW;
    case CVM_D_IS_REGISTERED:
    case CVM_D_THING_NAME:
    case CVM_D_REGISTERED_ON:
        return IN_BOTH;
    default:
        return IN_STATE;
    }
}

static int32_t is_text(const cvm_host_t *host, uint32_t field)
{
    return host->field_kind(CVM_RECORD_DEVICE, field) == CVM_FIELD_TEXT;
}

/* --- The reference's times -------------------------------------------------------------------- */

#define TIME_SIZE 41

/* "2022-03-01 10:00:00.000000" and "2022-03-01T10:00:00Z" are one time; what is in neither form
 * stays as it is. */
static int32_t time_has_form(const char *text, const char *form)
{
    for (; *form; form++, text++)
        if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
            return 0;
    return !*text;
}

static const char *time_read(const char *text, char to[TIME_SIZE])
{
    if (!time_has_form(text, "0000-00-00 00:00:00.000000"))
        return text;
    int is_whole = strcmp(text + 19, ".000000") == 0;
    (void)snprintf(to, TIME_SIZE, "%.10sT%.*sZ", text, is_whole ? 8 : 15, text + 11);
    return to;
}

static const char *time_written(const char *text, char to[TIME_SIZE])
{
    if (time_has_form(text, "0000-00-00T00:00:00Z"))
        (void)snprintf(to, TIME_SIZE, "%.10s %.8s.000000", text, text + 11);
    else if (time_has_form(text, "0000-00-00T00:00:00.000000Z") &&
             strncmp(text + 19, ".000000", 7) != 0)
        (void)snprintf(to, TIME_SIZE, "%.10s %.15s", text, text + 11);
    else
        return text;
    return to;
}

/* --- Reading ---------------------------------------------------------------------------------- */

#define NUL "\xef\xbf\xbd" /* what it is read as */

/* A text that is no text, too long for one, or has NUL in it, is none. */
static int32_t take_text(
    const cvm_host_t *host, cvm_record_t *device, uint32_t field, const char *text)
{
    if (strlen(text) > host->field_longest(CVM_RECORD_DEVICE, field) || strstr(text, NUL))
        text = "";
    return host->set_text(device, field, text);
}

static int64_t read_revision(const cJSON *row)
{
    int64_t revision = cvm_dynamo_number(row, REVISION);
    return revision >= 1 && revision <= LAST_REVISION ? revision : 0;
}

static int32_t take_row(const cvm_host_t *host, cvm_record_t *device, const cJSON *row)
{
    char at[TIME_SIZE];
    enum flag is_registered = cvm_dynamo_flag(row, REGISTERED);
    return take_text(host, device, CVM_D_DEVICE_UID, cvm_dynamo_text(row, "device_uid")) ||
           take_text(host, device, CVM_D_DEVICE_TOKEN, cvm_dynamo_text(row, TOKEN)) ||
           host->set_number(device, CVM_D_IS_ENABLED, cvm_dynamo_flag(row, ENABLED) == FLAG_ON) ||
           host->set_number(device, CVM_D_IS_REGISTERED,
               is_registered == FLAG_ON || is_registered == FLAG_UNKNOWN) ||
           take_text(host, device, CVM_D_THING_NAME, cvm_dynamo_text(row, THING)) ||
           take_text(host, device, CVM_D_REGISTERED_ON,
               time_read(cvm_dynamo_text(row, REGISTERED_ON), at)) ||
           host->set_number(device, CVM_D_REVISION, read_revision(row));
}

static int32_t take_state_field(
    const cvm_host_t *host, cvm_record_t *device, uint32_t field, const cJSON *state)
{
    const char *name = host->field_name(CVM_RECORD_DEVICE, field);
    int32_t is_said =
        is_text(host, field) ? *host->text(device, field) != 0 : host->number(device, field) != 0;
    if (where_is(field) == IN_ROW || (where_is(field) == IN_BOTH && is_said))
        return 0;
    return is_text(host, field) ? take_text(host, device, field, cvm_dynamo_text(state, name))
                                : host->set_number(device, field, cvm_dynamo_number(state, name));
}

cvm_record_t *cvm_dynamo_device(const cvm_host_t *host, const cJSON *row, const cJSON *state)
{
    cvm_record_t *device = host->record_new(CVM_RECORD_DEVICE);
    int32_t failed = !device || take_row(host, device, row);
    if (!failed && cvm_dynamo_has(state, STATE_REVISION)) {
        failed = host->set_number(device, CVM_D_REVISION, cvm_dynamo_number(state, STATE_REVISION));
        for (uint32_t i = 0; i < host->field_count(CVM_RECORD_DEVICE) && !failed; i++)
            failed = take_state_field(host, device, i, state);
    }
    if (!failed)
        return device;
    host->record_free(device);
    return NULL;
}

int32_t cvm_dynamo_device_is_torn(const cJSON *row, const cJSON *state)
{
    return cvm_dynamo_has(row, REVISION) && cvm_dynamo_has(state, STATE_REVISION) &&
           cvm_dynamo_number(row, REVISION) != cvm_dynamo_number(state, STATE_REVISION);
}

int32_t cvm_dynamo_device_lacks_state(const cJSON *row, const cJSON *state)
{
    return cvm_dynamo_has(row, REVISION) && cvm_dynamo_flag(row, REGISTERED) == FLAG_ON &&
           !cvm_dynamo_has(state, STATE_REVISION);
}

int32_t cvm_dynamo_device_has_state(const cvm_host_t *host, const cvm_record_t *device)
{
    for (uint32_t i = 0; device && i < host->field_count(CVM_RECORD_DEVICE); i++)
        if (where_is(i) == IN_STATE &&
            (is_text(host, i) ? *host->text(device, i) != 0 : host->number(device, i) != 0))
            return 1;
    return 0;
}

/* --- What is due of it ------------------------------------------------------------------------ */

int64_t cvm_dynamo_lease_ms(const cvm_host_t *host, const cvm_record_t *device)
{
    if (!device || (!*host->text(device, CVM_D_LEASE_OWNER) &&
                       !*host->text(device, CVM_D_LEASE_CERTIFICATE_ID)))
        return -1;
    int64_t until_ms = host->number(device, CVM_D_LEASE_UNTIL);
    return until_ms > 0 ? until_ms : 0;
}

int64_t cvm_dynamo_suspension_ms(const cvm_host_t *host, const cvm_record_t *device)
{
    return device && *host->text(device, CVM_D_CERTIFICATE_ID) &&
                   host->number(device, CVM_D_IS_SUSPENDED) ==
                       host->number(device, CVM_D_IS_ENABLED)
               ? 0
               : -1;
}

/* --- The maker's row -------------------------------------------------------------------------- */

/* A flag is on or off in any of its three forms. What is in no form counts as off of is_enabled,
 * and as on of is_registered; what is missing as off of both. So it is asked for the forms of what
 * is certain: on, or off. */
static void flag_is(
    struct expression *expression, const char *name, int32_t is_on, int32_t odd_is_on)
{
    int32_t listed = !odd_is_on;
    uint32_t at = cvm_dynamo_name(expression, name);
    uint32_t number = cvm_dynamo_value_number(expression, listed),
             text = cvm_dynamo_value_text(expression, listed ? "1" : "0"),
             boolean = cvm_dynamo_value_bool(expression, listed);
    if (is_on && listed)
        cvm_dynamo_and(expression, "# IN (:,:,:)", at, number, text, boolean);
    else
        cvm_dynamo_and(expression,
            is_on    ? "attribute_exists(#) AND NOT # IN (:,:,:)"
            : listed ? "(attribute_not_exists(#) OR NOT # IN (:,:,:))"
                     : "(attribute_not_exists(#) OR # IN (:,:,:))",
            at, at, number, text, boolean);
}

#define LARGEST_CHARACTER 4 /* bytes: DynamoDB counts characters, and records have bytes */

/* A text of the row as it was read. One that was read as none may be missing, empty, of another
 * type, or longer than any that is taken; so may one that the state has said instead. other: a
 * second form that is read as the same text; or the same. */
static void text_is(struct expression *expression, const char *name, const char *text,
    const char *other, uint32_t longest, int32_t may_lack)
{
    uint32_t at = cvm_dynamo_name(expression, name), value = 0, second = 0;
    if (*text) {
        value = cvm_dynamo_value_text(expression, text);
        second = strcmp(text, other) != 0 ? cvm_dynamo_value_text(expression, other) : value;
    }
    if (*text && !may_lack) {
        cvm_dynamo_and(expression, "# IN (:,:)", at, value, second);
        return;
    }
    uint32_t none = cvm_dynamo_value_text(expression, "");
    cvm_dynamo_and(expression,
        "(attribute_not_exists(#) OR NOT attribute_type(#,:) OR # IN (:,:,:) OR size(#)>: "
        "OR contains(#,:))",
        at, at, cvm_dynamo_value_text(expression, "S"), at, none, *text ? value : none,
        *text ? second : none, at, cvm_dynamo_value_number(expression, longest / LARGEST_CHARACTER),
        at, cvm_dynamo_value_nul(expression));
}

static uint32_t longest(const cvm_host_t *host, uint32_t field)
{
    return host->field_longest(CVM_RECORD_DEVICE, field);
}

/* One that can't be a revision is none. */
static void revision_is(struct expression *expression, int64_t revision)
{
    if (revision) {
        cvm_dynamo_and_number(expression, REVISION, revision);
        return;
    }
    uint32_t at = cvm_dynamo_name(expression, REVISION);
    cvm_dynamo_and(expression, "(attribute_not_exists(#) OR NOT # BETWEEN : AND :)", at, at,
        cvm_dynamo_value_number(expression, 1), cvm_dynamo_value_number(expression, LAST_REVISION));
}

void cvm_dynamo_row_is(
    struct expression *expression, const cvm_host_t *host, const cvm_record_t *as_read)
{
    char at[TIME_SIZE];
    int32_t has_state = cvm_dynamo_device_has_state(host, as_read);
    int32_t is_registered = host->number(as_read, CVM_D_IS_REGISTERED) != 0;
    cvm_dynamo_and(expression, "attribute_exists(#)", cvm_dynamo_name(expression, "device_uid"));
    const char *token = host->text(as_read, CVM_D_DEVICE_TOKEN),
               *thing = host->text(as_read, CVM_D_THING_NAME),
               *registered_on = host->text(as_read, CVM_D_REGISTERED_ON);
    text_is(expression, TOKEN, token, token, longest(host, CVM_D_DEVICE_TOKEN), 0);
    flag_is(expression, ENABLED, host->number(as_read, CVM_D_IS_ENABLED) != 0, 0);
    if (!is_registered || !has_state) /* else the state may say it */
        flag_is(expression, REGISTERED, is_registered, 1);
    text_is(expression, THING, thing, thing, longest(host, CVM_D_THING_NAME), has_state);
    text_is(expression, REGISTERED_ON, time_written(registered_on, at), registered_on,
        longest(host, CVM_D_REGISTERED_ON), has_state);
    if (!has_state)
        revision_is(expression, host->number(as_read, CVM_D_REVISION));
}

char cvm_dynamo_flag_type(const cJSON *row)
{
    const cJSON *flag = cJSON_GetObjectItemCaseSensitive(row, ENABLED);
    if (cJSON_HasObjectItem(flag, "BOOL"))
        return 'B';
    return cJSON_HasObjectItem(flag, "S") ? 'S' : 'N';
}

/* A disabled one is N 0 always: the reference takes the text "0" for enabled. */
static void enabled_becomes(struct expression *expression, int32_t was_on, int32_t is_on, char type)
{
    if (!is_on)
        cvm_dynamo_set_flag(expression, ENABLED, 0);
    if (!is_on || was_on)
        return;
    cvm_dynamo_set(expression, ENABLED,
        type == 'S'   ? cvm_dynamo_value_text(expression, "1")
        : type == 'B' ? cvm_dynamo_value_bool(expression, 1)
                      : cvm_dynamo_value_number(expression, 1));
}

static void changed_text_becomes(
    struct expression *expression, const char *name, const char *was, const char *wanted)
{
    if (strcmp(was, wanted) != 0)
        cvm_dynamo_set_text(expression, name, wanted);
}

void cvm_dynamo_row_becomes(struct expression *expression, const cvm_host_t *host,
    const cvm_record_t *as_read, const cvm_record_t *wanted, int64_t revision, char flag_type)
{
    char was[TIME_SIZE], at[TIME_SIZE];
    cvm_dynamo_set_number(expression, REVISION, revision);
    cvm_dynamo_set_flag(expression, REGISTERED, host->number(wanted, CVM_D_IS_REGISTERED) != 0);
    enabled_becomes(expression, host->number(as_read, CVM_D_IS_ENABLED) != 0,
        host->number(wanted, CVM_D_IS_ENABLED) != 0, flag_type);
    changed_text_becomes(expression, TOKEN, host->text(as_read, CVM_D_DEVICE_TOKEN),
        host->text(wanted, CVM_D_DEVICE_TOKEN));
    /* These are written anew: the row may have lost them, and the state have said them. */
    if (*host->text(wanted, CVM_D_THING_NAME) || *host->text(as_read, CVM_D_THING_NAME))
        cvm_dynamo_set_text(expression, THING, host->text(wanted, CVM_D_THING_NAME));
    const char *before = time_written(host->text(as_read, CVM_D_REGISTERED_ON), was),
               *after = time_written(host->text(wanted, CVM_D_REGISTERED_ON), at);
    if (*after || *before)
        cvm_dynamo_set_text(expression, REGISTERED_ON, after);
}

static void print_attribute(struct cvm_buffer *to, const char *name, const char *text)
{
    if (!*text)
        return;
    cvm_buffer_format(to, ",\"%s\":{\"S\":", name);
    cvm_buffer_json(to, text);
    cvm_buffer_text(to, "}");
}

void cvm_dynamo_print_row(
    struct cvm_buffer *to, const cvm_host_t *host, const cvm_record_t *wanted, int64_t revision)
{
    char at[TIME_SIZE];
    cvm_buffer_text(to, "{\"device_uid\":{\"S\":");
    cvm_buffer_json(to, host->text(wanted, CVM_D_DEVICE_UID));
    cvm_buffer_format(to,
        "},\"" ENABLED "\":{\"N\":\"%d\"},\"" REGISTERED "\":{\"N\":\"%d\"},\"" REVISION
        "\":{\"N\":\"%" PRId64 "\"}",
        host->number(wanted, CVM_D_IS_ENABLED) != 0, host->number(wanted, CVM_D_IS_REGISTERED) != 0,
        revision);
    print_attribute(to, TOKEN, host->text(wanted, CVM_D_DEVICE_TOKEN));
    print_attribute(to, THING, host->text(wanted, CVM_D_THING_NAME));
    print_attribute(to, REGISTERED_ON, time_written(host->text(wanted, CVM_D_REGISTERED_ON), at));
    cvm_buffer_text(to, "}");
}

/* --- The state -------------------------------------------------------------------------------- */

void cvm_dynamo_state_is(
    struct expression *expression, const cvm_host_t *host, const cvm_record_t *as_read)
{
    if (!cvm_dynamo_device_has_state(host, as_read)) {
        cvm_dynamo_and_missing(expression, STATE_REVISION);
        return;
    }
    cvm_dynamo_and_number(expression, STATE_REVISION, host->number(as_read, CVM_D_REVISION));
    /* Revisions that began anew may be the same: what they are of is not. */
    for (uint32_t i = 0; i < host->field_count(CVM_RECORD_DEVICE); i++) {
        const char *name = host->field_name(CVM_RECORD_DEVICE, i);
        if (where_is(i) != IN_STATE)
            continue;
        if (is_text(host, i))
            cvm_dynamo_and_text(expression, name, host->text(as_read, i));
        else
            cvm_dynamo_and_number(expression, name, host->number(as_read, i));
    }
}

void cvm_dynamo_state_becomes(struct expression *expression, const cvm_host_t *host,
    const cvm_record_t *wanted, int64_t revision)
{
    int32_t has_state = cvm_dynamo_device_has_state(host, wanted);
    for (uint32_t i = 0; i < host->field_count(CVM_RECORD_DEVICE); i++) {
        const char *name = host->field_name(CVM_RECORD_DEVICE, i);
        if (where_is(i) == IN_ROW)
            continue;
        if (is_text(host, i))
            cvm_dynamo_set_text(expression, name, has_state ? host->text(wanted, i) : "");
        else
            cvm_dynamo_set_number(expression, name, has_state ? host->number(wanted, i) : 0);
    }
    cvm_dynamo_set_number(expression, STATE_REVISION, has_state ? revision : 0);
}
