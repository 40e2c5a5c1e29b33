/* The rules of "Asked again". */
#include "again.h"

#include <string.h>

#include "record.h"

/* Clocks of several servers differ by less than this; a lease that ends later was taken by a clock
 * that has been set back since, and would hold the device up as long. */
#define LONGEST_LEASE_MS (10 * CVM_LEASE_MS)
#define SOON_MS          INT64_C(3600000)

static uint32_t seconds_until(int64_t then_ms, int64_t now_ms)
{
    return then_ms <= now_ms ? 1 : (uint32_t)((then_ms - now_ms + 999) / 1000);
}

/* Is it of use to the device? One that begins much later was made by a wrong clock. */
static int32_t is_valid_now(const cvm_record_t *certificate, int64_t now_ms)
{
    return cvm_record_number(certificate, CVM_C_NOT_AFTER) > now_ms &&
           cvm_record_number(certificate, CVM_C_NOT_BEFORE) <= now_ms + SOON_MS;
}

/* Was it issued a moment ago? Times in the future are a clock that was set back: nobody waits for
 * it to catch up. */
static int32_t is_too_soon(const cvm_record_t *device, const struct cvm_again_rules *rules,
    int64_t now_ms, uint32_t *retry_after_s)
{
    int64_t until_ms = cvm_record_number(device, CVM_D_LAST_ISSUED_AT) + rules->reissue_after_ms;
    if (now_ms >= until_ms || until_ms > now_ms + 2 * rules->reissue_after_ms)
        return 0;
    *retry_after_s = seconds_until(until_ms, now_ms);
    return 1;
}

static enum cvm_again with_csr(const cvm_record_t *device, const cvm_record_t *current,
    const char *csr_sha256, const struct cvm_again_rules *rules, int64_t now_ms,
    uint32_t *retry_after_s)
{
    int32_t same_key = cvm_record_says(device, CVM_D_KEY_ORIGIN, CVM_ORIGIN_CSR) &&
                       cvm_record_says(device, CVM_D_PUBLIC_KEY_SHA256, csr_sha256);
    if (!same_key)
        return AGAIN_OTHER_KEY;
    if (!current)
        return AGAIN_REGISTERED;
    if (is_valid_now(current, now_ms))
        return AGAIN_SAME;
    return is_too_soon(device, rules, now_ms, retry_after_s) ? AGAIN_IN_PROGRESS : AGAIN_REISSUE;
}

static enum cvm_again without_csr(const cvm_record_t *device, const struct cvm_again_rules *rules,
    int64_t now_ms, uint32_t *retry_after_s)
{
    int64_t first = cvm_record_number(device, CVM_D_FIRST_ISSUED_AT);
    if (!cvm_record_says(device, CVM_D_KEY_ORIGIN, CVM_ORIGIN_SERVER) || !rules->retry_window_ms ||
        now_ms > first + rules->retry_window_ms ||
        cvm_record_number(device, CVM_D_REISSUE_COUNT) >= rules->retry_max)
        return AGAIN_REGISTERED;
    return is_too_soon(device, rules, now_ms, retry_after_s) ? AGAIN_IN_PROGRESS : AGAIN_REISSUE;
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
    return csr_sha256 ? with_csr(device, current, csr_sha256, rules, now_ms, retry_after_s)
                      : without_csr(device, rules, now_ms, retry_after_s);
}
