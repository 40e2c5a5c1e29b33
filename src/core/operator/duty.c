/* See the header. The value's version decides between two that take it at once. */
#include "operator/duty.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "call.h"
#include "instance.h"

#define LEAST_MS INT64_C(10000)
#define MOST_MS  INT64_C(600000)

/* Several passes long, so that it is renewed before it ends. */
static int64_t duty_lease_ms(const cvm_t *cvm)
{
    int64_t lease_ms = 4 * (int64_t)cvm_conf_own_number(cvm->conf, "reconcile.interval");
    return lease_ms < LEAST_MS ? LEAST_MS : lease_ms < MOST_MS ? lease_ms : MOST_MS;
}

/* Is it needed at all? */
static int32_t duty_is_shared(const cvm_t *cvm)
{
    return cvm_is_outside(cvm) && cvm->store.flags & CVM_STORE_SHARED;
}

int32_t cvm_duty_holds(const cvm_t *cvm, const struct cvm_duty *duty)
{
    return !duty_is_shared(cvm) || (duty->is_mine && cvm_wall_ms(cvm) < duty->until_ms);
}

void cvm_duty_clear(struct cvm_duty *duty)
{
    cvm_op_clear(&duty->op);
}

static void duty_tell(cvm_t *cvm, struct cvm_duty *duty, const cvm_error_t *error)
{
    duty->is_asked = 0;
    duty->told(cvm, error);
}

static void duty_fail(struct cvm_duty *duty, cvm_t *cvm, const cvm_op_t *op)
{
    cvm_error_t *error = cvm_op_error(op);
    duty->is_mine = 0;
    duty->until_ms = 0;
    duty_tell(cvm, duty, error);
    cvm_error_free(error);
}

static void duty_taken(cvm_op_t *op)
{
    struct cvm_duty *duty = CVM_CONTAINER(op, struct cvm_duty, op);
    duty->is_mine = op->answer == CVM_ANSWER_OK;
    if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_CONFLICT) {
        duty_fail(duty, op->cvm, op);
        return;
    }
    if (!duty->is_mine)
        duty->until_ms = 0; /* another one's, who knows until when */
    duty_tell(op->cvm, duty, NULL);
}

/* "OWNER UNTIL". What is no such value, or reaches too far, has ended. */
static int32_t duty_read(struct cvm_duty *duty, const char *value, int64_t now_ms)
{
    const char *blank = value ? strchr(value, ' ') : NULL;
    int64_t until_ms = blank ? strtoll(blank + 1, NULL, 10) : 0;
    if (until_ms <= now_ms || until_ms > now_ms + MOST_MS)
        return 0;
    duty->until_ms = until_ms;
    duty->is_mine = (size_t)(blank - value) == strlen(duty->owner) &&
                    strncmp(value, duty->owner, strlen(duty->owner)) == 0;
    return 1;
}

static void duty_got(cvm_op_t *op)
{
    struct cvm_duty *duty = CVM_CONTAINER(op, struct cvm_duty, op);
    cvm_t *cvm = op->cvm;
    int64_t now_ms = cvm_wall_ms(cvm);
    if (op->answer != CVM_ANSWER_OK && op->answer != CVM_ANSWER_NOT_FOUND) {
        duty_fail(duty, cvm, op);
        return;
    }
    int32_t is_held =
        op->answer == CVM_ANSWER_OK && duty_read(duty, op->outs[CVM_OUT_VALUE], now_ms);
    if (is_held && !duty->is_mine) {
        duty_tell(cvm, duty, NULL);
        return;
    }
    duty->until_ms = now_ms + duty_lease_ms(cvm);
    (void)snprintf(duty->value, sizeof duty->value, "%s %" PRId64, duty->owner, duty->until_ms);
    cvm_store_meta_put(cvm, op, CVM_DUTY, op->numbers[CVM_OUT_VERSION], duty->value, duty_taken);
}

void cvm_duty_ask(
    cvm_t *cvm, struct cvm_duty *duty, void (*told)(cvm_t *cvm, const cvm_error_t *error))
{
    int64_t enough_ms = duty->is_mine ? duty_lease_ms(cvm) / 2 : 0;
    duty->told = told;
    if (duty->is_asked)
        return;
    if (!duty_is_shared(cvm))
        duty->is_mine = 1;
    else if (duty->until_ms <= cvm_wall_ms(cvm) + enough_ms &&
             (*duty->owner || !cvm_random_hex(16, duty->owner))) {
        duty->is_asked = 1;
        cvm_store_meta_get(cvm, &duty->op, CVM_DUTY, duty_got);
        return;
    }
    told(cvm, NULL);
}
