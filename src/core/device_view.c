/* Reading devices: get, list, and the getters of what they hand out. */
#include "device_view.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/at_exit.h"
#include "base/clock.h"
#include "call.h"
#include "entry.h"
#include "instance.h"
#include "record.h"
#include "registration/inherited.h"
#include "token.h"

#define MOST_CERTIFICATES 256
#define LARGEST_PAGE      1000

struct cvm_certificate_s {
    const cvm_record_t *record;
    char not_before[CVM_RFC3339_SIZE], not_after[CVM_RFC3339_SIZE], revoke_after[CVM_RFC3339_SIZE];
};

struct cvm_device_s {
    const cvm_record_t *record;
    char lease[CVM_RFC3339_SIZE];
    const char *gap; /* why certificates may be missing; NULL: none is */
    uint32_t certificate_count;
    cvm_certificate_t certificates[];
};

struct query {
    cvm_op_t op;
    char name[CVM_CURSOR_SIZE]; /* the uid that is asked for, or the cursor */
    cvm_find_by_t by;           /* 0: by its uid */
    char sought[129];           /* what it is to have */
    char gap[CVM_OP_TEXT];      /* why certificates may be missing */
    cvm_record_t *device;
    cvm_record_t *rows[MOST_CERTIFICATES]; /* while the platform is asked for others */
    uint32_t row_count;
    cvm_device_cb one;
    cvm_devices_cb many;
    void *user_data;
};

/* --- Views ------------------------------------------------------------------------------------ */

static void fill_certificate(cvm_certificate_t *certificate, const cvm_record_t *record)
{
    certificate->record = record;
    (void)cvm_rfc3339(cvm_record_number(record, CVM_C_NOT_BEFORE), certificate->not_before);
    (void)cvm_rfc3339(cvm_record_number(record, CVM_C_NOT_AFTER), certificate->not_after);
    (void)cvm_rfc3339(cvm_record_number(record, CVM_C_REVOKE_AFTER), certificate->revoke_after);
}

cvm_device_t *cvm_device_view(const cvm_record_t *record, cvm_op_t *certificates)
{
    uint32_t count = certificates ? certificates->record_count : 0;
    cvm_device_t *device = calloc(1, sizeof *device + count * sizeof device->certificates[0]);
    if (!device)
        return NULL;
    device->record = record;
    device->certificate_count = count;
    (void)cvm_rfc3339(cvm_record_number(record, CVM_D_LEASE_UNTIL), device->lease);
    for (uint32_t i = 0; i < count; i++)
        fill_certificate(&device->certificates[i], certificates->records[i]);
    return device;
}

void cvm_device_view_free(cvm_device_t *device)
{
    free(device);
}

/* --- get -------------------------------------------------------------------------------------- */

static void query_free(struct query *query)
{
    cvm_op_clear(&query->op);
    cvm_record_free(query->device);
    while (query->row_count)
        cvm_record_free(query->rows[--query->row_count]);
    free(query);
}

/* What was found is a hint: does the device have it? */
static int32_t has_sought(const struct query *query)
{
    static const uint32_t FIELDS[] = {
        [CVM_FIND_CERTIFICATE] = CVM_C_CERTIFICATE_ID, [CVM_FIND_KEY] = CVM_C_PUBLIC_KEY_SHA256};
    const cvm_op_t *op = &query->op;
    if (query->by == CVM_FIND_THING)
        return cvm_record_says(query->device, CVM_D_THING_NAME, query->sought);
    if (query->by == CVM_FIND_KEY &&
        cvm_record_says(query->device, CVM_D_PUBLIC_KEY_SHA256, query->sought))
        return 1;
    for (uint32_t i = 0; i < op->record_count; i++)
        if (cvm_record_says(op->records[i], FIELDS[query->by], query->sought))
            return 1;
    return op->record_count == MOST_CERTIFICATES; /* it may be one of those that are left out */
}

static cvm_error_t *answer_error(const struct query *query)
{
    if (query->by && *query->name && query->op.answer == CVM_ANSWER_NOT_FOUND)
        return cvm_error_new(
            REASON_no_such_device, "it was %s's, which has been removed", query->name);
    return cvm_op_error(&query->op);
}

static void answer_one(struct query *query)
{
    const cvm_op_t *op = &query->op;
    cvm_error_t *error = NULL;
    cvm_device_t *device = NULL;
    if (op->answer != CVM_ANSWER_OK)
        error = answer_error(query);
    else if (query->by && !has_sought(query))
        error = cvm_error_new(REASON_no_such_device, NULL);
    else if (!(device = cvm_device_view(query->device, &query->op)))
        error = cvm_error_out_of_memory();
    if (device && *query->gap)
        device->gap = query->gap;
    CVM_CALL_OUT(query->one(query->user_data, error, device));
    cvm_error_free(error);
    cvm_device_view_free(device);
    query_free(query);
}

/* What another system made is shown; it is written down by the first verb that changes something.
 */
static void found_inherited(cvm_op_t *op)
{
    struct query *query = CVM_CONTAINER(op, struct query, op);
    cvm_record_t *found[MOST_CERTIFICATES];
    int32_t count = op->answer == CVM_ANSWER_OK
                        ? cvm_inherit_take(op, query->device, found, MOST_CERTIFICATES)
                        : 0;
    if (count < 0)
        (void)snprintf(query->gap, sizeof query->gap, "what it answered can't be read");
    else if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND)
        (void)snprintf(query->gap, sizeof query->gap, "%s",
            *op->text ? op->text : "the platform can't be asked");
    cvm_op_clear(op);
    op->answer = CVM_ANSWER_OK;
    for (uint32_t i = 0; i < query->row_count; i++)
        if (CVM_HOST.op_add_record(op, query->rows[i]))
            op->answer = CVM_ANSWER_UNAVAILABLE;
    query->row_count = 0;
    for (int32_t i = 0; i < count; i++)
        if (CVM_HOST.op_add_record(op, found[i]))
            op->answer = CVM_ANSWER_UNAVAILABLE;
    answer_one(query);
}

static void got_certificates(cvm_op_t *op)
{
    struct query *query = CVM_CONTAINER(op, struct query, op);
    if (op->answer != CVM_ANSWER_OK || !cvm_may_inherit(op->cvm, query->device, op->record_count)) {
        answer_one(query);
        return;
    }
    for (uint32_t i = 0; i < op->record_count && i < MOST_CERTIFICATES; i++)
        query->rows[query->row_count++] = cvm_op_take(op, i);
    cvm_inherit_ask(op->cvm, op, query->device, query->rows, query->row_count, found_inherited);
}

static void got_device(cvm_op_t *op)
{
    struct query *query = CVM_CONTAINER(op, struct query, op);
    query->device = cvm_op_take(op, 0);
    if (op->answer != CVM_ANSWER_OK) {
        answer_one(query);
        return;
    }
    cvm_store_get_certificates(op->cvm, op, query->name, MOST_CERTIFICATES, got_certificates);
}

/* NULL and error. */
static struct query *query_new(
    const cvm_t *cvm, const char *uid, void *user_data, cvm_error_t **error)
{
    *error = cvm_check_ready(cvm);
    if (*error)
        return NULL;
    struct query *query = calloc(1, sizeof *query);
    if (!query) {
        *error = cvm_error_out_of_memory();
        return NULL;
    }
    query->user_data = user_data;
    memcpy(query->name, uid, strlen(uid) + 1);
    return query;
}

cvm_error_t *cvm_device_get(cvm_t *cvm, const char *uid, cvm_device_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, uid && callback);
    if (error)
        return error;
    if (!cvm_uid_is_valid(uid))
        return cvm_error_new(
            REASON_invalid_request, "device_uid must be 1 to 128 of A-Z a-z 0-9 : _ -");
    struct query *query = query_new(cvm, uid, user_data, &error);
    if (!query)
        return error;
    query->one = callback;
    cvm_store_get(cvm, &query->op, query->name, got_device);
    return NULL;
}

/* --- find ------------------------------------------------------------------------------------- */

static void found_device(cvm_op_t *op)
{
    struct query *query = CVM_CONTAINER(op, struct query, op);
    const char *uid = op->answer == CVM_ANSWER_OK ? op->outs[CVM_OUT_VALUE] : NULL;
    if (!uid || !cvm_uid_is_valid(uid)) {
        if (op->answer == CVM_ANSWER_OK)
            op->answer = CVM_ANSWER_NOT_FOUND;
        answer_one(query);
        return;
    }
    memcpy(query->name, uid, strlen(uid) + 1);
    cvm_store_get(op->cvm, op, query->name, got_device);
}

/* Takes 64 hex digits, with or without colons, as lower case. 0, or -1. */
static int32_t take_digest(char *to, const char *value)
{
    size_t length = 0;
    for (; *value; value++) {
        if (*value == ':')
            continue;
        if (!isxdigit((unsigned char)*value) || length == 64)
            return -1;
        to[length++] = (char)tolower((unsigned char)*value);
    }
    to[length] = 0;
    return length == 64 ? 0 : -1;
}

/* NULL if it can be looked for; sought receives it as it is stored. */
static cvm_error_t *take_sought(int32_t by, const char *value, char sought[129])
{
    int32_t is_digest = by == CVM_FIND_CERTIFICATE || by == CVM_FIND_KEY;
    if (!is_digest && by != CVM_FIND_THING)
        return cvm_error_new(REASON_invalid_request, "by a certificate, a thing or a key");
    if (is_digest && take_digest(sought, value))
        return cvm_error_new(
            REASON_invalid_request, "a certificate's id, and a key's, are 64 hex digits");
    if (!is_digest && (!*value || strlen(value) > 128))
        return cvm_error_new(REASON_invalid_request, "a thing's name has 1 to 128 characters");
    if (!is_digest)
        memcpy(sought, value, strlen(value) + 1);
    return NULL;
}

cvm_error_t *cvm_device_find(
    cvm_t *cvm, int32_t by, const char *value, cvm_device_cb callback, void *user_data)
{
    char sought[129];
    cvm_error_t *error = cvm_entry(cvm, __func__, value && callback);
    if (!error)
        error = take_sought(by, value, sought);
    if (error)
        return error;
    struct query *query = query_new(cvm, "", user_data, &error);
    if (!query)
        return error;
    if (!cvm->store.find) {
        query_free(query);
        return cvm_error_new(REASON_conflict, "this store can't look for a device by that");
    }
    query->one = callback;
    query->by = by;
    memcpy(query->sought, sought, sizeof query->sought);
    cvm_store_find(cvm, &query->op, by, query->sought, found_device);
    return NULL;
}

/* --- list ------------------------------------------------------------------------------------- */

static cvm_device_t **views_of(const cvm_op_t *op)
{
    cvm_device_t **devices = calloc(op->record_count + 1, sizeof(cvm_device_t *));
    for (uint32_t i = 0; devices && i < op->record_count; i++) {
        devices[i] = cvm_device_view(op->records[i], NULL);
        if (!devices[i]) {
            while (i)
                cvm_device_view_free(devices[--i]);
            free(devices);
            return NULL;
        }
    }
    return devices;
}

static void got_page(cvm_op_t *op)
{
    struct query *query = CVM_CONTAINER(op, struct query, op);
    cvm_error_t *error = NULL;
    cvm_device_t **devices = NULL;
    if (op->answer != CVM_ANSWER_OK)
        error = cvm_op_error(op);
    else if (!(devices = views_of(op)))
        error = cvm_error_out_of_memory();
    CVM_CALL_OUT(query->many(query->user_data, error, (const cvm_device_t *const *)devices,
        devices ? op->record_count : 0, devices ? op->outs[CVM_OUT_CURSOR] : NULL));
    for (uint32_t i = 0; devices && i < op->record_count; i++)
        cvm_device_view_free(devices[i]);
    free(devices);
    cvm_error_free(error);
    query_free(query);
}

cvm_error_t *cvm_device_list(
    cvm_t *cvm, const char *cursor, uint32_t limit, cvm_devices_cb callback, void *user_data)
{
    cvm_error_t *error = cvm_entry(cvm, __func__, callback != NULL);
    if (error)
        return error;
    if (!cursor)
        cursor = "";
    if (!limit || limit > LARGEST_PAGE || strlen(cursor) > CVM_CURSOR_SIZE - 1)
        return cvm_error_new(REASON_invalid_request, "a page is 1 to 1000 devices from a cursor");
    struct query *query = query_new(cvm, cursor, user_data, &error);
    if (!query)
        return error;
    query->many = callback;
    cvm_store_scan(cvm, &query->op, CVM_SCAN_DEVICES, query->name, 0, limit, got_page);
    return NULL;
}

/* --- Getters ---------------------------------------------------------------------------------- */

/* NULL for a device or certificate that is NULL. */
static const cvm_record_t *record_of_device(const cvm_device_t *device)
{
    return device ? device->record : NULL;
}

static const cvm_record_t *record_of(const cvm_certificate_t *certificate)
{
    return certificate ? certificate->record : NULL;
}

static const char *text_or_null(const cvm_record_t *record, uint32_t field)
{
    if (!record)
        return NULL;
    const char *text = cvm_record_text(record, field);
    return *text ? text : NULL;
}

static int32_t is_set(const cvm_device_t *device, uint32_t field)
{
    return device && cvm_record_number(device->record, field) != 0;
}

const char *cvm_device_uid(const cvm_device_t *device)
{
    return text_or_null(record_of_device(device), CVM_D_DEVICE_UID);
}

int32_t cvm_device_is_enabled(const cvm_device_t *device)
{
    return is_set(device, CVM_D_IS_ENABLED);
}

int32_t cvm_device_is_registered(const cvm_device_t *device)
{
    return is_set(device, CVM_D_IS_REGISTERED);
}

int32_t cvm_device_is_revoked(const cvm_device_t *device)
{
    return is_set(device, CVM_D_IS_REVOKED);
}

const char *cvm_device_thing_name(const cvm_device_t *device)
{
    return text_or_null(record_of_device(device), CVM_D_THING_NAME);
}

const char *cvm_device_registered_on(const cvm_device_t *device)
{
    return text_or_null(record_of_device(device), CVM_D_REGISTERED_ON);
}

const char *cvm_device_certificate_id(const cvm_device_t *device)
{
    return text_or_null(record_of_device(device), CVM_D_CERTIFICATE_ID);
}

const char *cvm_device_gap(const cvm_device_t *device)
{
    return device ? device->gap : NULL;
}

const char *cvm_device_lease(const cvm_device_t *device)
{
    return text_or_null(record_of_device(device), CVM_D_LEASE_OWNER) ? device->lease : NULL;
}

const cvm_certificate_t *cvm_device_certificate(const cvm_device_t *device, uint32_t i)
{
    return device && i < device->certificate_count ? &device->certificates[i] : NULL;
}

const char *cvm_certificate_id(const cvm_certificate_t *certificate)
{
    return text_or_null(record_of(certificate), CVM_C_CERTIFICATE_ID);
}

const char *cvm_certificate_state(const cvm_certificate_t *certificate)
{
    return text_or_null(record_of(certificate), CVM_C_STATE);
}

const char *cvm_certificate_serial(const cvm_certificate_t *certificate)
{
    return text_or_null(record_of(certificate), CVM_C_SERIAL);
}

const char *cvm_certificate_not_before(const cvm_certificate_t *certificate)
{
    return certificate ? certificate->not_before : NULL;
}

const char *cvm_certificate_not_after(const cvm_certificate_t *certificate)
{
    return certificate ? certificate->not_after : NULL;
}

const char *cvm_certificate_revoke_after(const cvm_certificate_t *certificate)
{
    int32_t is_later = certificate && cvm_record_is_state(certificate->record, "retiring") &&
                       cvm_record_number(certificate->record, CVM_C_REVOKE_AFTER);
    return is_later ? certificate->revoke_after : NULL;
}

const char *cvm_certificate_reason(const cvm_certificate_t *certificate)
{
    return text_or_null(record_of(certificate), CVM_C_REASON);
}

const char *cvm_certificate_pem(const cvm_certificate_t *certificate)
{
    return text_or_null(record_of(certificate), CVM_C_PEM);
}
