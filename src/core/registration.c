/*
 * The flow: one table of steps, each with its run and its undo. Read STEPS first.
 *
 * A step runs, is done (its operation completed), and the next one follows. A step that fails ends
 * the flow: what was done is undone backwards, and the caller is answered. A platform without
 * outside effects has nothing to undo: its certificate exists only once `update` is durable.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "again.h"
#include "audit.h"
#include "clock.h"
#include "instance.h"
#include "key.h"
#include "reconcile.h"
#include "record.h"
#include "request.h"
#include "result.h"
#include "thing.h"
#include "token.h"

#define MOST_ATTEMPTS      4 /* when others change the record at the same time */
#define RETRY_AFTER_S      5 /* for what is unavailable */
#define RACE_RETRY_AFTER_S 1 /* when another request won */
#define OWNER_BYTES        16
#define MOST_CERTIFICATES  64 /* of one device that are looked through */

struct registration {
    cvm_op_t op; /* the one that runs now */
    struct cvm_mail mail;
    cvm_t *cvm;
    struct registration *next, **link;
    uint64_t id, started_us;
    cvm_request_t *request;
    cvm_result_cb callback;
    void *user_data;
    struct cvm_timer *deadline;
    int32_t must_render, is_answered;
    char detail[CVM_OP_TEXT]; /* for the log alone: what a backend said, why a proof was refused */

    const struct step *step;
    ptrdiff_t undoing; /* the step that is being undone */
    uint32_t attempts; /* that others spoiled */
    uint32_t undo_attempts;
    int32_t has_effects; /* outside the store, or an update under way */
    int32_t is_recorded; /* our certificate, in the lease */
    int32_t is_lease_lost;
    int32_t must_issue, is_reissue;
    char owner[2 * OWNER_BYTES + 1]; /* of the lease */
    char taken_over[65];             /* what its last owner recorded, until that is dealt with */
    cvm_record_t *device;            /* as the store holds it; NULL: unknown */
    cvm_record_t *wanted;            /* as it is to be */
    cvm_record_t *current;           /* the device's current certificate */
    cvm_record_t *certificate;       /* the one that is answered */
    cvm_record_t *abandoned;         /* the lease's last owner's, deleted now */
    cvm_change_t change;
    const cvm_record_t *changed[2];
    struct cvm_key key;
    char *outs[CVM_OUT_COUNT];
    cvm_result_t result;
};

enum when {
    ALWAYS = 0,
    ISSUE = 1,     /* a certificate is to be made */
    OUTSIDE = 2,   /* the platform has effects outside the store */
    HAS_EFFECT = 4 /* from here on it must end in the record, or be undone */
};

struct step {
    const char *name;
    uint32_t when;
    void (*run)(struct registration *registration);
    void (*done)(struct registration *registration);
    void (*undo)(struct registration *registration);
    size_t call, undo_call; /* which member of the platform's table, for call_platform */
    const char *undo_name;
};

static void get_device(struct registration *r);
static void check_proof(struct registration *r);
static void get_certificates(struct registration *r);
static void decide(struct registration *r);
static void take_prepared(struct registration *r);
static void make_key(struct registration *r);
static void claim(struct registration *r);
static void claimed(struct registration *r);
static void release_lease(struct registration *r);
static void take_over(struct registration *r);
static void taken_over(struct registration *r);
static void take_certificate(struct registration *r);
static void record_certificate(struct registration *r);
static void recorded(struct registration *r);
static void swapped(struct registration *r);
static void update(struct registration *r);
static void answer_success(struct registration *r);
static void retire_previous(struct registration *r);
static void call_platform(struct registration *r);
static void called(struct registration *r);
static void undo_platform(struct registration *r);
static void fail(struct registration *r, enum cvm_reason reason, const char *text);
static void keep_lease(struct registration *r);
static void lease_read(cvm_op_t *op);
static void released(cvm_op_t *op);
static void release_again(cvm_op_t *op);
static void undone(cvm_op_t *op);
static void lease_kept(cvm_op_t *op);
static int32_t set_abandoned(cvm_record_t *certificate, const char *state, int64_t revoke_after_ms);
static int32_t adopt_wanted(struct registration *r);
static void start_swap(struct registration *r, uint32_t certificate_count, const char *call,
    void (*done)(cvm_op_t *op));

#define CALL(member) offsetof(cvm_platform_ops_t, member)
#define UNDO(member) CALL(member), #member

/* clang-format off */
static const struct step STEPS[] = {
    /* name                 when                          run                 done              undo */
    {"verify",              ALWAYS,                       get_device,         check_proof,      NULL,          0, 0, NULL},
    {"asked again",         ALWAYS,                       get_certificates,   decide,           NULL,          0, 0, NULL},
    {"prepare",             ALWAYS,                       call_platform,      take_prepared,    NULL,          CALL(prepare), 0, NULL},
    {"make key",            ISSUE,                        make_key,           NULL,             NULL,          0, 0, NULL},
    {"claim",               ISSUE | OUTSIDE | HAS_EFFECT, claim,              claimed,          release_lease, 0, 0, NULL},
    {"take over",           ISSUE | OUTSIDE,              take_over,          taken_over,       NULL,          0, 0, NULL},
    {"create certificate",  ISSUE,                        call_platform,      take_certificate, undo_platform, CALL(create_certificate), UNDO(delete_certificate)},
    {"record",              ISSUE | OUTSIDE,              record_certificate, recorded,         NULL,          0, 0, NULL},
    {"attach policy",       ISSUE,                        call_platform,      called,           undo_platform, CALL(attach_policy), UNDO(detach_policy)},
    {"create thing",        ISSUE,                        call_platform,      called,           NULL,          CALL(create_thing), 0, NULL},
    {"attach certificate",  ISSUE,                        call_platform,      called,           undo_platform, CALL(attach_certificate), UNDO(detach_certificate)},
    {"activate",            ISSUE | OUTSIDE,              call_platform,      called,           undo_platform, CALL(activate), UNDO(deactivate)},
    {"update",              ISSUE | HAS_EFFECT,           update,             swapped,          NULL,          0, 0, NULL},
    {"answer",              ALWAYS,                       answer_success,     NULL,             NULL,          0, 0, NULL},
    {"retire previous",     ISSUE,                        retire_previous,    NULL,             NULL,          0, 0, NULL},
};
/* clang-format on */
#define STEP_COUNT (sizeof STEPS / sizeof STEPS[0])

/* --- From step to step ------------------------------------------------------------------------ */

static struct registration *of(cvm_op_t *op)
{
    return CVM_CONTAINER(op, struct registration, op);
}

static int32_t is_outside(const struct registration *r)
{
    return (r->cvm->platform.flags & CVM_PLATFORM_OUTSIDE_EFFECTS) != 0;
}

static int32_t applies(const struct registration *r, const struct step *step)
{
    return (!(step->when & ISSUE) || r->must_issue) && (!(step->when & OUTSIDE) || is_outside(r));
}

static void registration_free(struct registration *r)
{
    cvm_t *cvm = r->cvm;
    if (r->link) {
        *r->link = r->next;
        if (r->next)
            r->next->link = r->link;
        cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, --cvm->registration_count);
    }
    cvm_timer_free(r->deadline);
    cvm_op_clear(&r->op);
    cvm_request_free(r->request);
    cvm_record_free(r->device);
    cvm_record_free(r->wanted);
    cvm_record_free(r->current);
    cvm_record_free(r->certificate);
    cvm_record_free(r->abandoned);
    cvm_key_clear(&r->key);
    for (uint32_t i = 0; i < CVM_OUT_COUNT; i++)
        free(r->outs[i]);
    cvm_result_clear(&r->result);
    free(r);
}

static void run_step(struct registration *r)
{
    while (r->step < STEPS + STEP_COUNT && !applies(r, r->step))
        r->step++;
    if (r->step == STEPS + STEP_COUNT || (r->is_answered && !r->has_effects)) {
        cvm_t *cvm = r->cvm;
        registration_free(r);
        cvm_release(cvm);
        return;
    }
    /* A platform without outside effects is changed by `update` alone. */
    if (r->step->when & HAS_EFFECT)
        r->has_effects = 1;
    r->step->run(r);
}

static void next(struct registration *r)
{
    r->step++;
    run_step(r);
}

static void op_done(cvm_op_t *op)
{
    struct registration *r = of(op);
    r->step->done(r);
}

/* Fails with what the operation answered, if it did. Returns 1 then. */
static int32_t failed(struct registration *r)
{
    enum cvm_reason reason = cvm_op_reason(&r->op);
    if (reason == REASON_ok)
        return 0;
    (void)snprintf(r->detail, sizeof r->detail, "%s", r->op.text);
    fail(r, reason, NULL);
    return 1;
}

/* --- Answering -------------------------------------------------------------------------------- */

static void log_attempt(const struct registration *r, const char *event)
{
    char duration[32];
    (void)snprintf(
        duration, sizeof duration, "%.1f", (double)(cvm_monotonic_us() - r->started_us) / 1000.0);
    const cvm_error_t *error = cvm_result_error(&r->result);
    const char *code = cvm_error_name(error);
    const struct cvm_log_field fields[] = {
        {"request_id", r->request->id},
        {"uid", r->request->uid},
        {"peer", r->request->peer},
        {"transport", r->request->transport},
        {"step", r->step < STEPS + STEP_COUNT ? r->step->name : ""},
        {"code", code},
        {"detail", r->detail},
        {"ms", duration},
    };
    enum cvm_log_level level = cvm_error_code(error) == CVM_INTERNAL ? LOG_ERROR : LOG_INFO;
    cvm_log_write(r->cvm->log, level, event, fields, sizeof fields / sizeof fields[0]);
}

static void count_attempt(const struct registration *r)
{
    const cvm_error_t *error = cvm_result_error(&r->result);
    const char *labels[] = {
        error ? "error" : "success", cvm_error_name(error), r->request->transport};
    cvm_metrics_add(r->cvm->metrics, METRIC_REGISTRATIONS, labels, 1);
    cvm_metrics_observe(r->cvm->metrics, METRIC_REGISTRATION_DURATION, NULL,
        (double)(cvm_monotonic_us() - r->started_us) / 1e6);
}

/* Calls the caller back, once, with the result as it is. */
static void answer(struct registration *r)
{
    if (r->is_answered) {
        log_attempt(r, "registration settled");
        return;
    }
    r->is_answered = 1;
    cvm_timer_stop(r->deadline);
    cvm_error_t *error = &r->result.error;
    if (cvm_reason_http_status(error->reason) == 503 && !error->retry_after_s)
        error->retry_after_s = RETRY_AFTER_S;
    error->step = error->reason == REASON_ok ? "" : r->step->name;
    r->result.request_id = r->request->id;
    if (r->must_render && cvm_result_render(&r->result,
                              (int32_t)cvm_conf_number(r->cvm->conf, "http.legacy_status"))) {
        cvm_result_clear(&r->result); /* it may be registered: who asks again is told */
        cvm_error_set(error, REASON_unknown, "out of memory; ask again");
        r->result.http_status = cvm_reason_http_status(REASON_unknown);
    }
    count_attempt(r);
    log_attempt(r, "registration");
    r->callback(r->user_data, &r->result);
}

/* The caller waits no longer. What has effects runs on. */
static void give_up_waiting(struct registration *r)
{
    if (r->is_answered)
        return;
    cvm_error_t before = r->result.error;
    cvm_error_set(&r->result.error, REASON_unknown, NULL);
    answer(r);
    r->result.error = before;
    cvm_result_clear(&r->result);
}

static void deadline_over(void *argument)
{
    give_up_waiting(argument);
}

/* --- Failing and undoing ---------------------------------------------------------------------- */

/* Goes back from that step on to one that has something to undo; answers when there is none. */
static void undo(struct registration *r, ptrdiff_t from)
{
    for (; r->has_effects && from >= 0; from--) {
        if (STEPS[from].undo && applies(r, &STEPS[from])) {
            r->undoing = from;
            STEPS[from].undo(r);
            return;
        }
    }
    answer(r);
    cvm_t *cvm = r->cvm;
    registration_free(r);
    cvm_release(cvm);
}

static void fail(struct registration *r, enum cvm_reason reason, const char *text)
{
    uint32_t retry_after_s = r->result.error.retry_after_s;
    cvm_error_set(&r->result.error, reason, text);
    r->result.error.retry_after_s = retry_after_s;
    /* A call with an unknown outcome may have happened: its undo is idempotent. */
    int32_t may_have_happened =
        r->op.side == SIDE_PLATFORM && r->op.answer == CVM_ANSWER_UNKNOWN && r->step->undo;
    r->undoing = r->step - STEPS - !may_have_happened;
    if (is_outside(r) && r->has_effects)
        keep_lease(r);
    else
        undo(r, r->undoing);
}

/*
 * Only who holds the lease may undo: another request may have taken it over, and with it the
 * certificate that is recorded in it. So the record is read again, and the lease prolonged, before
 * anything is undone. By the same write the certificate retires: from then on nobody adopts it, and
 * should the undo fail, the reconciler revokes it.
 */
static void keep_lease(struct registration *r)
{
    cvm_op_start(&r->op, r->cvm, SIDE_STORE, "get", lease_read);
    r->cvm->store.get(r->cvm->store_context.self, &r->op, r->request->uid);
}

/* Nothing may be touched but a certificate that no record knows. */
static void lease_lost(struct registration *r)
{
    r->is_lease_lost = 1;
    undo(r, r->is_recorded ? -1 : r->undoing);
}

static void lease_read(cvm_op_t *op)
{
    struct registration *r = of(op);
    cvm_record_t *now = cvm_op_take(op, 0);
    if (!now || strcmp(cvm_record_text(now, CVM_LEASE_OWNER), r->owner) != 0) {
        cvm_record_free(now);
        lease_lost(r);
        return;
    }
    cvm_record_free(r->device);
    cvm_record_free(r->wanted);
    r->device = now;
    r->wanted = cvm_record_copy(now);
    int64_t until_ms = cvm_now_ms() + CVM_LEASE_MS;
    r->changed[0] = r->certificate;
    if (!r->wanted || cvm_record_set_number(r->wanted, CVM_LEASE_UNTIL, until_ms) ||
        (r->is_recorded && set_abandoned(r->certificate, "retiring", until_ms)))
        lease_lost(r);
    else
        start_swap(r, r->is_recorded != 0, "swap", lease_kept);
}

static void lease_kept(cvm_op_t *op)
{
    struct registration *r = of(op);
    int32_t must_look = op->answer == CVM_ANSWER_CONFLICT || op->answer == CVM_ANSWER_UNKNOWN;
    if (must_look && ++r->undo_attempts < MOST_ATTEMPTS)
        keep_lease(r);
    else if (op->answer == CVM_ANSWER_OK && !adopt_wanted(r))
        undo(r, r->undoing);
    else
        lease_lost(r);
}

static void undone(cvm_op_t *op)
{
    struct registration *r = of(op);
    if (op->answer == CVM_ANSWER_OK || op->answer == CVM_ANSWER_NOT_FOUND) {
        undo(r, r->undoing - 1);
        return;
    }
    /* The lease ends by itself: whoever takes it over deletes what is recorded in it. */
    cvm_log_message(
        r->cvm->log, LOG_WARNING, "undo of %s failed: %s", STEPS[r->undoing].name, op->text);
    undo(r, -1);
}

/* The outcome can't be learnt: nothing may be undone. */
static void fail_unknown(struct registration *r)
{
    r->has_effects = 0;
    fail(r, REASON_unknown, NULL);
}

/* Others changed the record: look at it anew, or give way. */
static void start_over(struct registration *r)
{
    if (is_outside(r) && r->has_effects && r->step->run != claim) {
        r->result.error.retry_after_s = RACE_RETRY_AFTER_S;
        fail(r, REASON_in_progress, NULL);
        return;
    }
    r->has_effects = 0;
    if (++r->attempts == MOST_ATTEMPTS) {
        r->result.error.retry_after_s = RACE_RETRY_AFTER_S;
        fail(r, REASON_in_progress, NULL);
        return;
    }
    cvm_record_t **records[] = {
        &r->device, &r->wanted, &r->current, &r->certificate, &r->abandoned};
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        cvm_record_free(*records[i]);
        *records[i] = NULL;
    }
    r->must_issue = r->is_reissue = 0;
    r->step = STEPS;
    run_step(r);
}

/* --- Calling the platform --------------------------------------------------------------------- */

static cvm_step_fn member(const struct registration *r, size_t offset)
{
    cvm_step_fn function;
    memcpy(&function, (const char *)&r->cvm->platform + offset, sizeof function);
    return function;
}

static void start_call(struct registration *r, cvm_step_fn function, const char *call,
    const cvm_record_t *certificate, void (*done)(cvm_op_t *op))
{
    cvm_op_start(&r->op, r->cvm, SIDE_PLATFORM, call, done);
    r->op.key = &r->key;
    function(r->cvm->platform_context.self, &r->op, r->wanted ? r->wanted : r->device, certificate);
}

static void call_platform(struct registration *r)
{
    cvm_step_fn function = member(r, r->step->call);
    /* A certificate that was adopted exists and is recorded. */
    int32_t is_made = r->step->call == CALL(create_certificate) && r->certificate;
    if (!function || is_made)
        next(r);
    else
        start_call(r, function, r->step->name, r->certificate, op_done);
}

static void called(struct registration *r)
{
    if (!failed(r))
        next(r);
}

static void undo_platform(struct registration *r)
{
    const struct step *step = &STEPS[r->undoing];
    cvm_step_fn function = member(r, step->undo_call);
    if (!function || !r->certificate)
        undo(r, r->undoing - 1);
    else
        start_call(r, function, step->undo_name, r->certificate, undone);
}

/* --- Writing the record ----------------------------------------------------------------------- */

static void start_swap(struct registration *r, uint32_t certificate_count, const char *call,
    void (*done)(cvm_op_t *op))
{
    cvm_op_start(&r->op, r->cvm, SIDE_STORE, call, done);
    r->change = (cvm_change_t){r->device, r->wanted, r->changed, certificate_count};
    r->cvm->store.swap(r->cvm->store_context.self, &r->op, &r->change);
}

/* What is wanted is now what the store holds. */
static int32_t adopt_wanted(struct registration *r)
{
    cvm_record_t *copy = NULL;
    if (cvm_record_set_number(
            r->wanted, CVM_REVISION, cvm_record_number(r->device, CVM_REVISION) + 1) ||
        !(copy = cvm_record_copy(r->wanted)))
        return -1;
    cvm_record_free(r->device);
    r->device = copy;
    return 0;
}

static int32_t same_text(const cvm_record_t *a, const cvm_record_t *b, uint32_t field)
{
    return strcmp(cvm_record_text(a, field), cvm_record_text(b, field)) == 0;
}

/* The record was read again after a write with an unknown outcome. */
static void read_again(cvm_op_t *op)
{
    struct registration *r = of(op);
    cvm_record_t *now = op->answer == CVM_ANSWER_OK ? cvm_op_take(op, 0) : NULL;
    int32_t happened = now && same_text(now, r->wanted, CVM_CERTIFICATE_ID) &&
                       same_text(now, r->wanted, CVM_LEASE_OWNER) &&
                       same_text(now, r->wanted, CVM_LEASE_CERTIFICATE_ID);
    int64_t revision = cvm_record_number(now, CVM_REVISION);
    int32_t unchanged = now && revision == cvm_record_number(r->device, CVM_REVISION);
    cvm_record_free(now);
    if (happened && !adopt_wanted(r))
        next(r);
    else if (unchanged)
        fail(r, REASON_store_unavailable, NULL);
    else
        fail_unknown(r);
}

static void swapped(struct registration *r)
{
    if (r->op.answer == CVM_ANSWER_CONFLICT) {
        start_over(r);
    } else if (r->op.answer == CVM_ANSWER_UNKNOWN) {
        cvm_op_start(&r->op, r->cvm, SIDE_STORE, "get", read_again);
        r->cvm->store.get(r->cvm->store_context.self, &r->op, r->request->uid);
    } else if (r->op.answer == CVM_ANSWER_KEY_IN_USE) {
        fail(r, REASON_invalid_csr, "the CSR's key belongs to another device");
    } else if (!failed(r)) {
        if (adopt_wanted(r))
            fail_unknown(r);
        else
            next(r);
    }
}

/* --- verify ----------------------------------------------------------------------------------- */

static void get_device(struct registration *r)
{
    cvm_error_t *error = cvm_request_check(r->request);
    char name[CVM_THING_NAME_SIZE];
    if (!error)
        error = cvm_thing_name(r->cvm, r->request->uid, name);
    if (error) {
        fail(r, error->reason, cvm_error_text(error));
        cvm_error_free(error);
        return;
    }
    cvm_op_start(&r->op, r->cvm, SIDE_STORE, "get", op_done);
    r->cvm->store.get(r->cvm->store_context.self, &r->op, r->request->uid);
}

/* One and the same answer whatever was wrong; the log and the metrics know. */
static void refuse(struct registration *r, const char *why)
{
    cvm_t *cvm = r->cvm;
    cvm_metrics_add(cvm->metrics, METRIC_AUTH_FAILURES, &why, 1);
    (void)snprintf(r->detail, sizeof r->detail, "%s", why);
    uint32_t wait_s = cvm_limiter_fail(cvm->limiter, r->request->peer, cvm_loop_now_ms(cvm->loop));
    r->result.error.retry_after_s = wait_s;
    fail(r, wait_s ? REASON_too_many_requests : REASON_not_authorized, NULL);
}

static void check_csr(struct registration *r)
{
    const char *why = NULL;
    if (r->request->csr && !r->key.csr && cvm_key_from_csr(&r->key, r->request->csr, &why))
        fail(r, why ? REASON_invalid_csr : REASON_internal, why);
    else
        next(r);
}

static void check_proof(struct registration *r)
{
    if (r->op.answer != CVM_ANSWER_NOT_FOUND && failed(r))
        return;
    r->device = cvm_op_take(&r->op, 0);
    int32_t plain = (int32_t)cvm_conf_number(r->cvm->conf, "store.plain_tokens");
    int32_t proved =
        cvm_token_proves(r->request->token, cvm_record_text(r->device, CVM_DEVICE_TOKEN), plain);
    if (!proved)
        refuse(r, r->device ? "wrong_token" : "unknown_device");
    else if (cvm_record_number(r->device, CVM_IS_REVOKED))
        refuse(r, "revoked");
    else if (!cvm_record_number(r->device, CVM_IS_ENABLED))
        refuse(r, "disabled");
    else
        check_csr(r);
}

/* --- asked again ------------------------------------------------------------------------------ */

static void get_certificates(struct registration *r)
{
    if (!*cvm_record_text(r->device, CVM_CERTIFICATE_ID)) {
        decide(r);
        return;
    }
    cvm_op_start(&r->op, r->cvm, SIDE_STORE, "scan", op_done);
    r->cvm->store.scan(r->cvm->store_context.self, &r->op, CVM_SCAN_CERTIFICATES, r->request->uid,
        0, MOST_CERTIFICATES);
}

/* Takes the current certificate out of what was scanned. */
static void take_current(struct registration *r)
{
    const char *id = cvm_record_text(r->device, CVM_CERTIFICATE_ID);
    for (uint32_t i = 0; i < r->op.record_count && !r->current; i++)
        if (strcmp(cvm_record_text(r->op.records[i], CVM_C_CERTIFICATE_ID), id) == 0 &&
            strcmp(cvm_record_text(r->op.records[i], CVM_C_STATE), "current") == 0)
            r->current = cvm_op_take(&r->op, i);
}

/* Makes the working copy of the record. */
static void begin_issue(struct registration *r)
{
    char name[CVM_THING_NAME_SIZE];
    cvm_error_t *error = cvm_thing_name(r->cvm, r->request->uid, name);
    cvm_error_free(error); /* it was checked before */
    r->wanted = cvm_record_copy(r->device);
    if (!r->wanted || cvm_record_set_text(r->wanted, CVM_THING_NAME, name)) {
        fail(r, REASON_internal, "out of memory");
        return;
    }
    r->must_issue = 1;
    next(r);
}

static void refuse_registered(struct registration *r, int32_t is_other_key)
{
    if (r->attempts) { /* it was not registered a moment ago: another request won */
        r->result.error.retry_after_s = RACE_RETRY_AFTER_S;
        fail(r, REASON_in_progress, NULL);
        return;
    }
    if (is_other_key) {
        cvm_audit(r->cvm, "other_key", r->request->uid, r->request->id, r->request->peer,
            cvm_record_text(r->device, CVM_CERTIFICATE_ID),
            "a registered device asked with another key: it may be a clone");
        cvm_metrics_add(r->cvm->metrics, METRIC_KEY_CONFLICTS, NULL, 1);
    }
    fail(r, REASON_already_registered, NULL);
}

static void decide(struct registration *r)
{
    if (*cvm_record_text(r->device, CVM_CERTIFICATE_ID)) {
        if (failed(r))
            return;
        take_current(r);
    }
    const cvm_conf_t *conf = r->cvm->conf;
    const struct cvm_again_rules rules = {
        cvm_conf_number(conf, "registration.reissue_after"),
        cvm_conf_number(conf, "registration.retry_window"),
        cvm_conf_number(conf, "registration.retry_max"),
    };
    int64_t now_ms = cvm_now_ms();
    int32_t expired = cvm_record_number(r->current, CVM_C_NOT_AFTER) <= now_ms;
    uint32_t *retry_after_s = &r->result.error.retry_after_s;
    switch (cvm_again(r->device, expired ? NULL : r->current,
        r->request->csr ? r->key.sha256 : NULL, r->owner, &rules, now_ms, retry_after_s)) {
    case AGAIN_REISSUE:
        r->is_reissue = 1;
        begin_issue(r);
        break;
    case AGAIN_ISSUE:
        begin_issue(r);
        break;
    case AGAIN_SAME:
        r->certificate = r->current;
        r->current = NULL;
        next(r);
        break;
    case AGAIN_IN_PROGRESS:
        fail(r, REASON_in_progress, NULL);
        break;
    case AGAIN_REGISTERED:
        refuse_registered(r, !r->request->csr && strcmp(cvm_record_text(r->device, CVM_KEY_ORIGIN),
                                                     CVM_ORIGIN_CSR) == 0);
        break;
    case AGAIN_OTHER_KEY:
        refuse_registered(r, 1);
        break;
    }
}

/* --- prepare, make key ------------------------------------------------------------------------ */

static void take_prepared(struct registration *r)
{
    if (failed(r))
        return;
    for (uint32_t i = 0; i < CVM_OUT_COUNT; i++) {
        free(r->outs[i]);
        r->outs[i] = r->op.outs[i];
        r->op.outs[i] = NULL;
    }
    if (r->outs[CVM_OUT_ENDPOINT] && r->outs[CVM_OUT_ROOT_CA])
        next(r);
    else
        fail(r, REASON_platform_error, NULL);
}

static void make_key_now(void *argument)
{
    struct registration *r = argument;
    int64_t type = cvm_conf_number(r->cvm->conf, "server_key.type");
    if (cvm_key_make(&r->key, (enum cvm_key_type)type))
        cvm_key_clear(&r->key);
}

static void key_made(void *argument)
{
    struct registration *r = argument;
    cvm_t *cvm = r->cvm;
    if (r->key.spki)
        next(r);
    else
        fail(r, REASON_internal, "no key could be made");
    cvm_release(cvm);
}

static void make_key(struct registration *r)
{
    if (r->key.spki) { /* the CSR's, or made before the flow started over */
        next(r);
        return;
    }
    cvm_hold(r->cvm);
    if (cvm_conf_number(r->cvm->conf, "server_key.type") != KEY_RSA2048) {
        make_key_now(r);
        key_made(r);
    } else if (cvm_threads_run(r->cvm->threads, make_key_now, key_made, r)) {
        key_made(r);
    }
}

/* --- claim, take over, record ----------------------------------------------------------------- */

static int32_t set_lease(cvm_record_t *record, const char *owner, int64_t until_ms,
    const char *key_sha256, const char *certificate_id)
{
    return cvm_record_set_text(record, CVM_LEASE_OWNER, owner) ||
                   cvm_record_set_number(record, CVM_LEASE_UNTIL, until_ms) ||
                   cvm_record_set_text(record, CVM_LEASE_PUBLIC_KEY_SHA256, key_sha256) ||
                   cvm_record_set_text(record, CVM_LEASE_CERTIFICATE_ID, certificate_id)
               ? -1
               : 0;
}

static void claim(struct registration *r)
{
    (void)snprintf(r->taken_over, sizeof r->taken_over, "%s",
        cvm_record_text(r->device, CVM_LEASE_CERTIFICATE_ID));
    if (set_lease(r->wanted, r->owner, cvm_now_ms() + CVM_LEASE_MS, r->key.sha256, r->taken_over)) {
        r->has_effects = 0;
        fail(r, REASON_internal, "out of memory");
        return;
    }
    start_swap(r, 0, "swap", op_done);
}

static void claimed(struct registration *r)
{
    if (r->op.answer == CVM_ANSWER_OK || r->op.answer == CVM_ANSWER_UNKNOWN ||
        r->op.answer == CVM_ANSWER_CONFLICT) {
        swapped(r);
        return;
    }
    r->has_effects = 0; /* it was not taken */
    (void)failed(r);
}

/* A certificate that nobody got. 0, or -1 without memory. */
static int32_t set_abandoned(cvm_record_t *certificate, const char *state, int64_t revoke_after_ms)
{
    return cvm_record_set_text(certificate, CVM_C_STATE, state) ||
                   cvm_record_set_text(certificate, CVM_C_REASON, "cessationOfOperation") ||
                   cvm_record_set_number(certificate, CVM_C_REVOKE_AFTER, revoke_after_ms)
               ? -1
               : 0;
}

/* By now its certificate is deleted; but what was to be taken over and isn't stays recorded. */
static void release_lease(struct registration *r)
{
    uint32_t count = 0;
    if (r->is_lease_lost || set_lease(r->wanted, NULL, 0, NULL, r->taken_over)) {
        undo(r, -1);
        return;
    }
    if (r->certificate && !set_abandoned(r->certificate, "revoked", 0))
        r->changed[count++] = r->certificate;
    if (r->abandoned && !*r->taken_over)
        r->changed[count++] = r->abandoned;
    start_swap(r, count, "swap", released);
}

static void released(cvm_op_t *op)
{
    struct registration *r = of(op);
    int32_t must_look = op->answer == CVM_ANSWER_CONFLICT || op->answer == CVM_ANSWER_UNKNOWN;
    if (!must_look || ++r->undo_attempts >= MOST_ATTEMPTS) {
        undone(op);
        return;
    }
    cvm_op_start(op, r->cvm, SIDE_STORE, "get", release_again);
    r->cvm->store.get(r->cvm->store_context.self, op, r->request->uid);
}

/* Others changed the record meanwhile, or it is unknown whether it was written. */
static void release_again(cvm_op_t *op)
{
    struct registration *r = of(op);
    cvm_record_t *now = cvm_op_take(op, 0);
    if (!now || strcmp(cvm_record_text(now, CVM_LEASE_OWNER), r->owner) != 0) {
        cvm_record_free(now);
        undo(r, -1);
        return;
    }
    cvm_record_free(r->device);
    cvm_record_free(r->wanted);
    r->device = now;
    r->wanted = cvm_record_copy(now);
    release_lease(r);
}

/* The last owner of the lease recorded a certificate: it is looked up to be adopted or deleted. */
static void take_over(struct registration *r)
{
    if (!*r->taken_over) {
        next(r);
        return;
    }
    cvm_op_start(&r->op, r->cvm, SIDE_STORE, "scan", op_done);
    r->cvm->store.scan(r->cvm->store_context.self, &r->op, CVM_SCAN_CERTIFICATES, r->request->uid,
        0, MOST_CERTIFICATES);
}

/* The fence: after this, an owner that wakes up can't activate its certificate. */
static void deleted(cvm_op_t *op)
{
    struct registration *r = of(op);
    if (op->answer != CVM_ANSWER_NOT_FOUND && failed(r))
        return;
    *r->taken_over = 0;
    if (set_abandoned(r->abandoned, "revoked", 0))
        fail(r, REASON_internal, "out of memory");
    else
        next(r);
}

/* What the lease's last owner recorded; made up if its row is gone. NULL without memory. */
static cvm_record_t *find_taken_over(struct registration *r)
{
    for (uint32_t i = 0; i < r->op.record_count; i++)
        if (strcmp(cvm_record_text(r->op.records[i], CVM_C_CERTIFICATE_ID), r->taken_over) == 0)
            return cvm_op_take(&r->op, i);
    cvm_record_t *certificate = cvm_record_new(CVM_RECORD_CERTIFICATE);
    if (certificate && (cvm_record_set_text(certificate, CVM_C_CERTIFICATE_ID, r->taken_over) ||
                           cvm_record_set_text(certificate, CVM_C_DEVICE_UID, r->request->uid))) {
        cvm_record_free(certificate);
        certificate = NULL;
    }
    return certificate;
}

/* One that is being undone already is not adopted. */
static int32_t can_be_adopted(const struct registration *r, const cvm_record_t *certificate)
{
    return strcmp(cvm_record_text(certificate, CVM_C_PUBLIC_KEY_SHA256), r->key.sha256) == 0 &&
           strcmp(cvm_record_text(certificate, CVM_C_STATE), "pending") == 0;
}

static void taken_over(struct registration *r)
{
    if (failed(r))
        return;
    cvm_step_fn delete_it = r->cvm->platform.delete_certificate;
    cvm_record_t *found = find_taken_over(r);
    if (!found) {
        fail(r, REASON_internal, "out of memory");
    } else if (can_be_adopted(r, found)) {
        r->certificate = found;
        r->is_recorded = 1;
        *r->taken_over = 0;
        next(r);
    } else if (!delete_it) {
        cvm_record_free(found);
        next(r);
    } else {
        r->abandoned = found;
        start_call(r, delete_it, "delete_certificate", found, deleted);
    }
}

static void take_certificate(struct registration *r)
{
    if (failed(r))
        return;
    r->certificate = cvm_op_take(&r->op, 0);
    if (!r->certificate || !*cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID) ||
        !*cvm_record_text(r->certificate, CVM_C_PEM))
        fail(r, REASON_platform_error, NULL);
    else if (cvm_record_set_text(r->certificate, CVM_C_DEVICE_UID, r->request->uid) ||
             cvm_record_set_text(r->certificate, CVM_C_PUBLIC_KEY_SHA256, r->key.sha256) ||
             cvm_record_set_text(r->certificate, CVM_C_STATE, "pending"))
        fail(r, REASON_internal, "out of memory");
    else
        next(r);
}

static void recorded(struct registration *r)
{
    r->is_recorded = r->op.answer == CVM_ANSWER_OK || r->op.answer == CVM_ANSWER_UNKNOWN;
    swapped(r);
}

static void record_certificate(struct registration *r)
{
    if (cvm_record_set_text(r->wanted, CVM_LEASE_CERTIFICATE_ID,
            cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID))) {
        fail(r, REASON_internal, "out of memory");
        return;
    }
    r->changed[0] = r->certificate;
    r->changed[1] = r->abandoned;
    start_swap(r, r->abandoned ? 2 : 1, "swap", op_done);
}

/* --- update ----------------------------------------------------------------------------------- */

/* The wanted record of a registered device. */
static int32_t set_registered(struct registration *r, int64_t now_ms)
{
    cvm_record_t *wanted = r->wanted;
    char now[CVM_RFC3339_SIZE];
    int64_t first = r->is_reissue ? cvm_record_number(r->device, CVM_FIRST_ISSUED_AT) : now_ms;
    int64_t reissues = r->is_reissue ? cvm_record_number(r->device, CVM_REISSUE_COUNT) + 1 : 0;
    const char *origin = r->request->csr ? CVM_ORIGIN_CSR : CVM_ORIGIN_SERVER;
    return set_lease(wanted, NULL, 0, NULL, NULL) ||
                   cvm_record_set_number(wanted, CVM_IS_REGISTERED, 1) ||
                   cvm_record_set_text(wanted, CVM_REGISTERED_ON, cvm_rfc3339(now_ms, now)) ||
                   cvm_record_set_text(wanted, CVM_CERTIFICATE_ID,
                       cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID)) ||
                   cvm_record_set_text(wanted, CVM_PUBLIC_KEY_SHA256, r->key.sha256) ||
                   cvm_record_set_text(wanted, CVM_KEY_ORIGIN, origin) ||
                   cvm_record_set_number(wanted, CVM_FIRST_ISSUED_AT, first) ||
                   cvm_record_set_number(wanted, CVM_LAST_ISSUED_AT, now_ms) ||
                   cvm_record_set_number(wanted, CVM_REISSUE_COUNT, reissues) ||
                   cvm_record_set_text(r->certificate, CVM_C_STATE, "current")
               ? -1
               : 0;
}

/* The superseded certificate retires at once. */
static int32_t set_retiring(struct registration *r, int64_t now_ms)
{
    return cvm_record_set_text(r->current, CVM_C_STATE, "retiring") ||
                   cvm_record_set_number(r->current, CVM_C_REVOKE_AFTER, now_ms) ||
                   cvm_record_set_text(r->current, CVM_C_REASON, "superseded") ||
                   cvm_record_set_text(r->current, CVM_C_SUCCESSOR,
                       cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID))
               ? -1
               : 0;
}

static void update(struct registration *r)
{
    int64_t now_ms = cvm_now_ms();
    uint32_t count = 0;
    if (set_registered(r, now_ms) || (r->current && set_retiring(r, now_ms))) {
        if (!is_outside(r))
            r->has_effects = 0;
        fail(r, REASON_internal, "out of memory");
        return;
    }
    r->changed[count++] = r->certificate;
    if (r->current)
        r->changed[count++] = r->current;
    start_swap(r, count, "swap", op_done);
}

/* --- answer, retire previous ------------------------------------------------------------------ */

/* The certificate and the issuing chain behind it. */
static char *with_chain(const char *certificate, const char *chain)
{
    size_t size = strlen(certificate) + strlen(chain) + 1;
    char *text = malloc(size);
    if (text)
        (void)snprintf(text, size, "%s%s", certificate, chain);
    return text;
}

static void fill_result(struct registration *r)
{
    cvm_result_t *result = &r->result;
    const char *chain = r->outs[CVM_OUT_CHAIN] ? r->outs[CVM_OUT_CHAIN] : "";
    cvm_error_set(&result->error, REASON_ok, NULL);
    result->device_certificate = with_chain(cvm_record_text(r->certificate, CVM_C_PEM), chain);
    if (!result->device_certificate)
        cvm_error_set(&result->error, REASON_unknown, "out of memory; ask again");
    result->endpoint = r->outs[CVM_OUT_ENDPOINT];
    result->root_ca = r->outs[CVM_OUT_ROOT_CA];
    result->thing_name = cvm_record_text(r->device, CVM_THING_NAME);
    result->certificate_id = cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID);
    result->private_key = r->key.private_pem;
    result->public_key = r->key.private_pem ? r->key.public_pem : NULL;
    (void)cvm_rfc3339(cvm_now_ms(), result->server_time);
}

static void answer_success(struct registration *r)
{
    if (r->must_issue) {
        const char *platform = r->cvm->platform_context.kind;
        cvm_metrics_add(r->cvm->metrics, METRIC_CERTIFICATES_ISSUED, &platform, 1);
        cvm_audit(r->cvm, r->is_reissue ? "reissued" : "registered", r->request->uid,
            r->request->id, r->request->peer, cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID),
            NULL);
    }
    fill_result(r);
    answer(r);
    next(r);
}

static void retire_previous(struct registration *r)
{
    if (r->current)
        cvm_reconcile_soon(r->cvm);
    next(r);
}

/* --- The API ---------------------------------------------------------------------------------- */

static void begin(struct cvm_mail *mail)
{
    struct registration *r = CVM_CONTAINER(mail, struct registration, mail);
    if (r->result.error.reason != REASON_ok) /* the payload was refused */
        undo(r, -1);
    else
        run_step(r);
}

static void link_in(struct registration *r)
{
    cvm_t *cvm = r->cvm;
    r->id = ++cvm->last_id;
    r->next = cvm->registrations;
    r->link = &cvm->registrations;
    if (r->next)
        r->next->link = &r->next;
    cvm->registrations = r;
    cvm_metrics_set(cvm->metrics, METRIC_QUEUE_DEPTH, NULL, ++cvm->registration_count);
}

/* A registration that is ready to begin, or NULL without memory. */
static struct registration *registration_new(
    cvm_t *cvm, const cvm_request_t *request, cvm_result_cb callback, void *user_data)
{
    struct registration *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->cvm = cvm;
    r->mail.open = begin;
    r->started_us = cvm_monotonic_us();
    r->callback = callback;
    r->user_data = user_data;
    r->step = STEPS;
    r->request = cvm_request_copy(request);
    r->deadline = cvm_timer_new(cvm->loop, deadline_over, r);
    cvm_error_set(&r->result.error, REASON_ok, NULL);
    if (!r->request || !r->deadline || cvm_random_hex(OWNER_BYTES, r->owner)) {
        registration_free(r);
        return NULL;
    }
    return r;
}

static void start(struct registration *r, uint64_t *id)
{
    uint64_t deadline_ms = r->request->deadline_ms;
    if (!deadline_ms)
        deadline_ms = (uint64_t)cvm_conf_number(r->cvm->conf, "request.deadline");
    link_in(r);
    cvm_hold(r->cvm);
    cvm_timer_start(r->deadline, deadline_ms);
    cvm_loop_post(r->cvm->loop, &r->mail);
    if (id)
        *id = r->id;
}

/* NULL if another registration can be taken. */
static cvm_error_t *admit(const cvm_t *cvm, const cvm_request_t *request)
{
    /* What a draining transport still has on its way is served too. */
    int32_t is_draining = cvm->state == STATE_STOPPING && cvm->transport_count && cvm->running;
    int32_t is_ready = cvm_is_ready(cvm) || is_draining;
    if (is_ready && cvm->registration_count < cvm_conf_number(cvm->conf, "limit.requests"))
        return NULL;
    const char *labels[] = {"error", "overloaded", request ? request->transport : "api"};
    cvm_metrics_add(cvm->metrics, METRIC_REGISTRATIONS, labels, 1);
    cvm_error_t *error =
        cvm_error_new(REASON_overloaded, is_ready ? NULL : "the server is not ready");
    error->retry_after_s = RETRY_AFTER_S;
    return error;
}

cvm_error_t *cvm_register(
    cvm_t *cvm, const cvm_request_t *request, cvm_result_cb callback, void *user_data, uint64_t *id)
{
    cvm_error_t *error = admit(cvm, request);
    if (error)
        return error;
    struct registration *r = registration_new(cvm, request, callback, user_data);
    if (!r)
        return cvm_error_out_of_memory();
    start(r, id);
    return NULL;
}

static int32_t is_json(const char *media_type)
{
    size_t length = media_type ? strcspn(media_type, "; \t") : 0;
    return !length || (length == strlen("application/json") &&
                          strncasecmp(media_type, "application/json", length) == 0);
}

cvm_error_t *cvm_handle(cvm_t *cvm, const cvm_request_t *request, const char *media_type,
    const void *bytes, size_t length, cvm_result_cb callback, void *user_data, uint64_t *id)
{
    cvm_error_t *error = admit(cvm, request);
    if (error)
        return error;
    struct registration *r = registration_new(cvm, request, callback, user_data);
    if (!r)
        return cvm_error_out_of_memory();
    r->must_render = 1;
    error = is_json(media_type) ? cvm_request_read(r->request, bytes, length)
                                : cvm_error_new(REASON_unsupported_media_type, NULL);
    if (error) {
        cvm_error_set(&r->result.error, error->reason, error->text);
        cvm_error_free(error);
    }
    start(r, id);
    return NULL;
}

void cvm_cancel(cvm_t *cvm, uint64_t id)
{
    for (struct registration *r = cvm->registrations; r; r = r->next)
        if (r->id == id)
            cvm_timer_start(r->deadline, 0); /* later: a callback never runs inside a call */
}
