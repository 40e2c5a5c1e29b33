/* Records: rows of named fields, each with an owner, so that one that was forgotten or freed twice
 * is found. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

struct cvm_record_s {
    cvm_record_t *next, **link; /* of all that there are */
    enum owner owner;
    cvm_record_kind_t kind;
    union {
        char *text;
        int64_t number;
    } values[];
};

struct field {
    const char *name;
    cvm_field_kind_t kind;
    uint32_t longest;
};

#define RECORDS_ROW(id, name, kind, longest) {#name, CVM_FIELD_##kind, longest},
static const struct field DEVICE[] = {CVM_DEVICE_FIELDS(RECORDS_ROW)};
static const struct field CERTIFICATE[] = {CVM_CERTIFICATE_FIELDS(RECORDS_ROW)};
static const struct field VALUE[] = {CVM_VALUE_FIELDS(RECORDS_ROW)};
static const struct field LATER[CHECK_LATER_FIELDS] = {
    {"later_text", CVM_FIELD_TEXT, 64}, {"later_number", CVM_FIELD_NUMBER, 0}};

#define RECORDS_KIND(fields, grows)                                                                \
    {                                                                                              \
        fields, sizeof(fields) / sizeof *(fields), grows                                           \
    }
static const struct {
    const struct field *fields;
    uint32_t count;
    bool grows;
} KINDS[] = {
    RECORDS_KIND(DEVICE, true), RECORDS_KIND(CERTIFICATE, true), RECORDS_KIND(VALUE, false)};

bool records_are_later;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cvm_record_t *all;

/* --- What they are made of -------------------------------------------------------------------- */

uint32_t records_field_count(cvm_record_kind_t kind)
{
    if ((uint32_t)kind >= sizeof KINDS / sizeof *KINDS)
        return 0;
    return KINDS[kind].count + (records_are_later && KINDS[kind].grows ? CHECK_LATER_FIELDS : 0);
}

/* NULL past the end. */
static const struct field *records_field(cvm_record_kind_t kind, uint32_t field)
{
    if (field >= records_field_count(kind))
        return NULL;
    return field < KINDS[kind].count ? &KINDS[kind].fields[field]
                                     : &LATER[field - KINDS[kind].count];
}

const char *records_field_name(cvm_record_kind_t kind, uint32_t field)
{
    const struct field *row = records_field(kind, field);
    return row ? row->name : NULL;
}

cvm_field_kind_t records_field_kind(cvm_record_kind_t kind, uint32_t field)
{
    const struct field *row = records_field(kind, field);
    return row ? row->kind : CVM_FIELD_TEXT;
}

uint32_t records_field_longest(cvm_record_kind_t kind, uint32_t field)
{
    const struct field *row = records_field(kind, field);
    return row ? row->longest : 0;
}

static bool records_is(const cvm_record_t *record, uint32_t field, cvm_field_kind_t kind)
{
    const struct field *row = records_field(record->kind, field);
    return row && row->kind == kind;
}

/* --- Life ------------------------------------------------------------------------------------- */

cvm_record_t *records_new(cvm_record_kind_t kind)
{
    uint32_t count = records_field_count(kind);
    if (!count)
        return NULL;
    cvm_record_t *record = calloc(1, sizeof *record + count * sizeof record->values[0]);
    if (!record)
        return NULL;
    record->kind = kind;
    record->owner = OWNER_STORE;
    (void)pthread_mutex_lock(&lock);
    record->next = all;
    record->link = &all;
    if (all)
        all->link = &record->next;
    all = record;
    (void)pthread_mutex_unlock(&lock);
    return record;
}

static void records_release(cvm_record_t *record)
{
    for (uint32_t i = 0; i < records_field_count(record->kind); i++)
        if (records_field_kind(record->kind, i) == CVM_FIELD_TEXT)
            free(record->values[i].text);
    free(record);
}

static void records_wipe(cvm_record_t *record)
{
    (void)pthread_mutex_lock(&lock);
    *record->link = record->next;
    if (record->next)
        record->next->link = record->link;
    (void)pthread_mutex_unlock(&lock);
    records_release(record);
}

void records_free(cvm_record_t *record)
{
    if (!record)
        return;
    if (record->owner != OWNER_STORE)
        CHECK_VIOLATION("the store frees a record that is not its own");
    records_wipe(record);
}

cvm_record_t *records_copy(const cvm_record_t *record)
{
    cvm_record_t *copy = records_new(record->kind);
    for (uint32_t i = 0; copy && i < records_field_count(record->kind); i++) {
        if (records_is(record, i, CVM_FIELD_NUMBER)) {
            copy->values[i].number = record->values[i].number;
        } else if (records_set_text(copy, i, record->values[i].text)) {
            records_wipe(copy);
            return NULL;
        }
    }
    return copy;
}

void records_hand_over(cvm_record_t *record, enum owner owner)
{
    record->owner = owner;
}

uint32_t records_end(void)
{
    uint32_t left = 0;
    cvm_record_t *record = all, *next;
    for (all = NULL; record; record = next) {
        next = record->next;
        left += record->owner == OWNER_STORE;
        records_release(record);
    }
    return left;
}

/* --- Values ----------------------------------------------------------------------------------- */

cvm_record_kind_t records_kind(const cvm_record_t *record)
{
    return record->kind;
}

const char *records_text(const cvm_record_t *record, uint32_t field)
{
    const char *text =
        record && records_is(record, field, CVM_FIELD_TEXT) ? record->values[field].text : NULL;
    return text ? text : "";
}

int64_t records_number(const cvm_record_t *record, uint32_t field)
{
    return record && records_is(record, field, CVM_FIELD_NUMBER) ? record->values[field].number : 0;
}

int32_t records_set_text(cvm_record_t *record, uint32_t field, const char *value)
{
    char *copy = NULL;
    if (!records_is(record, field, CVM_FIELD_TEXT))
        return -1;
    if (value && *value) {
        if (strlen(value) > records_field_longest(record->kind, field) || !(copy = strdup(value)))
            return -1;
    }
    free(record->values[field].text);
    record->values[field].text = copy;
    return 0;
}

int32_t records_set_number(cvm_record_t *record, uint32_t field, int64_t value)
{
    if (!records_is(record, field, CVM_FIELD_NUMBER))
        return -1;
    record->values[field].number = value;
    return 0;
}
