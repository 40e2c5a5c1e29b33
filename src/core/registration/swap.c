/* The flow's one way to write: the compare-and-swap of the device's record, and what follows from
 * its answer. A write with an unknown outcome is looked up before anything else. */
#include "flow.h"

#include "record.h"

void cvm_swap_start(struct registration *r, uint32_t certificate_count, cvm_op_done done)
{
    r->change = cvm_change_of(r->device, r->wanted, r->changed, certificate_count);
    cvm_store_swap(r->cvm, &r->op, &r->change, done);
}

int32_t cvm_swap_adopt(struct registration *r)
{
    cvm_record_t *copy = NULL;
    if (cvm_record_set_number(
            r->wanted, CVM_D_REVISION, cvm_record_number(r->device, CVM_D_REVISION) + 1) ||
        !(copy = cvm_record_copy(r->wanted)))
        return -1;
    cvm_record_free(r->device);
    r->device = copy;
    return 0;
}

int32_t cvm_swap_take(struct registration *r, cvm_record_t *now)
{
    cvm_record_free(r->device);
    cvm_record_free(r->wanted);
    r->device = now;
    r->wanted = cvm_record_copy(now);
    return r->wanted ? 0 : -1;
}

static int32_t same_text(const cvm_record_t *a, const cvm_record_t *b, uint32_t field)
{
    return cvm_record_says(a, field, cvm_record_text(b, field));
}

/* Of what the flow writes. */
static int32_t says_the_same(const cvm_record_t *a, const cvm_record_t *b)
{
    return same_text(a, b, CVM_D_CERTIFICATE_ID) && same_text(a, b, CVM_D_LEASE_OWNER) &&
           same_text(a, b, CVM_D_LEASE_CERTIFICATE_ID) &&
           same_text(a, b, CVM_D_LEASE_PUBLIC_KEY_SHA256) &&
           cvm_record_number(a, CVM_D_LEASE_UNTIL) == cvm_record_number(b, CVM_D_LEASE_UNTIL);
}

/* The record was read again after a write with an unknown outcome. */
static void read_again(cvm_op_t *op)
{
    struct registration *r = cvm_flow_of(op);
    cvm_record_t *now = op->answer == CVM_ANSWER_OK ? cvm_op_take(op, 0) : NULL;
    int64_t revision = cvm_record_number(now, CVM_D_REVISION);
    int32_t unchanged = now && revision == cvm_record_number(r->device, CVM_D_REVISION);
    int32_t happened = now && !unchanged && says_the_same(now, r->wanted);
    cvm_record_free(now);
    if (unchanged)
        cvm_flow_fail(r, REASON_store_unavailable, NULL);
    else if (happened && !cvm_swap_adopt(r))
        cvm_flow_next(r);
    else
        cvm_flow_fail_unknown(r);
}

void cvm_swap_done(struct registration *r)
{
    if (r->op.answer == CVM_ANSWER_CONFLICT) {
        cvm_flow_start_over(r);
    } else if (r->op.answer == CVM_ANSWER_UNKNOWN) {
        cvm_store_get(r->cvm, &r->op, r->request->uid, read_again);
    } else if (r->op.answer == CVM_ANSWER_KEY_IN_USE) {
        cvm_flow_fail(r, REASON_invalid_csr,
            "the CSR's key belongs to another device, or was revoked for keyCompromise");
    } else if (!cvm_flow_failed(r)) {
        if (cvm_swap_adopt(r))
            cvm_flow_fail_unknown(r);
        else
            cvm_flow_next(r);
    }
}
