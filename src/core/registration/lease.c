/*
 * The lease: only who holds it may have effects outside the store on the device's behalf. It is
 * taken by a conditional write, holds the id of the certificate that is in the making, and ends by
 * itself; whoever takes it over deals with what its last owner left.
 */
#include "flow.h"

#include <stdio.h>
#include <string.h>

#include "again.h"
#include "base/clock.h"
#include "certificate.h"
#include "record.h"

#define MOST_UNDO_ATTEMPTS 4 /* when others change the record at the same time */

/* A certificate that nobody got. 0, or -1 without memory. */
static int32_t set_abandoned(cvm_record_t *certificate, const char *state, int64_t revoke_after_ms)
{
    return cvm_record_set_state(certificate, state, "cessationOfOperation", revoke_after_ms);
}

/* Our lease is in the record. */
static int32_t is_ours(const struct registration *r, const cvm_record_t *now)
{
    return now && cvm_record_says(now, CVM_D_LEASE_OWNER, r->owner);
}

/* The record as it is now, if our lease is in it; NULL otherwise. */
static cvm_record_t *take_if_ours(const struct registration *r, cvm_op_t *op)
{
    cvm_record_t *now = cvm_op_take(op, 0);
    if (is_ours(r, now))
        return now;
    cvm_record_free(now);
    return NULL;
}

/* --- Claim ------------------------------------------------------------------------------------ */

void cvm_lease_claim(struct registration *r)
{
    (void)snprintf(r->taken_over, sizeof r->taken_over, "%s",
        cvm_record_text(r->device, CVM_D_LEASE_CERTIFICATE_ID));
    /* Its last owner may have had one made, and not come to recording it. */
    const char *key = cvm_record_text(r->device, CVM_D_LEASE_PUBLIC_KEY_SHA256);
    int32_t is_unsettled = *key && !*r->taken_over && r->cvm->platform.find_by_key;
    (void)snprintf(r->unsettled_key, sizeof r->unsettled_key, "%s", is_unsettled ? key : "");
    r->unsettled_until_ms = is_unsettled ? cvm_record_number(r->device, CVM_D_LEASE_UNTIL) : 0;
    if (cvm_record_set_lease(r->wanted, r->owner, cvm_wall_ms(r->cvm) + CVM_LEASE_MS,
            is_unsettled ? key : r->key.sha256, r->taken_over)) {
        r->has_effects = 0;
        cvm_flow_out_of_memory(r);
        return;
    }
    cvm_swap_start(r, 0, cvm_flow_op_done);
}

void cvm_lease_claimed(struct registration *r)
{
    if (r->op.answer == CVM_ANSWER_OK || r->op.answer == CVM_ANSWER_UNKNOWN ||
        r->op.answer == CVM_ANSWER_CONFLICT) {
        cvm_swap_done(r);
        return;
    }
    r->has_effects = 0; /* it was not taken */
    (void)cvm_flow_failed(r);
}

/* --- By its key ------------------------------------------------------------------------------- */

void cvm_lease_find_by_key(struct registration *r, const char *key_sha256, cvm_op_done found)
{
    int32_t has_it = r->cvm->platform.find_by_key != NULL;
    const cvm_record_t *device = r->wanted ? r->wanted : r->device;
    int64_t until_ms =
        *r->unsettled_key ? r->unsettled_until_ms : cvm_record_number(device, CVM_D_LEASE_UNTIL);
    cvm_record_free(r->probe);
    r->probe = has_it
                   ? cvm_platform_find_by_key(r->cvm, &r->op, device, key_sha256, until_ms, found)
                   : NULL;
    if (r->probe)
        return;
    cvm_op_clear(&r->op);
    r->op.answer = has_it ? CVM_ANSWER_UNAVAILABLE : CVM_ANSWER_NOT_FOUND;
    found(&r->op);
}

cvm_record_t *cvm_lease_take_found(struct registration *r, const char *key_sha256)
{
    return cvm_take_found(&r->op, r->device, r->request->uid, key_sha256);
}

/* --- Take over -------------------------------------------------------------------------------- */

static void intended(cvm_op_t *op)
{
    cvm_swap_done(cvm_flow_of(op));
}

/* What the last owner may have left is settled: from here on the lease says whose key it is for,
 * and nothing else, so that what is made for that key will be found by it. */
static void settled(struct registration *r)
{
    *r->unsettled_key = 0;
    int32_t says_so = cvm_record_says(r->wanted, CVM_D_LEASE_PUBLIC_KEY_SHA256, r->key.sha256) &&
                      cvm_record_says(r->wanted, CVM_D_LEASE_CERTIFICATE_ID, "");
    r->changed[0] = r->abandoned;
    if (says_so)
        cvm_flow_next(r);
    else if (cvm_record_set_text(r->wanted, CVM_D_LEASE_PUBLIC_KEY_SHA256, r->key.sha256) ||
             cvm_record_set_text(r->wanted, CVM_D_LEASE_CERTIFICATE_ID, NULL))
        cvm_flow_out_of_memory(r);
    else
        cvm_swap_start(r, r->abandoned != NULL, intended);
}

/* The fence: after this, an owner that wakes up can't activate its certificate. */
static void deleted(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    if (op->answer != CVM_ANSWER_NOT_FOUND && cvm_flow_failed(r))
        return;
    *r->taken_over = 0;
    if (set_abandoned(r->abandoned, "revoked", 0))
        cvm_flow_out_of_memory(r);
    else
        settled(r);
}

static void delete_abandoned(struct registration *r)
{
    cvm_platform_step(r->cvm, &r->op, r->cvm->platform.delete_certificate, "delete_certificate",
        r->wanted, r->abandoned, NULL, deleted);
}

/* Of the same key it is as good as a new one, and is recorded by the step that follows. */
static void found_unrecorded(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    cvm_record_t *found = cvm_lease_take_found(r, r->unsettled_key);
    if (found && strcmp(r->unsettled_key, r->key.sha256) == 0) {
        r->certificate = found;
        settled(r);
    } else if (found) {
        r->abandoned = found;
        delete_abandoned(r);
    } else if (op->answer == CVM_ANSWER_NOT_FOUND) {
        settled(r);
    } else {
        (void)cvm_flow_failed(r);
    }
}

/* The last owner of the lease recorded a certificate: it is looked up to be adopted or deleted. Or
 * it did not come to that: the platform knows whether there is one. */
void cvm_lease_take_over(struct registration *r)
{
    if (*r->taken_over)
        cvm_store_get_certificates(
            r->cvm, &r->op, r->request->uid, CVM_MOST_CERTIFICATES, cvm_flow_op_done);
    else if (*r->unsettled_key)
        cvm_lease_find_by_key(r, r->unsettled_key, found_unrecorded);
    else
        cvm_flow_next(r);
}

/* One that is being undone already is not adopted. */
static int32_t can_be_adopted(const struct registration *r, const cvm_record_t *certificate)
{
    return cvm_record_says(certificate, CVM_C_PUBLIC_KEY_SHA256, r->key.sha256) &&
           cvm_record_is_state(certificate, "pending");
}

void cvm_lease_taken_over(struct registration *r)
{
    if (cvm_flow_failed(r))
        return;
    cvm_record_t *found = cvm_take_leased(&r->op, r->taken_over, r->request->uid);
    if (!found) {
        cvm_flow_out_of_memory(r);
    } else if (can_be_adopted(r, found)) {
        r->certificate = found;
        r->is_recorded = 1;
        *r->taken_over = 0;
        cvm_flow_next(r);
    } else {
        r->abandoned = found;
        delete_abandoned(r);
    }
}

/* --- Record ----------------------------------------------------------------------------------- */

void cvm_lease_recorded(struct registration *r)
{
    r->is_recorded |= r->op.answer == CVM_ANSWER_OK || r->op.answer == CVM_ANSWER_UNKNOWN;
    cvm_swap_done(r);
}

void cvm_lease_record(struct registration *r)
{
    if (cvm_record_set_text(r->wanted, CVM_D_LEASE_CERTIFICATE_ID,
            cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID)) ||
        cvm_record_set_number(r->wanted, CVM_D_LEASE_UNTIL, cvm_wall_ms(r->cvm) + CVM_LEASE_MS)) {
        cvm_flow_out_of_memory(r);
        return;
    }
    r->changed[0] = r->certificate;
    r->changed[1] = r->abandoned;
    cvm_swap_start(r, r->abandoned ? 2 : 1, cvm_flow_op_done);
}

/* --- Keep, before undoing --------------------------------------------------------------------- */

/* Somebody else has it: that is why the platform did not know what we worked with. */
static void lease_overtaken(struct registration *r)
{
    if (!r->may_be_overtaken)
        return;
    cvm_error_set(&r->result.error, REASON_in_progress, NULL);
    r->result.error.retry_after_s = CVM_RACE_RETRY_AFTER_S;
}

/* Is our certificate, which no record of ours knows, ours to delete? Who has taken the lease over
 * for the same key may have found it by that, and be about to record it; and whoever takes it over
 * later will find it. now: the record; is_known: whether NULL means that there is none. */
static int32_t may_delete(const struct registration *r, const cvm_record_t *now, int32_t is_known)
{
    const char *id = cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID);
    if (r->is_recorded)
        return 0;
    if (!r->cvm->platform.find_by_key || (is_known && !now))
        return 1;
    if (!now || (*id && (cvm_record_says(now, CVM_D_CERTIFICATE_ID, id) ||
                            cvm_record_says(now, CVM_D_LEASE_CERTIFICATE_ID, id))))
        return 0;
    return !cvm_record_says(now, CVM_D_LEASE_PUBLIC_KEY_SHA256, r->key.sha256) ||
           *cvm_record_text(now, CVM_D_LEASE_CERTIFICATE_ID);
}

static void lease_lost(struct registration *r, const cvm_record_t *now, int32_t is_known)
{
    r->is_lease_lost = 1;
    cvm_flow_undo(r, may_delete(r, now, is_known) ? r->undoing : -1);
}

static void lease_read(cvm_op_t *op);

/*
 * Only who holds the lease may undo: another request may have taken it over, and with it the
 * certificate that is recorded in it. So the record is read again, and the lease prolonged, before
 * anything is undone. By the same write the certificate retires: from then on nobody adopts it, and
 * should the undo fail, the reconciler revokes it.
 */
void cvm_lease_keep(struct registration *r)
{
    cvm_store_get(r->cvm, &r->op, r->request->uid, lease_read);
}

static void lease_kept(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    int32_t must_look = op->answer == CVM_ANSWER_CONFLICT || op->answer == CVM_ANSWER_UNKNOWN;
    if (must_look && ++r->undo_attempts < MOST_UNDO_ATTEMPTS)
        cvm_lease_keep(r);
    else if (op->answer == CVM_ANSWER_OK && !cvm_swap_adopt(r))
        cvm_flow_undo(r, r->undoing);
    else
        lease_lost(r, NULL, 0);
}

/* now is taken. */
static void lease_go_on(struct registration *r, cvm_record_t *now)
{
    int64_t until_ms = cvm_wall_ms(r->cvm) + CVM_LEASE_MS;
    r->changed[0] = r->certificate;
    if (cvm_swap_take(r, now) || cvm_record_set_number(r->wanted, CVM_D_LEASE_UNTIL, until_ms) ||
        (r->is_recorded && set_abandoned(r->certificate, "retiring", until_ms)))
        lease_lost(r, NULL, 0);
    else
        cvm_swap_start(r, r->is_recorded != 0, lease_kept);
}

static void lease_read(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    int32_t is_known = op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_NOT_FOUND;
    cvm_record_t *now = cvm_op_take(op, 0);
    if (is_ours(r, now)) {
        lease_go_on(r, now);
        return;
    }
    if (is_known)
        lease_overtaken(r);
    lease_lost(r, now, is_known);
    cvm_record_free(now);
}

/* --- Release ---------------------------------------------------------------------------------- */

static void released(cvm_op_t *op);

/* By now its certificate is deleted; but what was to be taken over and isn't stays recorded. Where
 * one may be that nobody knows of, the lease stays, with its key, and ends by itself. */
void cvm_lease_release(struct registration *r)
{
    uint32_t count = 0;
    if (r->is_lease_lost || *r->unsettled_key ||
        cvm_record_set_lease(r->wanted, NULL, 0, NULL, r->taken_over)) {
        cvm_flow_undo(r, -1);
        return;
    }
    if (*cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID) &&
        !set_abandoned(r->certificate, "revoked", 0))
        r->changed[count++] = r->certificate;
    if (r->abandoned && !*r->taken_over)
        r->changed[count++] = r->abandoned;
    cvm_swap_start(r, count, released);
}

/* Others changed the record meanwhile, or it is unknown whether it was written. */
static void release_again(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    cvm_record_t *now = take_if_ours(r, op);
    if (!now || cvm_swap_take(r, now))
        cvm_flow_undo(r, -1);
    else
        cvm_lease_release(r);
}

static void released(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    int32_t must_look = op->answer == CVM_ANSWER_CONFLICT || op->answer == CVM_ANSWER_UNKNOWN;
    if (!must_look || ++r->undo_attempts >= MOST_UNDO_ATTEMPTS) {
        cvm_flow_undone(op);
        return;
    }
    cvm_store_get(r->cvm, op, r->request->uid, release_again);
}
