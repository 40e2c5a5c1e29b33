/*
 * The flow: one table of steps, each with its run and its undo. Read STEPS first.
 *
 * A step runs, is done (its operation completed), and the next one follows. A step that fails ends
 * the flow: what was done is undone backwards, and the caller is answered. A platform without
 * outside effects has nothing to undo: its certificate exists only once `update` is durable.
 */
#include "flow.h"

#include <stdio.h>
#include <string.h>

#include "record.h"

#define MOST_ATTEMPTS 4 /* when others change the record at the same time */

enum flag {
    ALWAYS = 0,
    ISSUE = 1,       /* only where a certificate is to be made */
    OUTSIDE = 2,     /* only where the platform has effects outside the store */
    HAS_EFFECT = 4,  /* from here on it must end in the record, or be undone */
    TAKES_LEASE = 8, /* whoever fails here has none yet */
    CREATES = 16     /* makes the certificate: not where one was adopted */
};

struct step {
    const char *name;
    uint32_t flags;
    void (*run)(struct registration *registration);
    void (*done)(struct registration *registration);
    void (*undo)(struct registration *registration);
    size_t call; /* which member of the platform's table, for cvm_flow_call_platform */
    const char *call_name;
    size_t undo_call; /* likewise, for undo_platform */
    const char *undo_name;
};

static void called(struct registration *r);
static void undo_platform(struct registration *r);

#define CALL(member) offsetof(cvm_platform_ops_t, member), #member
#define NO_CALL      0, NULL

/*
 * Each row names its exits, by their reasons. Any step also fails with what the store or the
 * platform answered (store_unavailable, platform_unavailable, platform_error) and, without memory,
 * with internal. "Over": goes on at the first step; in_progress after MOST_ATTEMPTS.
 */
/* clang-format off */
static const struct step STEPS[] = {
    /* reads the device, checks its proof and its CSR. Exits: invalid_csr, not_authorized, too_many_requests */
    {"verify",             ALWAYS, cvm_verify, cvm_verify_proof, NULL, NO_CALL, NO_CALL},
    /* reads its certificate, decides what becomes of who has one. Exits: already_registered, in_progress */
    {"asked again",        ALWAYS, cvm_asked_again, cvm_asked_again_decide, NULL, NO_CALL, NO_CALL},
    /* where it connects to, the trusted roots. Exits: platform_unavailable while the clock is in doubt */
    {"prepare",            ALWAYS, cvm_issue_prepare, cvm_issue_prepared, NULL, CALL(prepare), NO_CALL},
    /* what another system made for it. Exits: platform_error for what can't be read, or is too much */
    {"inherit",            ISSUE | OUTSIDE, cvm_issue_inherit, NULL, NULL, NO_CALL, NO_CALL},
    /* a key for who sent no CSR. Exits: overloaded */
    {"make key",           ISSUE, cvm_issue_make_key, NULL, NULL, NO_CALL, NO_CALL},
    /* takes the lease: of two that ask, one goes on. Exits: over */
    {"claim",              ISSUE | OUTSIDE | HAS_EFFECT | TAKES_LEASE, cvm_lease_claim, cvm_lease_claimed, cvm_lease_release, NO_CALL, NO_CALL},
    /* adopts or deletes what the lease's last owner left. Exits: in_progress, if the lease is lost */
    {"take over",          ISSUE | OUTSIDE, cvm_lease_take_over, cvm_lease_taken_over, NULL, NO_CALL, NO_CALL},
    /* Exits: platform_error for a certificate that is none, or is for another key */
    {"create certificate", ISSUE | CREATES, cvm_flow_call_platform, cvm_issue_take_certificate, undo_platform, CALL(create_certificate), CALL(delete_certificate)},
    /* writes it into the lease, so that who takes over finds it. Exits: in_progress, if the lease is lost */
    {"record",             ISSUE | OUTSIDE, cvm_lease_record, cvm_lease_recorded, NULL, NO_CALL, NO_CALL},
    /* these four: platform_error for what the platform does not know, in_progress if the lease is lost */
    {"attach policy",      ISSUE, cvm_flow_call_platform, called, undo_platform, CALL(attach_policy), CALL(detach_policy)},
    {"create thing",       ISSUE, cvm_flow_call_platform, cvm_issue_thing_created, NULL, CALL(create_thing), NO_CALL},
    {"attach certificate", ISSUE, cvm_flow_call_platform, called, undo_platform, CALL(attach_certificate), CALL(detach_certificate)},
    {"activate",           ISSUE | OUTSIDE, cvm_flow_call_platform, called, undo_platform, CALL(activate), CALL(deactivate)},
    /* device and certificates in one swap. Exits: over; invalid_csr for another's key; unknown, and nothing is undone */
    {"update",             ISSUE | HAS_EFFECT, cvm_issue_update, cvm_swap_done, NULL, NO_CALL, NO_CALL},
    /* calls the caller back. Never fails */
    {"answer",             ALWAYS, cvm_answer_success, NULL, NULL, NO_CALL, NO_CALL},
    /* revokes the certificate that was current, when it is due. Nobody waits any more */
    {"retire previous",    ISSUE, cvm_issue_retire_previous, NULL, NULL, NO_CALL, NO_CALL},
};
/* clang-format on */
#define STEP_COUNT (sizeof STEPS / sizeof STEPS[0])

/* --- From step to step ------------------------------------------------------------------------ */

struct registration *cvm_flow_of(cvm_op_t *op)
{
    return CVM_CONTAINER(op, struct registration, op);
}

const char *cvm_flow_step_name(const struct registration *r)
{
    return r->step && r->step < STEPS + STEP_COUNT ? r->step->name : "";
}

static int32_t applies(const struct registration *r, const struct step *step)
{
    return (!(step->flags & ISSUE) || r->must_issue) &&
           (!(step->flags & OUTSIDE) || cvm_is_outside(r->cvm));
}

static void end(struct registration *r)
{
    cvm_t *cvm = r->cvm;
    cvm_registration_free(r);
    cvm_release(cvm);
}

static void run_step(struct registration *r)
{
    while (r->step < STEPS + STEP_COUNT && !applies(r, r->step))
        r->step++;
    if (r->step == STEPS + STEP_COUNT || (r->is_answered && !r->has_effects)) {
        end(r);
        return;
    }
    /* A platform without outside effects is changed by `update` alone. */
    if (r->step->flags & HAS_EFFECT)
        r->has_effects = 1;
    r->step->run(r);
}

void cvm_flow_begin(struct registration *r)
{
    r->step = STEPS;
    if (r->result.error.reason == REASON_ok)
        run_step(r);
    else /* the payload was refused */
        cvm_flow_undo(r, -1);
}

void cvm_flow_next(struct registration *r)
{
    r->step++;
    run_step(r);
}

void cvm_flow_op_done(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    r->step->done(r);
}

/* --- Failing and undoing ---------------------------------------------------------------------- */

void cvm_flow_undo(struct registration *r, ptrdiff_t from)
{
    for (; r->has_effects && from >= 0; from--) {
        if (STEPS[from].undo && applies(r, &STEPS[from])) {
            r->undoing = from;
            STEPS[from].undo(r);
            return;
        }
    }
    cvm_answer(r);
    end(r);
}

void cvm_flow_fail(struct registration *r, enum cvm_reason reason, const char *text)
{
    uint32_t retry_after_s = r->result.error.retry_after_s;
    r->op.until_ms = 0; /* whoever is told now waits for no other operation */
    cvm_error_set(&r->result.error, reason, text);
    r->result.error.retry_after_s = retry_after_s;
    int32_t is_platforms = r->op.side == SIDE_PLATFORM && r->step->call;
    r->may_be_overtaken = is_platforms && r->op.answer == CVM_ANSWER_NOT_FOUND;
    r->is_creation_unknown = (r->step->flags & CREATES) != 0 && r->op.side == SIDE_PLATFORM &&
                             !*cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID);
    /* So it is undone as well: an undo is idempotent. */
    int32_t may_have_happened =
        r->step->undo && r->op.side == SIDE_PLATFORM &&
        (r->op.answer == CVM_ANSWER_UNKNOWN || r->op.answer == CVM_ANSWER_BROKEN ||
            r->op.answer == CVM_ANSWER_OK);
    r->undoing = r->step - STEPS - !may_have_happened;
    if (cvm_is_outside(r->cvm) && r->has_effects)
        cvm_lease_keep(r);
    else
        cvm_flow_undo(r, r->undoing);
}

void cvm_flow_out_of_memory(struct registration *r)
{
    cvm_flow_fail(r, REASON_internal, "out of memory");
}

int32_t cvm_flow_failed(struct registration *r)
{
    enum cvm_reason reason = cvm_op_reason(&r->op);
    if (reason == REASON_ok)
        return 0;
    (void)snprintf(r->detail, sizeof r->detail, "%s", r->op.text);
    r->result.error.retry_after_s = cvm_op_retry_after_s(&r->op);
    /* Told to who proved the token: a missing policy, somebody else's thing of that name are the
     * operator's to mend. */
    int32_t is_told = r->op.side == SIDE_PLATFORM && *r->op.text &&
                      (r->op.answer == CVM_ANSWER_NOT_FOUND || r->op.answer == CVM_ANSWER_INVALID);
    cvm_flow_fail(r, reason, is_told ? r->detail : NULL);
    return 1;
}

void cvm_flow_fail_unknown(struct registration *r)
{
    r->has_effects = 0;
    cvm_flow_fail(r, REASON_unknown, NULL);
}

void cvm_flow_give_way(struct registration *r)
{
    r->result.error.retry_after_s = CVM_RACE_RETRY_AFTER_S;
    cvm_flow_fail(r, REASON_in_progress, NULL);
}

void cvm_flow_start_over(struct registration *r)
{
    int32_t holds_lease =
        cvm_is_outside(r->cvm) && r->has_effects && !(r->step->flags & TAKES_LEASE);
    if (!holds_lease)
        r->has_effects = 0;
    if (holds_lease || ++r->attempts == MOST_ATTEMPTS) {
        cvm_flow_give_way(r);
        return;
    }
    cvm_registration_forget(r);
    r->must_issue = r->is_reissue = 0;
    cvm_flow_begin(r);
}

/* --- Steps that are a call of the platform ---------------------------------------------------- */

static cvm_step_fn member(const struct registration *r, size_t offset)
{
    cvm_step_fn function;
    memcpy(&function, (const char *)&r->cvm->platform + offset, sizeof function);
    return function;
}

void cvm_flow_call_platform(struct registration *r)
{
    cvm_step_fn function = member(r, r->step->call);
    /* A certificate that was adopted exists and is recorded. */
    int32_t is_made = (r->step->flags & CREATES) != 0 && r->certificate;
    if (!function || is_made)
        cvm_flow_next(r);
    else
        cvm_platform_step(r->cvm, &r->op, function, r->step->call_name,
            r->wanted ? r->wanted : r->device, r->certificate, &r->key, cvm_flow_op_done);
}

static void called(struct registration *r)
{
    if (!cvm_flow_failed(r))
        cvm_flow_next(r);
}

void cvm_flow_undone(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    if (op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_NOT_FOUND) {
        cvm_flow_undo(r, r->undoing - 1);
        return;
    }
    /* The lease ends by itself; what is recorded in it is then revoked or deleted. */
    cvm_log_message(
        r->cvm->log, LOG_WARNING, "undo of %s failed: %s", STEPS[r->undoing].name, op->text);
    cvm_flow_undo(r, -1);
}

/* Whether it was made is known now, or it stays to be settled. */
static void found_unknown(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    cvm_record_free(r->certificate);
    r->certificate = cvm_lease_take_found(r, r->key.sha256);
    if (!r->certificate && op->answer != CVM_ANSWER_NOT_FOUND)
        memcpy(r->unsettled_key, r->key.sha256, sizeof r->unsettled_key);
    undo_platform(r);
}

static void undo_platform(struct registration *r)
{
    if (r->is_creation_unknown && STEPS[r->undoing].flags & CREATES) {
        r->is_creation_unknown = 0;
        cvm_lease_find_by_key(r, r->key.sha256, found_unknown);
        return;
    }
    const struct step *step = &STEPS[r->undoing];
    cvm_step_fn function = member(r, step->undo_call);
    if (!function || !r->certificate)
        cvm_flow_undo(r, r->undoing - 1);
    else
        cvm_platform_step(r->cvm, &r->op, function, step->undo_name,
            r->wanted ? r->wanted : r->device, r->certificate, &r->key, cvm_flow_undone);
}
