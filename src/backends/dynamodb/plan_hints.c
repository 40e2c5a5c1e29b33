/* The hints that a change writes: whose its keys are, and what leads to the device. */
#include <inttypes.h>
#include <string.h>

#include "base/hex.h"
#include "device.h"
#include "key.h"
#include "plan.h"
#include "rows.h"

/* It is the device's, and written anew: whoever has looked at it before is told apart. */
static void stamp_row(struct change *change)
{
    char stamp[33] = "";
    change->job.aws.call.body.failed |= cvm_random_hex(16, stamp) != 0;
    cvm_dynamo_set_text(&change->expression, "device_uid", change->uid);
    cvm_dynamo_set_text(&change->expression, "stamp", stamp);
}

/* --- Keys ------------------------------------------------------------------------------------- */

/* The key is this device's from now on, if it is as it was looked at; or nobody's, or its own. */
static void write_claim(struct change *change, const char *key)
{
    struct expression *expression = &change->expression;
    const cJSON *row = cvm_plan_key_row(change);
    char pk[DYNAMO_KEY_SIZE];
    struct cvm_buffer *body = cvm_plan_begin_action(change, "Update", OF_LOOKED);
    cvm_plan_print_target(change, body, cvm_dynamo_key(pk, "K#", key), "K");
    if (row) {
        cvm_dynamo_and_text(expression, "device_uid", cvm_dynamo_text(row, "device_uid"));
        cvm_dynamo_and_text(expression, "stamp", cvm_dynamo_text(row, "stamp"));
        cvm_dynamo_and_number(expression, "lost_until", cvm_dynamo_number(row, "lost_until"));
    } else {
        uint32_t uid = cvm_dynamo_name(expression, "device_uid");
        cvm_dynamo_and(expression, "(attribute_not_exists(#) OR #=:)", uid, uid,
            cvm_dynamo_value_text(expression, change->uid));
        cvm_dynamo_and_missing(expression, "lost_until");
    }
    stamp_row(change);
    cvm_plan_end_action(change);
}

/* Until when nobody may have the certificate's key: it was taken for that reason, or is being. */
static int64_t lost_until(const struct change *change, uint32_t i)
{
    const cJSON *row = cvm_plan_certificate(change, i);
    const char *reason = cvm_plan_keeps_reason(change, i)
                             ? cvm_dynamo_text(row, "reason")
                             : cvm_plan_certificate_text(change, i, CVM_C_REASON);
    if (!cvm_plan_certificate_ends(change, i) || strcmp(reason, COMPROMISED) != 0)
        return 0;
    return row ? cvm_dynamo_number(row, "not_after")
               : cvm_plan_host(change)->number(change->wanted->certificates[i], CVM_C_NOT_AFTER);
}

/* Is the key that of an earlier certificate of the change? */
static int32_t key_is_noted(const struct change *change, uint32_t i, const char *key)
{
    while (i-- > 0)
        if (change->is_written[i] &&
            strcmp(cvm_plan_certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256), key) == 0)
            return 1;
    return 0;
}

/* The latest of all that have the key. */
static int64_t key_lost_until(const struct change *change, const char *key)
{
    int64_t until_ms = 0;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        if (change->is_written[i] &&
            strcmp(cvm_plan_certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256), key) == 0 &&
            lost_until(change, i) > until_ms)
            until_ms = lost_until(change, i);
    return until_ms;
}

/* Whose key it was, so that the device is found by it. */
static void write_note(struct change *change, const char *key, int64_t until_ms)
{
    char pk[DYNAMO_KEY_SIZE];
    struct cvm_buffer *body =
        cvm_plan_begin_action(change, "Update", until_ms ? OF_LOOKED : OF_HINT);
    cvm_plan_print_target(change, body, cvm_dynamo_key(pk, "K#", key), "K");
    cvm_dynamo_set_once(&change->expression, "device_uid", change->uid);
    if (until_ms) { /* another certificate of the key may have ended for the same reason */
        int64_t known_ms =
            cvm_dynamo_number(cvm_dynamo_key_row(&change->job.look, key), "lost_until");
        cvm_dynamo_and_number(&change->expression, "lost_until", known_ms);
        cvm_dynamo_set_number(
            &change->expression, "lost_until", known_ms > until_ms ? known_ms : until_ms);
    }
    cvm_plan_end_action(change);
}

void cvm_plan_write_keys(struct change *change)
{
    const char *claimed = cvm_plan_key(change);
    if (*claimed)
        write_claim(change, claimed);
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        const char *key = cvm_plan_certificate_text(change, i, CVM_C_PUBLIC_KEY_SHA256);
        int64_t until_ms = key_lost_until(change, key);
        if (change->is_written[i] && *key && strcmp(key, claimed) != 0 &&
            (cvm_plan_is_new(change, i) || until_ms) && !key_is_noted(change, i, key))
            write_note(change, key, until_ms);
    }
}

/* --- Hints ------------------------------------------------------------------------------------ */

static void stamp_hint(struct change *change)
{
    stamp_row(change);
    cvm_dynamo_set_number(&change->expression, "stamped_at",
        cvm_plan_host(change)->now_ms(change->job.store->aws.context));
}

static void write_hint(struct change *change, const char *pk, const char *sk)
{
    cvm_plan_print_target(change, cvm_plan_begin_action(change, "Update", OF_HINT), pk, sk);
    stamp_hint(change);
    cvm_plan_end_action(change);
}

/* Something of the device is due then; -1: nothing (any more). A suspension that was due already
 * may be so by another's hand: then nobody has written a hint. */
static void write_due(struct change *change, const char *kind, int64_t was_ms, int64_t is_ms)
{
    char pk[DYNAMO_KEY_SIZE];
    if (was_ms == is_ms && is_ms)
        return;
    struct cvm_buffer *body =
        cvm_plan_begin_action(change, is_ms < 0 ? "Delete" : "Update", OF_HINT);
    cvm_plan_print_target(change, body, cvm_dynamo_due_key(pk, kind, change->uid), change->uid);
    if (is_ms >= 0) {
        stamp_hint(change);
        cvm_dynamo_set_number(&change->expression, "due", is_ms);
    }
    cvm_plan_end_action(change);
}

/* The earliest of what the change lets retire: whoever looks then finds the others. */
static int64_t retirement_ms(const struct change *change)
{
    int64_t first_ms = -1;
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++) {
        int64_t at_ms =
            cvm_plan_host(change)->number(change->wanted->certificates[i], CVM_C_REVOKE_AFTER);
        at_ms = at_ms > 0 ? at_ms : 0;
        if (change->is_written[i] && cvm_plan_certificate_is(change, i, "retiring") &&
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
    struct cvm_buffer *body = cvm_plan_begin_action(change, "Update", OF_LOOKED);
    (void)cvm_dynamo_due_key(pk, DUE_RETIREMENTS, change->uid);
    const cJSON *hint = cvm_dynamo_find(&change->job.look, OURS, pk, change->uid);
    int64_t known_ms = cvm_dynamo_number(hint, "due");
    cvm_plan_print_target(change, body, pk, change->uid);
    cvm_dynamo_and_text(&change->expression, "stamp", cvm_dynamo_text(hint, "stamp"));
    stamp_hint(change);
    cvm_dynamo_set_number(&change->expression, "due", hint && known_ms < at_ms ? known_ms : at_ms);
    cvm_plan_end_action(change);
}

static void write_listed(struct change *change)
{
    int32_t is_listed = change->wanted->wanted &&
                        !cvm_plan_device_number(change, change->wanted->wanted, CVM_D_IS_ENABLED);
    char pk[DYNAMO_KEY_SIZE];
    for (uint32_t i = 0; i < change->wanted->certificate_count; i++)
        is_listed |= change->is_written[i] && cvm_plan_certificate_ends(change, i);
    if (is_listed && change->job.store->lists_revoked)
        write_hint(change, cvm_dynamo_listed_key(pk, change->uid), change->uid);
}

static int32_t thing_changes(const struct change *change)
{
    const char *thing = cvm_plan_device_text(change, change->wanted->wanted, CVM_D_THING_NAME);
    return *thing && strcmp(thing, cvm_plan_device_text(
                                       change, change->wanted->as_read, CVM_D_THING_NAME)) != 0;
}

void cvm_plan_write_hints(struct change *change)
{
    const cvm_change_t *wanted = change->wanted;
    char pk[DYNAMO_KEY_SIZE];
    const cvm_host_t *host = cvm_plan_host(change);
    write_due(change, DUE_LEASES, cvm_dynamo_lease_ms(host, wanted->as_read),
        cvm_dynamo_lease_ms(host, wanted->wanted));
    write_due(change, DUE_SUSPENSIONS, cvm_dynamo_suspension_ms(host, wanted->as_read),
        cvm_dynamo_suspension_ms(host, wanted->wanted));
    write_retirement(change);
    write_listed(change);
    if (thing_changes(change))
        write_hint(change,
            cvm_dynamo_key(
                pk, "T#", cvm_plan_device_text(change, wanted->wanted, CVM_D_THING_NAME)),
            "T");
}
