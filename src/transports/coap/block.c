/* Cutting bodies into blocks, and putting them together. */
#include "block.h"

#include <string.h>

#include <openssl/crypto.h>

#define SZX_BITS     7
#define MORE_BIT     8
#define NUMBER_SHIFT 4

struct cvm_coap_block cvm_coap_block_of(uint32_t value)
{
    return (struct cvm_coap_block){.number = value >> NUMBER_SHIFT,
        .has_more = (value & MORE_BIT) != 0,
        .szx = (uint8_t)(value & SZX_BITS)};
}

uint32_t cvm_coap_block_value(const struct cvm_coap_block *block)
{
    return block->number << NUMBER_SHIFT | (block->has_more ? MORE_BIT : 0U) | block->szx;
}

size_t cvm_coap_block_size(const struct cvm_coap_block *block)
{
    return (size_t)16 << block->szx;
}

size_t cvm_coap_block_offset(const struct cvm_coap_block *block)
{
    return (size_t)block->number << (block->szx + 4);
}

static void body_empty(struct cvm_coap_body *body)
{
    OPENSSL_cleanse(body->bytes, body->length); /* it may hold a token */
    body->length = 0;
}

static enum cvm_coap_body_verdict body_place(struct cvm_coap_body *body,
    const struct cvm_coap_block *block, const uint8_t *payload, size_t length)
{
    size_t offset = cvm_coap_block_offset(block), size = cvm_coap_block_size(block);
    if (length > size || (block->has_more && length != size))
        return COAP_BODY_WRONG;
    if (offset > body->length)
        return COAP_BODY_INCOMPLETE;
    if (offset + length > body->size)
        return COAP_BODY_TOO_LARGE;
    if (offset == body->length && length) {
        memcpy(body->bytes + offset, payload, length);
        body->length += length;
    }
    size_t end = offset + length;
    if (end > body->length || (!block->has_more && end != body->length) ||
        (length && CRYPTO_memcmp(body->bytes + offset, payload, length) != 0))
        return COAP_BODY_INCOMPLETE;
    return block->has_more ? COAP_BODY_CONTINUES : COAP_BODY_WHOLE;
}

enum cvm_coap_body_verdict cvm_coap_body_take(struct cvm_coap_body *body,
    const struct cvm_coap_block *block, const uint8_t *payload, size_t length)
{
    if (cvm_coap_block_offset(block) == 0)
        body_empty(body);
    enum cvm_coap_body_verdict verdict = body_place(body, block, payload, length);
    if (verdict > COAP_BODY_CONTINUES)
        body_empty(body);
    return verdict;
}

int32_t cvm_coap_block_cut(struct cvm_coap_block *block, size_t whole, size_t *length)
{
    size_t offset = cvm_coap_block_offset(block), size = cvm_coap_block_size(block);
    if (offset > whole || (offset == whole && offset))
        return -1;
    size_t left = whole - offset;
    block->has_more = left > size;
    *length = block->has_more ? size : left;
    return 0;
}
