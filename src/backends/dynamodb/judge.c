/* Whether a change may be, by what is known of the rows that it is about: nothing, or what was
 * looked at. */
#include <string.h>

#include "certificate.h"
#include "device.h"
#include "key.h"
#include "plan.h"
#include "rows.h"

/* --- Shorthands ------------------------------------------------------------------------------- */

const cvm_host_t *cvm_plan_host(const struct change *change)
{
    return change->job.store->aws.host;
}

const char *cvm_plan_certificate_text(const struct change *change, uint32_t i, uint32_t field)
{
    return cvm_plan_host(change)->text(change->wanted->certificates[i], field);
}

int32_t cvm_plan_certificate_is(const struct change *change, uint32_t i, const char *state)
{
    return strcmp(cvm_plan_certificate_text(change, i, CVM_C_STATE), state) == 0;
}

int32_t cvm_plan_certificate_ends(const struct change *change, uint32_t i)
{
    return cvm_plan_certificate_is(change, i, "retiring") ||
           cvm_plan_certificate_is(change, i, "revoked");
}

const char *cvm_plan_device_text(
    const struct change *change, const cvm_record_t *device, uint32_t field)
{
    return device ? cvm_plan_host(change)->text(device, field) : "";
}

int64_t cvm_plan_device_number(
    const struct change *change, const cvm_record_t *device, uint32_t field)
{
    return device ? cvm_plan_host(change)->number(device, field) : 0;
}

int32_t cvm_plan_has_state(const struct change *change, const cvm_record_t *device)
{
    return cvm_dynamo_device_has_state(cvm_plan_host(change), device);
}

const cJSON *cvm_plan_certificate(const struct change *change, uint32_t i)
{
    return cvm_dynamo_certificate_row(
        &change->job.look, cvm_plan_certificate_text(change, i, CVM_C_CERTIFICATE_ID));
}

/* Without a look a certificate that is revoked is taken for one that retires. */
const char *cvm_plan_was(const struct change *change, uint32_t i)
{
    return !change->has_looked && cvm_plan_certificate_is(change, i, "revoked")
               ? "retiring"
               : cvm_dynamo_text(cvm_plan_certificate(change, i), "state");
}

int32_t cvm_plan_is_new(const struct change *change, uint32_t i)
{
    return !cvm_plan_certificate(change, i) && !*cvm_plan_was(change, i);
}

/* What it retired for stays, once that is carried out. */
int32_t cvm_plan_keeps_reason(const struct change *change, uint32_t i)
{
    return strcmp(cvm_plan_was(change, i), "retiring") == 0 &&
           cvm_plan_certificate_is(change, i, "revoked");
}

/* --- What is to be known ---------------------------------------------------------------------- */

/* Of one that retired what follows from it was written then; but how long its key is nobody's is
 * compared with what is known of the key. */
static int32_t retirement_needs_no_look(const struct change *change, uint32_t i)
{
    return !change->wanted->as_read && !change->wanted->wanted &&
           cvm_plan_certificate_is(change, i, "revoked") &&
           strcmp(cvm_plan_certificate_text(change, i, CVM_C_REASON), COMPROMISED) != 0;
}

int32_t cvm_dynamo_plan_needs_no_look(const struct change *change)
{
    const cvm_change_t *wanted = change->wanted;
    if (change->mode != CHANGE_SWAP)
        return 0;
    for (uint32_t i = 0; i < wanted->certificate_count; i++)
        if (cvm_plan_certificate_ends(change, i) && !retirement_needs_no_look(change, i))
            return 0;
    /* In which type it is enabled depends on the row. */
    return !wanted->as_read || !wanted->wanted ||
           cvm_plan_device_number(change, wanted->as_read, CVM_D_IS_ENABLED) ||
           !cvm_plan_device_number(change, wanted->wanted, CVM_D_IS_ENABLED);
}

/* The key that the device gets, or gets again; "" if it gets none. */
const char *cvm_plan_key(const struct change *change)
{
    const char *key = cvm_plan_device_text(change, change->wanted->wanted, CVM_D_PUBLIC_KEY_SHA256);
    if (strcmp(key,
            cvm_plan_device_text(change, change->wanted->as_read, CVM_D_PUBLIC_KEY_SHA256)) != 0)
        return key;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        if (!cvm_plan_certificate_ends(change, i) &&
            strcmp(cvm_plan_certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256), key) == 0)
            return key;
    return "";
}

const cJSON *cvm_plan_key_row(const struct change *change)
{
    return cvm_dynamo_key_row(&change->job.look, cvm_plan_key(change));
}

/* Whoever is on record for the key, if that is not this device; NULL else. */
static const char *key_other(const struct change *change)
{
    const char *uid = cvm_dynamo_text(cvm_plan_key_row(change), "device_uid");
    return *uid && strcmp(uid, change->uid) != 0 ? uid : NULL;
}

const cJSON *cvm_plan_state(const struct change *change, const char *uid)
{
    return cvm_dynamo_state(&change->job.look, uid);
}

/* What the other one has that says whether the key is in use. */
static void look_at_other(struct change *change, const char *other)
{
    struct look *look = &change->job.look;
    (void)cvm_dynamo_look_add(look, MAKERS, other, NULL);
    (void)cvm_dynamo_look_state(look, other);
    cvm_dynamo_look_certificates(look, cvm_plan_state(change, other));
}

int32_t cvm_dynamo_plan_looks(struct change *change)
{
    struct look *look = &change->job.look;
    uint32_t before = look->count;
    char pk[DYNAMO_KEY_SIZE];
    if (change->wanted->as_read || change->wanted->wanted)
        (void)cvm_dynamo_look_add(look, MAKERS, change->uid, NULL);
    (void)cvm_dynamo_look_state(look, change->uid);
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        (void)cvm_dynamo_look_certificate(
            look, cvm_plan_certificate_text(change, i, CVM_C_CERTIFICATE_ID));
    if (*cvm_plan_key(change))
        (void)cvm_dynamo_look_key(look, cvm_plan_key(change));
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const char *key = cvm_plan_certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256);
        if (cvm_plan_certificate_ends(change, i) && *key)
            (void)cvm_dynamo_look_key(look, key);
    }
    (void)cvm_dynamo_look_add(
        look, OURS, cvm_dynamo_due_key(pk, DUE_RETIREMENTS, change->uid), change->uid);
    if (key_other(change))
        look_at_other(change, key_other(change));
    return look->count > before && !look->failed;
}

/* --- May it be -------------------------------------------------------------------------------- */

/* Is the key the other's still: its own, or one of its certificates' that may be accepted? */
static int32_t is_in_use(const struct change *change, const char *other, const char *key)
{
    const struct look *look = &change->job.look;
    const cJSON *state = cvm_plan_state(change, other);
    const char *id;
    if (!cvm_dynamo_find(look, MAKERS, other, NULL) && !cvm_dynamo_has(state, "revision"))
        return 0; /* it was removed; a row that a script took out may come again */
    if (cvm_dynamo_has(state, "revision") &&
        strcmp(cvm_dynamo_text(state, "public_key_sha256"), key) == 0)
        return 1;
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++) {
        const cJSON *row = cvm_dynamo_certificate_row(look, id);
        const char *is = cvm_dynamo_text(row, "state");
        if (strcmp(cvm_dynamo_text(row, "public_key_sha256"), key) == 0 &&
            (strcmp(is, "current") == 0 || strcmp(is, "retiring") == 0))
            return 1;
    }
    return 0;
}

int32_t cvm_plan_key_is_taken(const struct change *change)
{
    const cJSON *row = cvm_plan_key_row(change);
    if (!*cvm_plan_key(change) || !row)
        return 0;
    if (cvm_dynamo_number(row, "lost_until") >
        change->job.store->aws.host->now_ms(change->job.store->aws.context))
        return 1;
    const char *other = key_other(change);
    return other && is_in_use(change, other, cvm_plan_key(change));
}

/* Does the same certificate come again in the change? What comes last counts. */
static int32_t comes_again(const struct change *change, uint32_t i)
{
    const char *id = cvm_plan_certificate_text(change, i, CVM_C_CERTIFICATE_ID);
    for (uint32_t k = i + 1; k < change->wanted->certificate_count; k++)
        if (strcmp(cvm_plan_certificate_text(change, k, CVM_C_CERTIFICATE_ID), id) == 0)
            return 1;
    return 0;
}

/* Which certificates are written: revoked ones stay as they are, others' too. */
void cvm_plan_choose(struct change *change)
{
    change->written = 0;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const cJSON *row = cvm_plan_certificate(change, i);
        int32_t is_open =
            cvm_dynamo_certificate_is_open(row, change->uid) &&
            strcmp(cvm_plan_certificate_text(change, i, CVM_C_DEVICE_UID), change->uid) == 0;
        change->is_written[i] =
            is_open && !(change->mode != CHANGE_SWAP && row) && !comes_again(change, i);
        change->written += change->is_written[i];
    }
}

static void become_current(struct currency *current, const char *id)
{
    if (current->is_unknown) {
        current->taken = id;
    } else if (*current->id && strcmp(current->id, id) != 0) {
        current->is_second = 1;
    }
    current->id = id;
    current->is_unknown = 0;
}

struct currency cvm_plan_currency(const struct change *change)
{
    struct currency current = {
        .id = cvm_dynamo_text(cvm_plan_state(change, change->uid), "current"),
        .is_unknown = !change->has_looked};
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const char *id = cvm_plan_certificate_text(change, i, CVM_C_CERTIFICATE_ID);
        if (!change->is_written[i])
            continue;
        if (cvm_plan_certificate_is(change, i, "current"))
            become_current(&current, id);
        else if (!current.is_unknown && strcmp(current.id, id) == 0)
            current.id = "";
    }
    return current;
}
