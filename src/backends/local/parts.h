/* A CRL's DER in the store: immutable values of 192 kB, whose names tell the issuer, the number,
 * the DER's SHA-256 and which part it is, so that two who sign the same number are not in each
 * other's way. On the loop. */
#ifndef CVM_LOCAL_PARTS_H
#define CVM_LOCAL_PARTS_H

#include "heads.h"
#include "platform.h"

#define PART_PREFIX    "crl_part."
#define PART_NAME_SIZE (CVM_LONGEST_NAME + 1)

/* answer: OK, NOT_FOUND (a part is not there any more), BROKEN or UNAVAILABLE. der is what was got,
 * the callee's, by free(); else NULL. */
typedef void (*parts_done)(void *argument, cvm_answer_t answer, uint8_t *der, size_t length);

/* How many parts that makes. */
uint32_t cvm_parts_of(size_t length);
void cvm_part_name(const struct crl_head *head, uint32_t part, char name[PART_NAME_SIZE]);
/* Puts a CRL's DER, which is borrowed until then, in the parts that head tells of. done may be
 * called before this returns. */
void cvm_parts_put(struct platform *platform, const struct crl_head *head, const uint8_t *der,
    size_t length, parts_done done, void *argument);
/* Gets the DER that head tells of. Likewise. */
void cvm_parts_get(
    struct platform *platform, const struct crl_head *head, parts_done done, void *argument);

#endif
