/* "Asked again": what a device that proved its token is told, given its record. A pure function. */
#ifndef CVM_CORE_AGAIN_H
#define CVM_CORE_AGAIN_H

#include <stdint.h>

#include "cvm/plugin.h"

#define CVM_ORIGIN_CSR    "csr"
#define CVM_ORIGIN_SERVER "server"

#define CVM_LEASE_MS INT64_C(60000) /* more than any deadline of a well-kept platform */

enum cvm_again {
    AGAIN_ISSUE,   /* not registered: make a certificate */
    AGAIN_REISSUE, /* make another one: the answer to the last may have been lost, or that one is
                      over, or was made by a wrong clock */
    AGAIN_SAME,    /* answer the current certificate */
    AGAIN_IN_PROGRESS, /* not now: *retry_after_s */
    AGAIN_REGISTERED,  /* not any more */
    AGAIN_OTHER_KEY    /* not with this key; it may be a clone */
};

struct cvm_again_rules {
    int64_t reissue_after_ms, retry_window_ms, retry_max;
};

/* csr_sha256: the hash of the request's key, or NULL without a CSR. current: the current
 * certificate, or NULL if there is none. owner: this request's
 * own lease. */
enum cvm_again cvm_again(const cvm_record_t *device, const cvm_record_t *current,
    const char *csr_sha256, const char *owner, const struct cvm_again_rules *rules, int64_t now_ms,
    uint32_t *retry_after_s);

#endif
