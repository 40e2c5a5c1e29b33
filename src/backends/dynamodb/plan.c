/* What a change writes: the rows, and what leads to them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "certificate.h"
#include "change.h"
#include "device.h"
#include "key.h"

#define COMPROMISED "keyCompromise"

/* --- Shorthands ------------------------------------------------------------------------------- */

static const cvm_host_t *host_of(const struct change *change)
{
    return change->job.store->host;
}

static const char *certificate_text(const struct change *change, uint32_t i, uint32_t field)
{
    return host_of(change)->text(change->wanted->certificates[i], field);
}

static int32_t certificate_is(const struct change *change, uint32_t i, const char *state)
{
    return strcmp(certificate_text(change, i, CVM_C_STATE), state) == 0;
}

static int32_t certificate_ends(const struct change *change, uint32_t i)
{
    return certificate_is(change, i, "retiring") || certificate_is(change, i, "revoked");
}

static const char *device_text(
    const struct change *change, const cvm_record_t *device, uint32_t field)
{
    return device ? host_of(change)->text(device, field) : "";
}

static int64_t device_number(
    const struct change *change, const cvm_record_t *device, uint32_t field)
{
    return device ? host_of(change)->number(device, field) : 0;
}

static int32_t has_state(const struct change *change, const cvm_record_t *device)
{
    return cvm_dynamo_device_has_state(host_of(change), device);
}

static const cJSON *row_of(const struct change *change, uint32_t i)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_find(&change->job.look, OURS,
        cvm_dynamo_key(pk, "C#", certificate_text(change, i, CVM_C_CERTIFICATE_ID)), "C");
}

/* What it retired for stays, once that is carried out. */
static int32_t keeps_reason(const struct change *change, uint32_t i)
{
    return strcmp(cvm_dynamo_text(row_of(change, i), "state"), "retiring") == 0 &&
           certificate_is(change, i, "revoked");
}

/* --- What is to be known ---------------------------------------------------------------------- */

int32_t cvm_dynamo_plan_needs_no_look(const struct change *change)
{
    const cvm_change_t *wanted = change->wanted;
    if (change->mode != CHANGE_SWAP)
        return 0;
    for (uint32_t i = 0; i < wanted->certificate_count; i++)
        if (certificate_ends(change, i))
            return 0;
    /* In which type it is enabled depends on the row. */
    return !wanted->as_read || !wanted->wanted ||
           device_number(change, wanted->as_read, CVM_D_IS_ENABLED) ||
           !device_number(change, wanted->wanted, CVM_D_IS_ENABLED);
}

/* The key that the device gets, or gets again; "" if it gets none. */
static const char *claimed_key(const struct change *change)
{
    const char *key = device_text(change, change->wanted->wanted, CVM_D_PUBLIC_KEY_SHA256);
    if (strcmp(key, device_text(change, change->wanted->as_read, CVM_D_PUBLIC_KEY_SHA256)) != 0)
        return key;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        if (!certificate_ends(change, i) &&
            strcmp(certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256), key) == 0)
            return key;
    return "";
}

static const cJSON *key_row(const struct change *change)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_find(
        &change->job.look, OURS, cvm_dynamo_key(pk, "K#", claimed_key(change)), "K");
}

/* Whoever is on record for the key, if that is not this device; NULL else. */
static const char *key_other(const struct change *change)
{
    const char *uid = cvm_dynamo_text(key_row(change), "device_uid");
    return *uid && strcmp(uid, change->uid) != 0 ? uid : NULL;
}

static const cJSON *state_of(const struct change *change, const char *uid)
{
    char pk[DYNAMO_KEY_SIZE];
    return cvm_dynamo_find(&change->job.look, OURS, cvm_dynamo_key(pk, "U#", uid), "S");
}

/* What the other one has that says whether the key is in use. */
static void look_at_other(struct change *change, const char *other)
{
    struct look *look = &change->job.look;
    char pk[DYNAMO_KEY_SIZE];
    (void)cvm_dynamo_look_add(look, MAKERS, other, NULL);
    (void)cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "U#", other), "S");
    const cJSON *state = state_of(change, other);
    const char *id;
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++)
        (void)cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "C#", id), "C");
}

int32_t cvm_dynamo_plan_looks(struct change *change)
{
    struct look *look = &change->job.look;
    uint32_t before = look->count;
    char pk[DYNAMO_KEY_SIZE];
    if (change->wanted->as_read || change->wanted->wanted)
        (void)cvm_dynamo_look_add(look, MAKERS, change->uid, NULL);
    (void)cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "U#", change->uid), "S");
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        (void)cvm_dynamo_look_add(look, OURS,
            cvm_dynamo_key(pk, "C#", certificate_text(change, i, CVM_C_CERTIFICATE_ID)), "C");
    if (*claimed_key(change))
        (void)cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "K#", claimed_key(change)), "K");
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const char *key = certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256);
        if (certificate_ends(change, i) && *key)
            (void)cvm_dynamo_look_add(look, OURS, cvm_dynamo_key(pk, "K#", key), "K");
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
    const cJSON *state = state_of(change, other);
    char pk[DYNAMO_KEY_SIZE];
    const char *id;
    if (!cvm_dynamo_find(look, MAKERS, other, NULL) && !cvm_dynamo_has(state, "revision"))
        return 0; /* it was removed; a row that a script took out may come again */
    if (cvm_dynamo_has(state, "revision") &&
        strcmp(cvm_dynamo_text(state, "public_key_sha256"), key) == 0)
        return 1;
    for (uint32_t i = 0; (id = cvm_dynamo_member(state, "certificates", i)); i++) {
        const cJSON *row = cvm_dynamo_find(look, OURS, cvm_dynamo_key(pk, "C#", id), "C");
        const char *is = cvm_dynamo_text(row, "state");
        if (strcmp(cvm_dynamo_text(row, "public_key_sha256"), key) == 0 &&
            (strcmp(is, "current") == 0 || strcmp(is, "retiring") == 0))
            return 1;
    }
    return 0;
}

static int32_t key_is_taken(const struct change *change)
{
    const cJSON *row = key_row(change);
    if (!*claimed_key(change) || !row)
        return 0;
    if (cvm_dynamo_number(row, "lost_until") >
        change->job.store->host->now_ms(change->job.store->context))
        return 1;
    const char *other = key_other(change);
    return other && is_in_use(change, other, claimed_key(change));
}

/* Does the same certificate come again in the change? What comes last counts. */
static int32_t comes_again(const struct change *change, uint32_t i)
{
    const char *id = certificate_text(change, i, CVM_C_CERTIFICATE_ID);
    for (uint32_t k = i + 1; k < change->wanted->certificate_count; k++)
        if (strcmp(certificate_text(change, k, CVM_C_CERTIFICATE_ID), id) == 0)
            return 1;
    return 0;
}

/* Which certificates are written: revoked ones stay as they are, others' too. */
static void choose_certificates(struct change *change)
{
    change->written = 0;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const cJSON *row = row_of(change, i);
        int32_t is_open = cvm_dynamo_certificate_is_open(row, change->uid) &&
                          strcmp(certificate_text(change, i, CVM_C_DEVICE_UID), change->uid) == 0;
        change->is_written[i] =
            is_open && !(change->mode != CHANGE_SWAP && row) && !comes_again(change, i);
        change->written += change->is_written[i];
    }
}

/* The device's current certificate, while the change is gone through in its order. */
struct currency {
    const char *id;     /* "" for none */
    int32_t is_unknown; /* nobody has looked: it may be any of those that have left */
    const char *taken;  /* by the first that took it while it was not known; NULL */
    int32_t is_second;  /* there would be two */
};

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

static struct currency go_through(const struct change *change)
{
    struct currency current = {.id = cvm_dynamo_text(state_of(change, change->uid), "current"),
        .is_unknown = !change->has_looked};
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const char *id = certificate_text(change, i, CVM_C_CERTIFICATE_ID);
        if (!change->is_written[i])
            continue;
        if (certificate_is(change, i, "current"))
            become_current(&current, id);
        else if (!current.is_unknown && strcmp(current.id, id) == 0)
            current.id = "";
    }
    return current;
}

/* --- Actions ---------------------------------------------------------------------------------- */

static struct cvm_buffer *begin_action(
    struct change *change, const char *verb, enum subject subject)
{
    struct cvm_buffer *body = &change->job.call.body;
    cvm_buffer_format(body, "%s{\"%s\":", change->action_count ? "," : "", verb);
    if (change->action_count < MOST_ACTIONS)
        change->subjects[change->action_count] = subject;
    change->action_count++;
    cvm_dynamo_expression_clear(&change->expression);
    return body;
}

static void end_action(struct change *change)
{
    struct cvm_buffer *body = &change->job.call.body;
    cvm_dynamo_print_expression(body, &change->expression, 0);
    cvm_buffer_text(body, "}");
}

static void print_target(
    struct change *change, struct cvm_buffer *body, const char *pk, const char *sk)
{
    cvm_dynamo_print_target(body, change->job.store->tables[sk ? OURS : MAKERS], pk, sk);
}

static void print_new_row(struct change *change, struct cvm_buffer *body)
{
    cvm_buffer_text(body, "{\"TableName\":");
    cvm_buffer_json(body, change->job.store->tables[MAKERS]);
    cvm_buffer_text(body, ",\"Item\":");
    cvm_dynamo_print_row(body, host_of(change), change->wanted->wanted, change->revision);
    cvm_dynamo_and_missing(&change->expression, "device_uid");
}

/* The maker's row, whatever is done with it. */
static void fill_row(struct change *change, struct cvm_buffer *body)
{
    const cvm_change_t *wanted = change->wanted;
    if (!wanted->as_read) {
        print_new_row(change, body);
        return;
    }
    print_target(change, body, change->uid, NULL);
    cvm_dynamo_row_is(&change->expression, host_of(change), wanted->as_read);
    if (wanted->wanted)
        cvm_dynamo_row_becomes(&change->expression, host_of(change), wanted->as_read,
            wanted->wanted, change->revision,
            cvm_dynamo_flag_type(cvm_dynamo_find(&change->job.look, MAKERS, change->uid, NULL)));
}

static void write_row(struct change *change)
{
    struct cvm_buffer *body = begin_action(change,
        !change->wanted->as_read ? "Put"
        : change->wanted->wanted ? "Update"
                                 : "Delete",
        OF_ROW);
    fill_row(change, body);
    end_action(change);
}

/* Does the change touch `current`? */
static int32_t current_changes(const struct change *change, const struct currency *current)
{
    const char *was = cvm_dynamo_text(state_of(change, change->uid), "current");
    return !current->is_unknown && (!change->has_looked || strcmp(was, current->id) != 0);
}

/* The state's `current`, on the condition that it is as it was; or, where nobody has looked, that
 * no other one is. */
static void write_current(struct change *change, const struct currency *current)
{
    struct expression *expression = &change->expression;
    cvm_dynamo_set_text(expression, "current", current->id);
    if (change->has_looked) {
        cvm_dynamo_and_text(
            expression, "current", cvm_dynamo_text(state_of(change, change->uid), "current"));
        return;
    }
    uint32_t at = cvm_dynamo_name(expression, "current");
    cvm_dynamo_and(expression, "(attribute_not_exists(#%" PRIu32 ") OR #%" PRIu32 "=:%" PRIu32 ")",
        at, at, cvm_dynamo_value_text(expression, current->taken));
}

/* The certificates that are new, as far as anybody knows. */
static uint32_t new_members(const struct change *change, const char *ids[DYNAMO_MOST_CHANGED])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        if (change->is_written[i] && !row_of(change, i))
            ids[count++] = certificate_text(change, i, CVM_C_CERTIFICATE_ID);
    return count;
}

/* An update of nothing would be refused. */
static void write_state(struct change *change, const struct currency *current)
{
    const cvm_change_t *wanted = change->wanted;
    int32_t is_device = wanted->as_read || wanted->wanted;
    char pk[DYNAMO_KEY_SIZE];
    const char *ids[DYNAMO_MOST_CHANGED];
    uint32_t count = new_members(change, ids);
    int32_t is_nothing = !count && !current_changes(change, current);
    int32_t is_none = !has_state(change, wanted->as_read) && !has_state(change, wanted->wanted);
    /* The maker's row says by its revision that nobody of ours has written since; one without says
     * nothing, and of one that is new the state may be there still. */
    int32_t is_told = is_none && device_number(change, wanted->as_read, CVM_D_REVISION);
    if (is_nothing && (!is_device || is_told))
        return;
    struct cvm_buffer *body =
        begin_action(change, is_none && is_nothing ? "ConditionCheck" : "Update", OF_STATE);
    print_target(change, body, cvm_dynamo_key(pk, "U#", change->uid), "S");
    if (is_device)
        cvm_dynamo_state_is(&change->expression, host_of(change), wanted->as_read);
    if (is_device && !is_none)
        cvm_dynamo_state_becomes(
            &change->expression, host_of(change), wanted->wanted, change->revision);
    if (current_changes(change, current))
        write_current(change, current);
    cvm_dynamo_add_members(&change->expression, "certificates", ids, count);
    end_action(change);
}

/* The row is as it was when it was looked at; or, where nobody has looked, as the change takes for
 * granted. */
static void certificate_is_as_known(struct change *change, uint32_t i)
{
    struct expression *expression = &change->expression;
    const cJSON *row = row_of(change, i);
    if (row) {
        cvm_dynamo_and_text(expression, "device_uid", change->uid);
        cvm_dynamo_and_text(expression, "state", cvm_dynamo_text(row, "state"));
    } else if (change->has_looked || !certificate_is(change, i, "current")) {
        cvm_dynamo_and_missing(expression, "device_uid");
    } else {
        uint32_t uid = cvm_dynamo_name(expression, "device_uid");
        cvm_dynamo_and(expression,
            "(attribute_not_exists(#%" PRIu32 ") OR #%" PRIu32 "=:%" PRIu32 " AND #%" PRIu32
            "<>:%" PRIu32 ")",
            uid, uid, cvm_dynamo_value_text(expression, change->uid),
            cvm_dynamo_name(expression, "state"), cvm_dynamo_value_text(expression, "revoked"));
    }
}

static void write_certificate(struct change *change, uint32_t i)
{
    char pk[DYNAMO_KEY_SIZE];
    struct cvm_buffer *body = begin_action(change, "Update", OF_LOOKED);
    print_target(change, body,
        cvm_dynamo_key(pk, "C#", certificate_text(change, i, CVM_C_CERTIFICATE_ID)), "C");
    certificate_is_as_known(change, i);
    cvm_dynamo_certificate_becomes(&change->expression, host_of(change),
        change->wanted->certificates[i], keeps_reason(change, i));
    cvm_dynamo_set_number_once(
        &change->expression, "issued_at", cvm_dynamo_now_us(change->job.store));
    end_action(change);
}

/* --- Keys ------------------------------------------------------------------------------------- */

/* The key is this device's from now on, if it is as it was looked at; or nobody's, or its own. */
static void write_claim(struct change *change, const char *key)
{
    struct expression *expression = &change->expression;
    const cJSON *row = key_row(change);
    char pk[DYNAMO_KEY_SIZE], stamp[33] = "";
    struct cvm_buffer *body = begin_action(change, "Update", OF_LOOKED);
    print_target(change, body, cvm_dynamo_key(pk, "K#", key), "K");
    if (row) {
        cvm_dynamo_and_text(expression, "device_uid", cvm_dynamo_text(row, "device_uid"));
        cvm_dynamo_and_text(expression, "stamp", cvm_dynamo_text(row, "stamp"));
        cvm_dynamo_and_number(expression, "lost_until", cvm_dynamo_number(row, "lost_until"));
    } else {
        uint32_t uid = cvm_dynamo_name(expression, "device_uid");
        cvm_dynamo_and(expression,
            "(attribute_not_exists(#%" PRIu32 ") OR #%" PRIu32 "=:%" PRIu32 ")", uid, uid,
            cvm_dynamo_value_text(expression, change->uid));
        cvm_dynamo_and_missing(expression, "lost_until");
    }
    body->failed |= cvm_random_hex(16, stamp) != 0;
    cvm_dynamo_set_text(expression, "device_uid", change->uid);
    cvm_dynamo_set_text(expression, "stamp", stamp);
    end_action(change);
}

/* Until when nobody may have the certificate's key: it was taken for that reason, or is being. */
static int64_t lost_until(const struct change *change, uint32_t i)
{
    const cJSON *row = row_of(change, i);
    const char *reason = keeps_reason(change, i) ? cvm_dynamo_text(row, "reason")
                                                 : certificate_text(change, i, CVM_C_REASON);
    if (!certificate_ends(change, i) || strcmp(reason, COMPROMISED) != 0)
        return 0;
    return row ? cvm_dynamo_number(row, "not_after")
               : host_of(change)->number(change->wanted->certificates[i], CVM_C_NOT_AFTER);
}

/* Is the key that of an earlier certificate of the change? */
static int32_t key_is_noted(const struct change *change, uint32_t i, const char *key)
{
    while (i-- > 0)
        if (change->is_written[i] &&
            strcmp(certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256), key) == 0)
            return 1;
    return 0;
}

/* The latest of all that have the key. */
static int64_t key_lost_until(const struct change *change, const char *key)
{
    int64_t until_ms = 0;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        if (change->is_written[i] &&
            strcmp(certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256), key) == 0 &&
            lost_until(change, i) > until_ms)
            until_ms = lost_until(change, i);
    return until_ms;
}

/* Whose key it was, so that the device is found by it. */
static void write_note(struct change *change, const char *key, int64_t until_ms)
{
    char pk[DYNAMO_KEY_SIZE];
    struct cvm_buffer *body = begin_action(change, "Update", until_ms ? OF_LOOKED : OF_HINT);
    print_target(change, body, cvm_dynamo_key(pk, "K#", key), "K");
    cvm_dynamo_set_once(&change->expression, "device_uid", change->uid);
    if (until_ms) { /* another certificate of the key may have ended for the same reason */
        int64_t known_ms =
            cvm_dynamo_number(cvm_dynamo_find(&change->job.look, OURS, pk, "K"), "lost_until");
        cvm_dynamo_and_number(&change->expression, "lost_until", known_ms);
        cvm_dynamo_set_number(
            &change->expression, "lost_until", known_ms > until_ms ? known_ms : until_ms);
    }
    end_action(change);
}

static void write_keys(struct change *change)
{
    const char *claimed = claimed_key(change);
    if (*claimed)
        write_claim(change, claimed);
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const char *key = certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256);
        int64_t until_ms = key_lost_until(change, key);
        if (change->is_written[i] && *key && strcmp(key, claimed) != 0 &&
            (!row_of(change, i) || until_ms) && !key_is_noted(change, i, key))
            write_note(change, key, until_ms);
    }
}

/* --- Hints ------------------------------------------------------------------------------------ */

static void stamp_hint(struct change *change)
{
    char stamp[33] = "";
    change->job.call.body.failed |= cvm_random_hex(16, stamp) != 0;
    cvm_dynamo_set_text(&change->expression, "device_uid", change->uid);
    cvm_dynamo_set_text(&change->expression, "stamp", stamp);
    cvm_dynamo_set_number(
        &change->expression, "stamped_at", host_of(change)->now_ms(change->job.store->context));
}

static void write_hint(struct change *change, const char *pk, const char *sk)
{
    print_target(change, begin_action(change, "Update", OF_HINT), pk, sk);
    stamp_hint(change);
    end_action(change);
}

/* Something of the device is due then; -1: nothing (any more). A suspension that was due already
 * may be so by another's hand: then nobody has written a hint. */
static void write_due(struct change *change, const char *kind, int64_t was_ms, int64_t is_ms)
{
    char pk[DYNAMO_KEY_SIZE];
    if (was_ms == is_ms && is_ms)
        return;
    struct cvm_buffer *body = begin_action(change, is_ms < 0 ? "Delete" : "Update", OF_HINT);
    print_target(change, body, cvm_dynamo_due_key(pk, kind, change->uid), change->uid);
    if (is_ms >= 0) {
        stamp_hint(change);
        cvm_dynamo_set_number(&change->expression, "due", is_ms);
    }
    end_action(change);
}

/* When a device's lease is to be looked at; -1: it has none. */
static int64_t lease_ms(const struct change *change, const cvm_record_t *device)
{
    int64_t until_ms = device_number(change, device, CVM_D_LEASE_UNTIL);
    if (!*device_text(change, device, CVM_D_LEASE_OWNER) &&
        !*device_text(change, device, CVM_D_LEASE_CERTIFICATE_ID))
        return -1;
    return until_ms > 0 ? until_ms : 0;
}

static int64_t suspension_ms(const struct change *change, const cvm_record_t *device)
{
    return device && *device_text(change, device, CVM_D_CERTIFICATE_ID) &&
                   device_number(change, device, CVM_D_IS_SUSPENDED) ==
                       device_number(change, device, CVM_D_IS_ENABLED)
               ? 0
               : -1;
}

/* The earliest of what the change lets retire: whoever looks then finds the others. */
static int64_t retirement_ms(const struct change *change)
{
    int64_t first_ms = -1;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        int64_t at_ms =
            host_of(change)->number(change->wanted->certificates[i], CVM_C_REVOKE_AFTER);
        at_ms = at_ms > 0 ? at_ms : 0;
        if (change->is_written[i] && certificate_is(change, i, "retiring") &&
            (first_ms < 0 || at_ms < first_ms))
            first_ms = at_ms;
    }
    return first_ms;
}

/* A certificate retires: the device is looked at at that time, or sooner if something else of it is
 * due by then. Whoever found nothing due of it a moment ago does not take that back. */
static void write_retirement(struct change *change)
{
    int64_t at_ms = retirement_ms(change);
    char pk[DYNAMO_KEY_SIZE];
    if (at_ms < 0)
        return;
    struct cvm_buffer *body = begin_action(change, "Update", OF_LOOKED);
    (void)cvm_dynamo_due_key(pk, DUE_RETIREMENTS, change->uid);
    const cJSON *hint = cvm_dynamo_find(&change->job.look, OURS, pk, change->uid);
    int64_t known_ms = cvm_dynamo_number(hint, "due");
    print_target(change, body, pk, change->uid);
    cvm_dynamo_and_text(&change->expression, "stamp", cvm_dynamo_text(hint, "stamp"));
    stamp_hint(change);
    cvm_dynamo_set_number(&change->expression, "due", hint && known_ms < at_ms ? known_ms : at_ms);
    end_action(change);
}

static void write_listed(struct change *change)
{
    int32_t is_listed =
        change->wanted->wanted && !device_number(change, change->wanted->wanted, CVM_D_IS_ENABLED);
    char pk[DYNAMO_KEY_SIZE];
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        is_listed |= change->is_written[i] && certificate_ends(change, i);
    if (is_listed && change->job.store->lists_revoked)
        write_hint(change, cvm_dynamo_listed_key(pk, change->uid), change->uid);
}

static int32_t thing_changes(const struct change *change)
{
    const char *thing = device_text(change, change->wanted->wanted, CVM_D_THING_NAME);
    return *thing &&
           strcmp(thing, device_text(change, change->wanted->as_read, CVM_D_THING_NAME)) != 0;
}

static void write_hints(struct change *change)
{
    const cvm_change_t *wanted = change->wanted;
    char pk[DYNAMO_KEY_SIZE];
    write_due(
        change, DUE_LEASES, lease_ms(change, wanted->as_read), lease_ms(change, wanted->wanted));
    write_due(change, DUE_SUSPENSIONS, suspension_ms(change, wanted->as_read),
        suspension_ms(change, wanted->wanted));
    write_retirement(change);
    write_listed(change);
    if (thing_changes(change))
        write_hint(change,
            cvm_dynamo_key(pk, "T#", device_text(change, wanted->wanted, CVM_D_THING_NAME)), "T");
}

/* --- The plan --------------------------------------------------------------------------------- */

static void print_transaction(struct change *change, const struct currency *current)
{
    const cvm_change_t *wanted = change->wanted;
    struct cvm_buffer *body = cvm_dynamo_body(&change->job);
    cvm_buffer_format(body, "{\"ClientRequestToken\":\"%s\",\"TransactItems\":[", change->token);
    change->action_count = 0;
    if (wanted->as_read || wanted->wanted)
        write_row(change);
    write_state(change, current);
    for (uint32_t i = 0; i < wanted->certificate_count; i++)
        if (change->is_written[i])
            write_certificate(change, i);
    write_keys(change);
    write_hints(change);
    cvm_buffer_text(body, "]}");
}

cvm_answer_t cvm_dynamo_plan(struct change *change)
{
    int32_t is_device = change->wanted->as_read || change->wanted->wanted;
    choose_certificates(change);
    struct currency current = go_through(change);
    if (!is_device && !change->written)
        return CVM_ANSWER_NOT_FOUND;
    if (current.is_second)
        return CVM_ANSWER_CONFLICT;
    if (key_is_taken(change))
        return CVM_ANSWER_KEY_IN_USE;
    print_transaction(change, &current);
    return change->action_count <= MOST_ACTIONS ? CVM_ANSWER_OK : CVM_ANSWER_INVALID;
}
