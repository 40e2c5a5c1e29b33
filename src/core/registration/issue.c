/* The certificate's making: key, certificate, and the one write that makes it the device's. What
 * the platform does in between stands in the table of steps alone. */
#include "flow.h"

#include <stdlib.h>
#include <string.h>

#include "again.h"
#include "base/clock.h"
#include "certificate.h"
#include "due.h"
#include "inherited.h"
#include "record.h"

#define BUSY_RETRY_AFTER_S 5 /* when too many wait for a key */

/* --- prepare, inherit, make key --------------------------------------------------------------- */

/* Neither a certificate that is made now nor one that is answered again would be of use to a device
 * if the clock is wrong. */
void cvm_issue_prepare(struct registration *r)
{
    const char *doubt = cvm_clock_doubt(r->cvm);
    if (doubt)
        cvm_flow_fail(r, REASON_platform_unavailable, doubt);
    else
        cvm_flow_call_platform(r);
}

void cvm_issue_prepared(struct registration *r)
{
    if (cvm_flow_failed(r))
        return;
    for (uint32_t i = 0; i < CVM_OUT_COUNT; i++) {
        free(r->outs[i]);
        r->outs[i] = r->op.outs[i];
        r->op.outs[i] = NULL;
    }
    if (r->outs[CVM_OUT_ENDPOINT] && r->outs[CVM_OUT_ROOT_CA])
        cvm_flow_next(r);
    else
        cvm_flow_fail(r, REASON_platform_error, NULL);
}

/* One that the flow deals with already. */
static int32_t is_known(const struct registration *r, const cvm_record_t *certificate)
{
    return cvm_certificate_is_listed(r->inherited, r->inherited_count, certificate) ||
           (r->current && cvm_certificate_is_listed(&r->current, 1, certificate)) ||
           (r->certificate && cvm_certificate_is_listed(&r->certificate, 1, certificate));
}

static void found_inherited(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    int32_t count = 0;
    if (op->answer != CVM_ANSWER_NOT_FOUND) {
        if (cvm_flow_failed(r))
            return;
        for (uint32_t i = 0; i < op->record_count; i++)
            if (is_known(r, op->records[i]))
                cvm_record_free(cvm_op_take(op, i));
        count = cvm_inherit_take(op, r->device, r->inherited + r->inherited_count,
            CVM_MOST_CERTIFICATES - r->inherited_count);
    }
    if (count < 0) {
        cvm_flow_fail(
            r, REASON_platform_error, "what hangs on the thing can't be read, or is too much");
        return;
    }
    r->inherited_count += (uint32_t)count;
    cvm_flow_next(r);
}

/* A thing that was there, left by a registration that another system did not bring to its end. */
void cvm_issue_thing_created(struct registration *r)
{
    if (cvm_flow_failed(r))
        return;
    if (r->op.numbers[CVM_OUT_ADOPTED] && r->cvm->platform.find_certificates)
        cvm_inherit_ask(r->cvm, &r->op, r->wanted, r->rows, r->row_count, found_inherited);
    else
        cvm_flow_next(r);
}

static void got_rows(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    if (cvm_flow_failed(r))
        return;
    if (!cvm_may_inherit(r->cvm, r->device, op->record_count)) {
        cvm_flow_next(r);
        return;
    }
    for (uint32_t i = 0; i < op->record_count && r->row_count < CVM_MOST_CERTIFICATES; i++)
        r->rows[r->row_count++] = cvm_op_take(op, i);
    cvm_inherit_ask(r->cvm, op, r->device, r->rows, r->row_count, found_inherited);
}

/* A device that another system registered, and that may register here: what it works with now is
 * superseded. */
void cvm_issue_inherit(struct registration *r)
{
    if (cvm_may_inherit(r->cvm, r->device, 0))
        cvm_store_get_certificates(
            r->cvm, &r->op, r->request->uid, CVM_MOST_CERTIFICATES, got_rows);
    else
        cvm_flow_next(r);
}

static void make_key_now(void *argument)
{
    struct registration *r = argument;
    int64_t type = cvm_conf_own_number(r->cvm->conf, "server_key.type");
    if (cvm_key_make(&r->key, (enum cvm_key_type)type))
        cvm_key_clear(&r->key);
}

static void key_made(void *argument)
{
    struct registration *r = argument;
    cvm_t *cvm = r->cvm; /* r may be gone when the next step returns */
    if (r->key.spki)
        cvm_flow_next(r);
    else
        cvm_flow_fail(r, REASON_internal, "no key could be made");
    cvm_release(cvm);
}

void cvm_issue_make_key(struct registration *r)
{
    if (r->key.spki) { /* the CSR's, or made before the flow started over */
        cvm_flow_next(r);
        return;
    }
    cvm_t *cvm = r->cvm;
    cvm_hold(cvm);
    if (cvm_conf_own_number(r->cvm->conf, "server_key.type") != KEY_RSA2048) {
        make_key_now(r);
        key_made(r);
    } else if (cvm_threads_run(r->cvm->key_makers, make_key_now, key_made, r)) {
        r->result.error.retry_after_s = BUSY_RETRY_AFTER_S;
        cvm_flow_fail(r, REASON_overloaded, "too many wait for an RSA key");
        cvm_release(cvm);
    }
}

void cvm_issue_take_certificate(struct registration *r)
{
    if (cvm_flow_failed(r))
        return;
    r->certificate = cvm_op_take(&r->op, 0);
    if (r->op.outs[CVM_OUT_CHAIN]) { /* by another CA than when it was prepared */
        free(r->outs[CVM_OUT_CHAIN]);
        r->outs[CVM_OUT_CHAIN] = r->op.outs[CVM_OUT_CHAIN];
        r->op.outs[CVM_OUT_CHAIN] = NULL;
    }
    if (!r->certificate || cvm_certificate_found(r->certificate, r->request->uid, r->key.sha256))
        cvm_flow_fail(r, REASON_platform_error, NULL);
    else
        cvm_flow_next(r);
}

/* --- update ----------------------------------------------------------------------------------- */

/* The wanted record of a registered device. */
static int32_t set_registered(struct registration *r, int64_t now_ms)
{
    cvm_record_t *wanted = r->wanted;
    char now[CVM_RFC3339_SIZE];
    int64_t first = r->is_reissue ? cvm_record_number(r->device, CVM_D_FIRST_ISSUED_AT) : now_ms;
    int64_t reissues = r->is_reissue ? cvm_record_number(r->device, CVM_D_REISSUE_COUNT) + 1 : 0;
    const char *origin = r->request->csr ? CVM_ORIGIN_CSR : CVM_ORIGIN_SERVER;
    return cvm_record_set_lease(wanted, NULL, 0, NULL, NULL) ||
                   cvm_record_set_number(wanted, CVM_D_IS_REGISTERED, 1) ||
                   cvm_record_set_text(wanted, CVM_D_REGISTERED_ON, cvm_rfc3339(now_ms, now)) ||
                   cvm_record_set_text(wanted, CVM_D_CERTIFICATE_ID,
                       cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID)) ||
                   cvm_record_set_text(wanted, CVM_D_PUBLIC_KEY_SHA256, r->key.sha256) ||
                   cvm_record_set_text(wanted, CVM_D_KEY_ORIGIN, origin) ||
                   cvm_record_set_number(wanted, CVM_D_FIRST_ISSUED_AT, first) ||
                   cvm_record_set_number(wanted, CVM_D_LAST_ISSUED_AT, now_ms) ||
                   cvm_record_set_number(wanted, CVM_D_REISSUE_COUNT, reissues) ||
                   cvm_record_set_text(r->certificate, CVM_C_STATE, "current")
               ? -1
               : 0;
}

/* A superseded certificate retires at once. */
static int32_t set_retiring(const struct registration *r, cvm_record_t *previous)
{
    return cvm_record_set_state(previous, "retiring", "superseded", CVM_AT_ONCE) ||
                   cvm_record_set_text(previous, CVM_C_SUCCESSOR,
                       cvm_record_text(r->certificate, CVM_C_CERTIFICATE_ID))
               ? -1
               : 0;
}

/* All that are superseded, which come first in the change. Their number, or -1 without memory. */
static int32_t change_previous(struct registration *r)
{
    int32_t count = 0, failed = 0;
    if (r->current) {
        failed = set_retiring(r, r->current);
        r->changed[count++] = r->current;
    }
    for (uint32_t i = 0; i < r->inherited_count && !failed; i++) {
        failed = set_retiring(r, r->inherited[i]);
        r->changed[count++] = r->inherited[i];
    }
    return failed ? -1 : count;
}

void cvm_issue_update(struct registration *r)
{
    int64_t now_ms = cvm_wall_ms(r->cvm);
    int32_t count = change_previous(r);
    if (count < 0 || set_registered(r, now_ms)) {
        if (!cvm_is_outside(r->cvm))
            r->has_effects = 0;
        cvm_flow_out_of_memory(r);
        return;
    }
    r->changed[count++] = r->certificate;
    cvm_swap_start(r, (uint32_t)count, cvm_flow_op_done);
}

static void retired(void *argument, const char *name, const cvm_error_t *error)
{
    (void)argument;
    (void)name;
    (void)error; /* a pass of the reconciler tries again, and tells */
}

void cvm_issue_retire_previous(struct registration *r)
{
    int32_t may_act = cvm_is_started(r->cvm) && !cvm_clock_doubt(r->cvm);
    if (r->current && may_act) {
        cvm_record_t *previous = r->current;
        r->current = NULL;
        cvm_due_carry_out(r->cvm, &CVM_DUE_KINDS[DUE_RETIREMENT], previous, retired, NULL);
    }
    while (r->inherited_count && may_act)
        cvm_due_carry_out(r->cvm, &CVM_DUE_KINDS[DUE_RETIREMENT],
            r->inherited[--r->inherited_count], retired, NULL);
    cvm_flow_next(r);
}
