/* See the header. The value's version decides between two that take it at once. */
#include "operator/duty.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hex.h"
#include "call.h"
#include "instance.h"

#define LEAST_MS INT64_C(20000)    /* longer than a platform's operations */
#define MOST_MS  INT64_C(18000000) /* 5 h: longer than any lease */

int32_t cvm_duty_init(struct cvm_duty *duty)
{
    return cvm_random_hex(sizeof duty->owner - 1, duty->owner);
}

void cvm_duty_clear(struct cvm_duty *duty)
{
    cvm_op_clear(&duty->op);
}

/* Four passes long, so that it is taken anew before it ends. */
static int64_t duty_lease_ms(const cvm_t *cvm)
{
    int64_t lease_ms = 4 * (int64_t)cvm_conf_own_number(cvm->conf, "reconcile.interval");
    return lease_ms < LEAST_MS ? LEAST_MS : lease_ms;
}

static int32_t duty_is_needed(const cvm_t *cvm)
{
    return cvm_is_outside(cvm) && cvm->store.flags & CVM_STORE_SHARED;
}

static int64_t duty_left_ms(const struct cvm_duty *duty)
{
    return duty->until_ms - (int64_t)cvm_monotonic_ms();
}

int32_t cvm_duty_must_ask(const cvm_t *cvm, const struct cvm_duty *duty)
{
    int64_t enough_ms = duty->is_mine ? duty_lease_ms(cvm) / 2 : 0;
    return duty_is_needed(cvm) && duty_left_ms(duty) <= enough_ms;
}

uint64_t cvm_duty_others_ms(const struct cvm_duty *duty)
{
    int64_t left_ms = duty->is_mine ? 0 : duty_left_ms(duty);
    return left_ms > 0 ? (uint64_t)left_ms : 0;
}

/* until_ms 0: not known, so that it is asked for again. */
static void duty_end(
    struct cvm_duty *duty, int32_t is_mine, int64_t until_ms, const cvm_error_t *error)
{
    duty->is_mine = is_mine;
    duty->until_ms = until_ms;
    duty->is_asked = 0;
    duty->told(duty->op.cvm, error);
}

static void duty_fail(struct cvm_duty *duty)
{
    cvm_error_t *error = cvm_op_error(&duty->op);
    duty_end(duty, 0, 0, error);
    cvm_error_free(error);
}

static void duty_given_back(cvm_op_t *op)
{
    (void)op; /* else it ends by itself */
}

static void duty_give_back(cvm_t *cvm, struct cvm_duty *duty)
{
    duty->is_mine = 0;
    cvm_store_meta_put(cvm, &duty->op, CVM_DUTY, duty->version, NULL, duty_given_back);
}

static void duty_taken(cvm_op_t *op)
{
    struct cvm_duty *duty = CVM_CONTAINER(op, struct cvm_duty, op);
    cvm_t *cvm = op->cvm;
    duty->version = op->numbers[CVM_OUT_VERSION];
    if (op->answer == CVM_ANSWER_OK)
        duty_end(duty, 1, duty->wanted_until_ms, NULL);
    else if (op->answer == CVM_ANSWER_CONFLICT) /* another one was faster */
        duty_end(duty, 0, 0, NULL);
    else
        duty_fail(duty);
    if (duty->is_stopped && duty->is_mine)
        duty_give_back(cvm, duty);
}

/* "OWNER UNTIL", by the store's clock: how long it is another's still; 0 if it is nobody's, or this
 * one's. What is no such value, or reaches too far, is nobody's. */
static int64_t duty_read(const struct cvm_duty *duty, const char *value, int64_t now_ms)
{
    const char *blank = value ? strchr(value, ' ') : NULL;
    int64_t until_ms = blank ? strtoll(blank + 1, NULL, 10) : 0;
    size_t length = strlen(duty->owner);
    if (!blank || until_ms <= now_ms || until_ms - MOST_MS > now_ms)
        return 0;
    int32_t is_own = strncmp(value, duty->owner, length) == 0 && value[length] == ' ';
    return is_own ? 0 : until_ms - now_ms;
}

static void duty_got(cvm_op_t *op)
{
    struct cvm_duty *duty = CVM_CONTAINER(op, struct cvm_duty, op);
    int64_t now_ms = cvm_wall_ms(op->cvm), lease_ms = duty_lease_ms(op->cvm);
    int64_t version = op->numbers[CVM_OUT_VERSION], monotonic_ms = (int64_t)cvm_monotonic_ms();
    if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND) {
        duty_fail(duty);
        return;
    }
    int64_t others_ms = duty_read(duty, op->outs[CVM_OUT_VALUE], now_ms);
    if (others_ms || duty->is_stopped) {
        duty_end(duty, 0, monotonic_ms + (others_ms < lease_ms ? others_ms : lease_ms), NULL);
        return;
    }
    duty->wanted_until_ms = monotonic_ms + lease_ms;
    (void)snprintf(duty->value, sizeof duty->value, "%s %" PRId64, duty->owner, now_ms + lease_ms);
    cvm_store_meta_put(op->cvm, op, CVM_DUTY, version, duty->value, duty_taken);
}

void cvm_duty_ask(
    cvm_t *cvm, struct cvm_duty *duty, void (*told)(cvm_t *cvm, const cvm_error_t *error))
{
    if (duty->is_asked)
        return;
    duty->told = told;
    if (!duty_is_needed(cvm))
        duty->is_mine = 1;
    if (!cvm_duty_must_ask(cvm, duty)) {
        told(cvm, NULL);
        return;
    }
    duty->is_asked = 1;
    cvm_store_meta_get(cvm, &duty->op, CVM_DUTY, duty_got);
}

void cvm_duty_stop(cvm_t *cvm, struct cvm_duty *duty)
{
    duty->is_stopped = 1;
    if (duty_is_needed(cvm) && duty->is_mine && !duty->is_asked)
        duty_give_back(cvm, duty);
}
