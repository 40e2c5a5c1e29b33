/* Blocks (RFC 7959): which part of a body a message has, and putting a body together. Any thread.
 */
#ifndef CVM_COAP_BLOCK_H
#define CVM_COAP_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#define CVM_COAP_LARGEST_SZX   6 /* blocks of 1,024 bytes */
#define CVM_COAP_LARGEST_BLOCK 1024

/* The value of a Block1 or Block2 option (§2.2). */
struct cvm_coap_block {
    uint32_t number; /* of 20 bits */
    int32_t has_more;
    uint8_t szx; /* the size is 16 << szx; 7 is reserved */
};

struct cvm_coap_block cvm_coap_block_of(uint32_t value);
uint32_t cvm_coap_block_value(const struct cvm_coap_block *block);
/* How many bytes a full one has, and where they begin in the body. */
size_t cvm_coap_block_size(const struct cvm_coap_block *block);
size_t cvm_coap_block_offset(const struct cvm_coap_block *block);

/* A body that arrives in blocks, in memory of its owner's, who wipes all of it at the end. In
 * zeroes but for bytes and size at first. */
struct cvm_coap_body {
    uint8_t *bytes;
    size_t size, length; /* room, and how much is there */
};

enum cvm_coap_body_verdict {
    COAP_BODY_WHOLE,
    COAP_BODY_CONTINUES,
    COAP_BODY_TOO_LARGE,  /* 4.13 */
    COAP_BODY_INCOMPLETE, /* 4.08: a block before it is missing */
    COAP_BODY_WRONG       /* 4.00: a block that is not full though more follow, or too full */
};

/* Takes the next block. The first one begins the body anew; one that is there already is passed
 * over if it says the same, so a whole body is told again for each double of its last block. After
 * an error the body is empty, and wiped. */
enum cvm_coap_body_verdict cvm_coap_body_take(struct cvm_coap_body *body,
    const struct cvm_coap_block *block, const uint8_t *payload, size_t length);

/* Computes the length of that block of a body of whole bytes, and sets has_more. 0, or -1 if it
 * lies behind the end. */
int32_t cvm_coap_block_cut(struct cvm_coap_block *block, size_t whole, size_t *length);

#endif
