/* The store's records beside the instances: see the header. */
#include "support/records.h"

#include "base/clock.h"
#include "support/calls.h"
#include "support/harness.h"

#define MOST_CHANGED 64
#define NOT_AFTER    INT64_C(4000000000000) /* the year 2096 */

/* --- Reading ---------------------------------------------------------------------------------- */

/* The device's record; NULL if there is none. */
static cvm_record_t *device_of(const char *uid)
{
    struct call call = {.is_done = 0};
    begin_get(instance_beside(), &call, uid);
    cvm_answer_t answer = wait_alone(instance_beside(), &call);
    assert_true(answer == CVM_ANSWER_OK || answer == CVM_ANSWER_NOT_FOUND);
    return answer == CVM_ANSWER_OK ? call.found[0] : NULL;
}

static void certificates_of(const char *uid, struct call *call)
{
    begin_get_certificates(instance_beside(), call, uid);
    assert_int_equal(wait_alone(instance_beside(), call), CVM_ANSWER_OK);
}

static void scan_all(cvm_scan_t what, struct call *call)
{
    begin_scan(instance_beside(), call, what);
    assert_int_equal(wait_alone(instance_beside(), call), CVM_ANSWER_OK);
    assert_true(call->count < MOST_FOUND); /* else there may be more */
}

const char *device_text(const char *uid, uint32_t field)
{
    static char text[257];
    cvm_record_t *device = device_of(uid);
    (void)snprintf(text, sizeof text, "%s", device ? host->text(device, field) : "");
    host->record_free(device);
    return text;
}

int64_t device_number(const char *uid, uint32_t field)
{
    cvm_record_t *device = device_of(uid);
    int64_t number = device ? host->number(device, field) : 0;
    host->record_free(device);
    return number;
}

int32_t device_has_lease(const char *uid)
{
    cvm_record_t *device = device_of(uid);
    int32_t has_lease = device && (*host->text(device, CVM_D_LEASE_OWNER) ||
                                      *host->text(device, CVM_D_LEASE_CERTIFICATE_ID));
    host->record_free(device);
    return has_lease;
}

const char *certificate_text(const char *uid, const char *id, uint32_t field)
{
    static char text[257];
    struct call call = {.is_done = 0};
    *text = 0;
    certificates_of(uid, &call);
    for (uint32_t i = 0; i < call.count; i++)
        if (strcmp(host->text(call.found[i], CVM_C_CERTIFICATE_ID), id) == 0)
            (void)snprintf(text, sizeof text, "%s", host->text(call.found[i], field));
    forget(&call);
    return text;
}

int64_t certificates_number(const char *uid, const char *state, uint32_t field)
{
    struct call call = {.is_done = 0};
    int64_t number = 0;
    certificates_of(uid, &call);
    for (uint32_t i = 0; i < call.count && !number; i++)
        if (strcmp(host->text(call.found[i], CVM_C_STATE), state) == 0)
            number = host->number(call.found[i], field);
    forget(&call);
    return number;
}

uint32_t count_certificates_with(uint32_t field, const char *text)
{
    struct call call = {.is_done = 0};
    uint32_t count = 0;
    scan_all(CVM_SCAN_CERTIFICATES, &call);
    for (uint32_t i = 0; i < call.count; i++)
        count += !text || strcmp(host->text(call.found[i], field), text) == 0;
    forget(&call);
    return count;
}

uint32_t count_certificates(const char *state)
{
    return count_certificates_with(CVM_C_STATE, state);
}

static int32_t device_leads_to(const cvm_record_t *device, const char *certificate_id)
{
    return strcmp(host->text(device, CVM_D_CERTIFICATE_ID), certificate_id) == 0 ||
           strcmp(host->text(device, CVM_D_LEASE_CERTIFICATE_ID), certificate_id) == 0;
}

static int32_t is_retiring(const cvm_record_t *certificate, const char *certificate_id)
{
    return strcmp(host->text(certificate, CVM_C_CERTIFICATE_ID), certificate_id) == 0 &&
           strcmp(host->text(certificate, CVM_C_STATE), "retiring") == 0;
}

int32_t is_recorded(const char *certificate_id)
{
    struct call call = {.is_done = 0};
    int32_t leads_there = 0;
    scan_all(CVM_SCAN_DEVICES, &call);
    for (uint32_t i = 0; i < call.count; i++)
        leads_there |= device_leads_to(call.found[i], certificate_id);
    if (!leads_there) {
        scan_all(CVM_SCAN_CERTIFICATES, &call);
        for (uint32_t i = 0; i < call.count; i++)
            leads_there |= is_retiring(call.found[i], certificate_id);
    }
    forget(&call);
    return leads_there;
}

/* --- Writing ---------------------------------------------------------------------------------- */

static void write_change(const cvm_record_t *as_read, const cvm_record_t *wanted,
    const cvm_record_t *const *certificates, uint32_t count)
{
    struct call call = {.is_done = 0};
    const cvm_change_t change = change_of(as_read, wanted, certificates, count);
    if (as_read && !wanted)
        begin_remove(instance_beside(), &call, &change);
    else
        begin_swap(instance_beside(), &call, &change);
    assert_int_equal(wait_alone(instance_beside(), &call), CVM_ANSWER_OK);
    forget(&call);
}

/* Reads it, lets `set` change a copy, and writes that. */
static void edit_device(
    const char *uid, void (*set)(cvm_record_t *device, const void *what), const void *what)
{
    cvm_record_t *as_read = device_of(uid);
    assert_non_null(as_read);
    cvm_record_t *wanted = host->record_copy(as_read);
    set(wanted, what);
    write_change(as_read, wanted, NULL, 0);
    host->record_free(as_read);
    host->record_free(wanted);
}

struct value {
    uint32_t field;
    const char *text;
    int64_t number;
};

static void set_text(cvm_record_t *device, const void *what)
{
    const struct value *value = what;
    assert_int_equal(host->set_text(device, value->field, value->text ? value->text : ""), 0);
}

static void set_number(cvm_record_t *device, const void *what)
{
    const struct value *value = what;
    assert_int_equal(host->set_number(device, value->field, value->number), 0);
}

static void set_nothing(cvm_record_t *device, const void *what)
{
    (void)device;
    (void)what;
}

void set_device_text(const char *uid, uint32_t field, const char *text)
{
    edit_device(uid, set_text, &(struct value){field, text, 0});
}

void set_device_number(const char *uid, uint32_t field, int64_t number)
{
    edit_device(uid, set_number, &(struct value){field, NULL, number});
}

void touch_device(const char *uid)
{
    edit_device(uid, set_nothing, NULL);
}

void delete_device(const char *uid)
{
    cvm_record_t *as_read = device_of(uid);
    assert_non_null(as_read);
    write_change(as_read, NULL, NULL, 0);
    host->record_free(as_read);
}

/* Writes those in that state anew, as many at a time as a change may have. */
static void edit_certificates(const char *uid, const char *state,
    void (*set)(cvm_record_t *certificate, const void *what), const void *what)
{
    struct call call = {.is_done = 0};
    const cvm_record_t *rows[MOST_CHANGED];
    uint32_t count = 0;
    certificates_of(uid, &call);
    for (uint32_t i = 0; i < call.count; i++) {
        if (strcmp(host->text(call.found[i], CVM_C_STATE), state) == 0) {
            set(call.found[i], what);
            rows[count++] = call.found[i];
        }
        if (count == MOST_CHANGED || (count && i + 1 == call.count)) {
            write_change(NULL, NULL, rows, count);
            count = 0;
        }
    }
    forget(&call);
}

void set_certificates_number(const char *uid, const char *state, uint32_t field, int64_t number)
{
    edit_certificates(uid, state, set_number, &(struct value){field, NULL, number});
}

struct becoming {
    const char *state, *reason;
    int64_t revoke_after_ms;
};

static void set_state(cvm_record_t *certificate, const void *what)
{
    const struct becoming *becoming = what;
    assert_false(host->set_text(certificate, CVM_C_STATE, becoming->state) ||
                 host->set_text(certificate, CVM_C_REASON, becoming->reason) ||
                 host->set_number(certificate, CVM_C_REVOKE_AFTER, becoming->revoke_after_ms));
}

void set_certificates_state(
    const char *uid, const char *from, const char *to, const char *reason, int64_t revoke_after_ms)
{
    edit_certificates(uid, from, set_state, &(struct becoming){to, reason, revoke_after_ms});
}

static cvm_record_t *certificate_of(const struct certificates *certificates, uint32_t number)
{
    char uid[24], id[80], serial[24];
    (void)snprintf(uid, sizeof uid, "D%u", number);
    (void)snprintf(id, sizeof id, certificates->has_short_ids ? "C%u" : "%064x", number);
    (void)snprintf(serial, sizeof serial, "%x", number);
    cvm_record_t *record = host->record_new(CVM_RECORD_CERTIFICATE);
    int64_t revoke_after_ms =
        certificates->revoke_after_ms ? certificates->revoke_after_ms : number;
    assert_false(
        !record || host->set_text(record, CVM_C_CERTIFICATE_ID, id) ||
        host->set_text(record, CVM_C_DEVICE_UID, certificates->uid ? certificates->uid : uid) ||
        host->set_text(record, CVM_C_STATE, certificates->state) ||
        host->set_text(record, CVM_C_REASON, certificates->reason) ||
        host->set_text(record, CVM_C_SERIAL, serial) ||
        host->set_number(record, CVM_C_NOT_BEFORE, NOT_AFTER / 4 * 3) ||
        host->set_number(record, CVM_C_NOT_AFTER, NOT_AFTER) ||
        host->set_number(record, CVM_C_REVOKE_AFTER, revoke_after_ms));
    return record;
}

void insert_certificates(const struct certificates *certificates)
{
    cvm_record_t *rows[MOST_FOUND];
    struct call call = {.is_done = 0};
    assert_true(certificates->count <= MOST_FOUND);
    for (uint32_t i = 0; i < certificates->count; i++)
        rows[i] = certificate_of(certificates, certificates->first + i);
    const cvm_loading_t loading = {.size = sizeof loading,
        .certificate_count = certificates->count,
        .certificates = (const cvm_record_t *const *)rows};
    begin_load(instance_beside(), &call, &loading);
    assert_int_equal(wait_alone(instance_beside(), &call), CVM_ANSWER_OK);
    for (uint32_t i = 0; i < certificates->count; i++)
        host->record_free(rows[i]);
    forget(&call);
}

const char *value_text(const char *name)
{
    static char text[256];
    struct call call = {.is_done = 0};
    begin_meta_get(instance_beside(), &call, name);
    (void)wait_alone(instance_beside(), &call);
    (void)snprintf(text, sizeof text, "%s", call.value);
    forget(&call);
    return text;
}

void set_value(const char *name, const char *value)
{
    struct call call = {.is_done = 0};
    begin_meta_get(instance_beside(), &call, name);
    (void)wait_alone(instance_beside(), &call);
    begin_meta_put(instance_beside(), &call, name, call.version, value);
    assert_int_equal(wait_alone(instance_beside(), &call), CVM_ANSWER_OK);
    forget(&call);
}

/* --- Time ------------------------------------------------------------------------------------- */

static int64_t ahead_ms;

void time_passes(int64_t ms)
{
    ahead_ms += ms;
    cvm_clock_turn(ahead_ms, 0);
}

void time_is_restored(void)
{
    ahead_ms = 0;
    cvm_clock_turn(0, 0);
}
