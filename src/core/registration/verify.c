/* Who asks, and may it be served: proof, CSR, and what a device that asks again is told. Until the
 * token is proved nothing depends on what is known of the device. */
#include "flow.h"

#include <stdio.h>
#include <string.h>

#include "again.h"
#include "audit.h"
#include "base/clock.h"
#include "certificate.h"
#include "record.h"
#include "thing.h"
#include "token.h"

/* --- Proofs ----------------------------------------------------------------------------------- */

/* A way in which a device proves who it is: NULL if it does (device NULL: it is unknown), or why
 * not, for the log. The same work in either case. Its form was checked before. */
typedef const char *(*proof_fn)(const struct registration *r, const cvm_record_t *device);

static const char *token_fault(const struct registration *r, const cvm_record_t *device)
{
    int32_t plain = (int32_t)cvm_conf_own_number(r->cvm->conf, "store.plain_tokens");
    return cvm_token_proves(r->request->token, cvm_record_text(device, CVM_D_DEVICE_TOKEN), plain)
               ? NULL
               : "wrong_token";
}

static const proof_fn PROOFS[PROOF_COUNT] = {[PROOF_TOKEN] = token_fault};

/* --- verify ----------------------------------------------------------------------------------- */

void cvm_verify(struct registration *r)
{
    cvm_error_t *error = cvm_request_check(r->request);
    char name[CVM_THING_NAME_SIZE];
    if (!error)
        error = cvm_thing_name(r->cvm, r->request->uid, name);
    if (error) {
        cvm_flow_fail(r, error->reason, cvm_error_text(error));
        cvm_error_free(error);
        return;
    }
    cvm_store_get(r->cvm, &r->op, r->request->uid, cvm_flow_op_done);
}

/* One and the same answer whatever was wrong; the log and the metrics know. */
static void refuse(struct registration *r, const char *why)
{
    cvm_t *cvm = r->cvm;
    cvm_metrics_add(cvm->metrics, METRIC_AUTH_FAILURES, &why, 1);
    (void)snprintf(r->detail, sizeof r->detail, "%s", why);
    uint32_t wait_s = cvm_limiter_fail(cvm->limiter, r->request->peer, cvm_monotonic_ms());
    r->result.error.retry_after_s = wait_s;
    cvm_flow_fail(r, wait_s ? REASON_too_many_requests : REASON_not_authorized, NULL);
}

static void check_csr(struct registration *r)
{
    const char *why = NULL;
    if (r->request->csr && !r->key.csr &&
        cvm_key_from_csr(&r->key, r->request->csr, r->request->csr_length, &why))
        cvm_flow_fail(r, why ? REASON_invalid_csr : REASON_internal, why);
    else
        cvm_flow_next(r);
}

/* A device is unknown, and none was ever seen: if there is none at all, nobody is to blame for
 * being unknown. */
static void looked_for_devices(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    r->cvm->has_devices |= op->record_count > 0;
    if (op->answer == CVM_ANSWER_OK && !r->cvm->has_devices)
        cvm_flow_fail(r, REASON_store_unavailable, CVM_NO_DEVICES);
    else if (!cvm_flow_failed(r))
        refuse(r, "unknown_device");
}

void cvm_verify_proof(struct registration *r)
{
    if (r->op.answer != CVM_ANSWER_NOT_FOUND && cvm_flow_failed(r))
        return;
    r->device = cvm_op_take(&r->op, 0);
    r->cvm->has_devices |= r->device != NULL;
    if (!r->cvm->has_devices) {
        cvm_store_scan(r->cvm, &r->op, CVM_SCAN_DEVICES, "", 0, 1, looked_for_devices);
        return;
    }
    const char *fault = PROOFS[r->request->proof](r, r->device);
    if (fault)
        refuse(r, r->device ? fault : "unknown_device");
    else if (cvm_record_number(r->device, CVM_D_IS_REVOKED))
        refuse(r, "revoked");
    else if (!cvm_record_number(r->device, CVM_D_IS_ENABLED))
        refuse(r, "disabled");
    else
        check_csr(r);
}

/* --- asked again ------------------------------------------------------------------------------ */

void cvm_asked_again(struct registration *r)
{
    if (!*cvm_record_text(r->device, CVM_D_CERTIFICATE_ID)) {
        cvm_asked_again_decide(r);
        return;
    }
    cvm_store_get_certificates(
        r->cvm, &r->op, r->request->uid, CVM_MOST_CERTIFICATES, cvm_flow_op_done);
}

/* One that another system made and that was found beside the current one: it lives until its end,
 * and nothing followed it yet. */
static int32_t is_inherited(const cvm_record_t *certificate)
{
    return cvm_record_is_state(certificate, "retiring") &&
           !*cvm_record_text(certificate, CVM_C_SUCCESSOR) &&
           cvm_record_number(certificate, CVM_C_REVOKE_AFTER) ==
               cvm_record_number(certificate, CVM_C_NOT_AFTER);
}

/* Takes the certificates that a new one supersedes out of what was answered. -1 if the current one
 * may be beyond that. */
static int32_t take_current(struct registration *r)
{
    int32_t lacks_some = cvm_lacks_certificates(&r->op);
    for (uint32_t i = 0; i < r->op.record_count; i++) {
        const cvm_record_t *row = r->op.records[i];
        if (!r->current && cvm_record_is_state(row, "current") &&
            cvm_certificate_is_of(row, r->device))
            r->current = cvm_op_take(&r->op, i);
        else if (is_inherited(row) && r->inherited_count < CVM_MOST_CERTIFICATES)
            r->inherited[r->inherited_count++] = cvm_op_take(&r->op, i);
    }
    return r->current || !lacks_some ? 0 : -1;
}

/* 0, or -1 without memory. A thing of another name than the one that was registered is yet to be
 * made. */
static int32_t name_thing(cvm_record_t *wanted, const char *name)
{
    return (strcmp(cvm_record_text(wanted, CVM_D_THING_NAME), name) != 0 &&
               cvm_record_set_text(wanted, CVM_D_REGISTERED_ON, NULL)) ||
                   cvm_record_set_text(wanted, CVM_D_THING_NAME, name)
               ? -1
               : 0;
}

/* Makes the working copy of the record. */
static void begin_issue(struct registration *r)
{
    char name[CVM_THING_NAME_SIZE];
    cvm_error_t *error = cvm_thing_name(r->cvm, r->request->uid, name);
    cvm_error_free(error); /* it was checked before */
    r->wanted = cvm_record_copy(r->device);
    if (!r->wanted || name_thing(r->wanted, name)) {
        cvm_flow_out_of_memory(r);
        return;
    }
    r->must_issue = 1;
    cvm_flow_next(r);
}

/* A clone may ask as often as it likes. */
static void report_other_key(const struct registration *r)
{
    const cvm_request_t *request = r->request;
    cvm_metrics_add(r->cvm->metrics, METRIC_KEY_CONFLICTS, NULL, 1);
    if (cvm_throttle_takes(
            r->cvm->audit_throttle, LOG_INFO, request->peer, "other_key", request->uid))
        cvm_audit(r->cvm, "other_key", request->uid, request->id, request->peer,
            cvm_record_text(r->device, CVM_D_CERTIFICATE_ID),
            "a registered device asked with another key: it may be a clone");
}

static void refuse_registered(struct registration *r, int32_t is_other_key)
{
    if (r->attempts) { /* it was not registered a moment ago: another request won */
        cvm_flow_give_way(r);
        return;
    }
    if (is_other_key)
        report_other_key(r);
    const char *why = "it asks too late or too often (registration.retry_window, .retry_max)";
    if (is_other_key)
        why = "it asks with another key, or without a CSR";
    else if (r->request->csr)
        why = "its certificate is not current any more";
    (void)snprintf(r->detail, sizeof r->detail, "%s", why);
    cvm_flow_fail(r, REASON_already_registered, NULL);
}

void cvm_asked_again_decide(struct registration *r)
{
    if (*cvm_record_text(r->device, CVM_D_CERTIFICATE_ID)) {
        if (cvm_flow_failed(r))
            return;
        if (take_current(r)) {
            (void)snprintf(r->detail, sizeof r->detail, "too many certificates are not revoked");
            cvm_flow_give_way(r);
            return;
        }
    }
    const cvm_conf_t *conf = r->cvm->conf;
    const struct cvm_again_rules rules = {
        cvm_conf_own_number(conf, "registration.reissue_after"),
        cvm_conf_own_number(conf, "registration.retry_window"),
        cvm_conf_own_number(conf, "registration.retry_max"),
    };
    int64_t now_ms = cvm_wall_ms(r->cvm);
    uint32_t *retry_after_s = &r->result.error.retry_after_s;
    switch (cvm_again(r->device, r->current, r->request->csr ? r->key.sha256 : NULL, r->owner,
        &rules, now_ms, retry_after_s)) {
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
        cvm_flow_next(r);
        break;
    case AGAIN_IN_PROGRESS:
        cvm_flow_fail(r, REASON_in_progress, NULL);
        break;
    case AGAIN_REGISTERED:
        refuse_registered(
            r, !r->request->csr && cvm_record_says(r->device, CVM_D_KEY_ORIGIN, CVM_ORIGIN_CSR));
        break;
    case AGAIN_OTHER_KEY:
        refuse_registered(r, 1);
        break;
    }
}
