/* A certificate that a CRL lists. */
#ifndef CVM_BASE_LISTED_H
#define CVM_BASE_LISTED_H

#include <stdint.h>

#define CVM_LISTED_HOLD "certificateHold" /* the one reason that is not for good */

struct cvm_listed {
    char serial[41], issuer[41];         /* hex; the issuer's key id */
    char reason[25];                     /* RFC 5280 §5.3.1's name, "" for unspecified */
    int64_t revoked_at_ms, not_after_ms; /* the latter: its issuer's, it can't end later */
};

#endif
