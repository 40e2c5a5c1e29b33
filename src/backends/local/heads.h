/* The heads: one value of the store that tells each issuer's newest CRL. It is read each second, so
 * the CRLs themselves lie beside it (parts.h). */
#ifndef CVM_LOCAL_HEADS_H
#define CVM_LOCAL_HEADS_H

#include "base/hex.h"
#include "ca.h"

#define HEADS_NAME "crl_heads"
#define NO_CRL     "-" /* in the place of a SHA-256 */

struct crl_head {
    char issuer[KEY_ID_SIZE];
    int64_t number, made_ms;
    uint32_t parts;
    char sha256[CVM_SHA256_HEX_SIZE]; /* of its DER */
    int64_t changes;                  /* one more with each CRL of the issuer */
    char after[CVM_SHA256_HEX_SIZE];  /* of the CRL whose entries it has carried over; NO_CRL: of
                                         none */
};

struct crl_heads {
    int64_t sequence; /* one more with each change */
    struct crl_head list[MOST_ISSUERS];
    uint32_t count;
};

/* 0, or -1 if it can't be understood. */
int32_t cvm_heads_parse(const char *text, struct crl_heads *heads);
/* Freed by the caller; NULL without memory. */
char *cvm_heads_text(const struct crl_heads *heads);
/* NULL if there is none. */
const struct crl_head *cvm_heads_find(const struct crl_heads *heads, const char *issuer);
/* How many CRLs of that issuer there were. */
int64_t cvm_heads_changes(const struct crl_heads *heads, const char *issuer);
/* In the place of that issuer's last one. 0, or -1 if there are too many issuers. */
int32_t cvm_heads_set(struct crl_heads *heads, const struct crl_head *head);
/* When the last change was made; 0 without any. */
int64_t cvm_heads_made_ms(const struct crl_heads *heads);

#endif
