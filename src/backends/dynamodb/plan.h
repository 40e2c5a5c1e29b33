/* A plan's insides: what is known of the rows that a change is about (judge.c), and what it writes
 * (plan.c, plan_hints.c). */
#ifndef CVM_DYNAMODB_PLAN_H
#define CVM_DYNAMODB_PLAN_H

#include "change.h"

#define COMPROMISED "keyCompromise"

/* The device's current certificate, while the change is gone through in its order. */
struct currency {
    const char *id;     /* "" for none */
    int32_t is_unknown; /* nobody has looked: it may be any of those that have left */
    const char *taken;  /* by the first that took it while it was not known; NULL */
    int32_t is_second;  /* there would be two */
};

/* --- judge.c ---------------------------------------------------------------------------------- */

const cvm_host_t *cvm_plan_host(const struct change *change);
/* Certificate i of the change. */
const char *cvm_plan_certificate_text(const struct change *change, uint32_t i, uint32_t field);
int32_t cvm_plan_certificate_is(const struct change *change, uint32_t i, const char *state);
/* It retires, or is revoked. */
int32_t cvm_plan_certificate_ends(const struct change *change, uint32_t i);
/* Its row, if that was looked at and is there. */
const cJSON *cvm_plan_certificate(const struct change *change, uint32_t i);
/* Its state before, as it was looked at or, without a look, is taken for granted; "" if it is new,
 * as far as anybody knows. */
const char *cvm_plan_was(const struct change *change, uint32_t i);
int32_t cvm_plan_is_new(const struct change *change, uint32_t i);
/* What it retired for stays, once that is carried out. */
int32_t cvm_plan_keeps_reason(const struct change *change, uint32_t i);
/* A field of a device, which may be NULL. */
const char *cvm_plan_device_text(
    const struct change *change, const cvm_record_t *device, uint32_t field);
int64_t cvm_plan_device_number(
    const struct change *change, const cvm_record_t *device, uint32_t field);
int32_t cvm_plan_has_state(const struct change *change, const cvm_record_t *device);
/* A device's state, if that was looked at and is there. */
const cJSON *cvm_plan_state(const struct change *change, const char *uid);
/* The key that the device gets, or gets again; "" if it gets none. */
const char *cvm_plan_key(const struct change *change);
/* Whose it is, as far as it was looked at. */
const cJSON *cvm_plan_key_row(const struct change *change);
int32_t cvm_plan_key_is_taken(const struct change *change);
/* Which certificates are written: revoked ones stay as they are, others' too. */
void cvm_plan_choose(struct change *change);
struct currency cvm_plan_currency(const struct change *change);

/* --- plan.c ----------------------------------------------------------------------------------- */

/* Begins an action of the transaction, and a new expression. The request's body. */
struct cvm_buffer *cvm_plan_begin_action(
    struct change *change, const char *verb, enum subject subject);
void cvm_plan_print_target(
    struct change *change, struct cvm_buffer *body, const char *pk, const char *sk);
/* Prints the expression, and ends it. */
void cvm_plan_end_action(struct change *change);

/* --- plan_hints.c ----------------------------------------------------------------------------- */

/* Whose the keys are. */
void cvm_plan_write_keys(struct change *change);
/* What leads to the device from now on, and what does no more. */
void cvm_plan_write_hints(struct change *change);

#endif
