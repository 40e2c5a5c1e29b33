/* The rules of "Asked again". */
#include "again.h"

#include <string.h>

#include "record.h"

/* Clocks of several servers differ by less than this; a lease that ends later was taken by a clock
 * that has been set back since, and would hold the device up as long. */
#define LONGEST_LEASE_MS (10 * CVM_LEASE_MS)

static uint32_t seconds_until(int64_t then_ms, int64_t now_ms)
{
    return then_ms <= now_ms ? 1 : (uint32_t)((then_ms - now_ms + 999) / 1000);
}

static enum cvm_again with_csr(
    const cvm_record_t *device, const cvm_record_t *current, const char *csr_sha256)
{
    int32_t same_key = strcmp(cvm_record_text(device, CVM_D_KEY_ORIGIN), CVM_ORIGIN_CSR) == 0 &&
                       strcmp(cvm_record_text(device, CVM_D_PUBLIC_KEY_SHA256), csr_sha256) == 0;
    if (!same_key)
        return AGAIN_OTHER_KEY;
    return current ? AGAIN_SAME : AGAIN_REGISTERED;
}

/* Times in the future are a clock that was set back: nobody waits for it to catch up. */
static enum cvm_again without_csr(const cvm_record_t *device, const struct cvm_again_rules *rules,
    int64_t now_ms, uint32_t *retry_after_s)
{
    int64_t first = cvm_record_number(device, CVM_D_FIRST_ISSUED_AT);
    int64_t last = cvm_record_number(device, CVM_D_LAST_ISSUED_AT);
    if (strcmp(cvm_record_text(device, CVM_D_KEY_ORIGIN), CVM_ORIGIN_SERVER) != 0 ||
        !rules->retry_window_ms || now_ms > first + rules->retry_window_ms ||
        cvm_record_number(device, CVM_D_REISSUE_COUNT) >= rules->retry_max)
        return AGAIN_REGISTERED;
    int64_t until_ms = last + rules->reissue_after_ms;
    if (now_ms < until_ms && until_ms <= now_ms + 2 * rules->reissue_after_ms) {
        *retry_after_s = seconds_until(until_ms, now_ms);
        return AGAIN_IN_PROGRESS;
    }
    return AGAIN_REISSUE;
}

enum cvm_again cvm_again(const cvm_record_t *device, const cvm_record_t *current,
    const char *csr_sha256, const char *owner, const struct cvm_again_rules *rules, int64_t now_ms,
    uint32_t *retry_after_s)
{
    const char *lease = cvm_record_text(device, CVM_D_LEASE_OWNER);
    int64_t lease_until = cvm_record_number(device, CVM_D_LEASE_UNTIL);
    if (*lease && strcmp(lease, owner) != 0 && lease_until > now_ms &&
        lease_until <= now_ms + LONGEST_LEASE_MS) {
        *retry_after_s = seconds_until(lease_until, now_ms);
        return AGAIN_IN_PROGRESS;
    }
    if (!cvm_record_number(device, CVM_D_IS_REGISTERED))
        return AGAIN_ISSUE;
    return csr_sha256 ? with_csr(device, current, csr_sha256)
                      : without_csr(device, rules, now_ms, retry_after_s);
}
