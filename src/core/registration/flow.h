/*
 * One registration on its way through the steps. flow.c has the table of steps and goes through it;
 * the steps themselves are in verify.c, lease.c, issue.c and answer.c, registration.c is the API.
 */
#ifndef CVM_CORE_FLOW_H
#define CVM_CORE_FLOW_H

#include <stddef.h>

#include "call.h"
#include "formats/format.h"
#include "instance.h"
#include "key.h"
#include "request.h"
#include "result.h"

#define CVM_OWNER_BYTES        16
#define CVM_RACE_RETRY_AFTER_S 1 /* when another request won */

struct step;

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
    const struct cvm_format *format; /* of the answer; NULL: it is not rendered */
    int32_t is_answered;
    char detail[CVM_OP_TEXT]; /* for the log alone: what a backend said, why a proof was refused */

    const struct step *step;
    ptrdiff_t undoing; /* the step that is being undone */
    uint32_t attempts; /* that others spoiled */
    uint32_t undo_attempts;
    int32_t has_effects; /* outside the store, or an update under way */
    int32_t is_recorded; /* our certificate, in the lease */
    int32_t is_lease_lost;
    int32_t may_be_overtaken;    /* the platform does not know what we work with any more */
    int32_t is_creation_unknown; /* nobody knows whether a certificate was made */
    int32_t must_issue, is_reissue;
    char owner[2 * CVM_OWNER_BYTES + 1]; /* of the lease */
    char taken_over[65];                 /* what its last owner recorded, until it is dealt with */
    char unsettled_key[65];     /* a certificate for it may be there that nobody recorded */
    int64_t unsettled_until_ms; /* the end of the lease in which it was made, then */
    cvm_record_t *device;       /* as the store holds it; NULL: unknown */
    cvm_record_t *wanted;       /* as it is to be */
    cvm_record_t *current;      /* the device's current certificate */
    cvm_record_t *certificate;  /* the one that is answered */
    cvm_record_t *abandoned;    /* the lease's last owner's, deleted now */
    cvm_record_t *probe;        /* what is looked for by its key */
    cvm_record_t *inherited[CVM_MOST_CERTIFICATES]; /* what another system made for it */
    uint32_t inherited_count;
    /* Those that it has, while the platform is asked for others. */
    cvm_record_t *rows[CVM_MOST_CERTIFICATES];
    uint32_t row_count;
    cvm_change_t change;
    const cvm_record_t *changed[2 + CVM_MOST_CERTIFICATES];
    struct cvm_key key;
    char *outs[CVM_OUT_COUNT];
    cvm_result_t result;
};

/* --- flow.c: from step to step ---------------------------------------------------------------- */

/* Begins, or goes on after another request spoiled it: at the first step. */
void cvm_flow_begin(struct registration *r);
/* The step is done. */
void cvm_flow_next(struct registration *r);
/* The step failed: what was done is undone, the caller answered. text may be NULL. */
void cvm_flow_fail(struct registration *r, enum cvm_reason reason, const char *text);
void cvm_flow_out_of_memory(struct registration *r);
/* Fails with what the operation answered, if it did. Returns 1 then. */
int32_t cvm_flow_failed(struct registration *r);
/* The outcome can't be learnt: fails, and nothing may be undone. */
void cvm_flow_fail_unknown(struct registration *r);
/* Others changed the record: looks at it anew, or gives way. */
void cvm_flow_start_over(struct registration *r);
/* Another request won: fails for now. */
void cvm_flow_give_way(struct registration *r);
/* Undoes from that step on, backwards; -1: nothing (more). Then it ends. */
void cvm_flow_undo(struct registration *r, ptrdiff_t from);
/* An undo's operation's done(): goes on with what is to be undone before it. */
void cvm_flow_undone(cvm_op_t *op);
/* Calls the platform as the step's row says. */
void cvm_flow_call_platform(struct registration *r);
/* An operation's done(): calls the step's own. */
void cvm_flow_op_done(cvm_op_t *op);
struct registration *cvm_flow_of(cvm_op_t *op);
const char *cvm_flow_step_name(const struct registration *r);

/* --- swap.c: writing the record --------------------------------------------------------------- */

/* Swaps device for wanted, and writes changed[]. */
void cvm_swap_start(struct registration *r, uint32_t certificate_count, cvm_op_done done);
/* A step's done(): what is wanted is the device now; or it fails, or starts over. */
void cvm_swap_done(struct registration *r);
/* What is wanted is now what the store holds. 0, or -1 without memory. */
int32_t cvm_swap_adopt(struct registration *r);
/* device becomes now, which is taken, and wanted a copy. 0, or -1 without memory. */
int32_t cvm_swap_take(struct registration *r, cvm_record_t *now);

/* --- Steps: run, done, undo ------------------------------------------------------------------- */

/* verify.c */
void cvm_verify(struct registration *r);
void cvm_verify_proof(struct registration *r);
void cvm_asked_again(struct registration *r);
void cvm_asked_again_decide(struct registration *r);
/* lease.c */
void cvm_lease_claim(struct registration *r);
void cvm_lease_claimed(struct registration *r);
void cvm_lease_release(struct registration *r);
void cvm_lease_take_over(struct registration *r);
void cvm_lease_taken_over(struct registration *r);
void cvm_lease_record(struct registration *r);
void cvm_lease_recorded(struct registration *r);
/* The platform is asked for the certificate that was made for that key, if it can tell; found() is
 * called with NOT_FOUND else. */
void cvm_lease_find_by_key(struct registration *r, const char *key_sha256, cvm_op_done found);
/* Takes what was found. NULL if it is of no use: then the operation's answer says why. */
cvm_record_t *cvm_lease_take_found(struct registration *r, const char *key_sha256);
/* Makes sure that the lease is ours still, then undoes. */
void cvm_lease_keep(struct registration *r);
/* issue.c */
void cvm_issue_prepare(struct registration *r);
void cvm_issue_prepared(struct registration *r);
void cvm_issue_inherit(struct registration *r);
void cvm_issue_thing_created(struct registration *r);
void cvm_issue_make_key(struct registration *r);
void cvm_issue_take_certificate(struct registration *r);
void cvm_issue_update(struct registration *r);
void cvm_issue_retire_previous(struct registration *r);
/* answer.c */
void cvm_answer_success(struct registration *r);
/* Calls the caller back, once, with the result as it is. */
void cvm_answer(struct registration *r);
/* The caller waits no longer. What has effects runs on. */
void cvm_answer_unknown(struct registration *r);

/* registration.c */
/* Frees what is known of the device. */
void cvm_registration_forget(struct registration *r);
void cvm_registration_free(struct registration *r);

#endif
