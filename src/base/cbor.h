/* CBOR (RFC 8949), as messages of fixed forms need it: read strictly, one item after another, and
 * written deterministically (§4.2.1). libcbor alone takes lengths that its caller's memory can't
 * hold, text that is no UTF-8, and whatever else a device does not send. Any thread. */
#ifndef CVM_BASE_CBOR_H
#define CVM_BASE_CBOR_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum cvm_cbor_kind {
    CVM_CBOR_UNSIGNED,
    CVM_CBOR_NEGATIVE, /* -1 - number */
    CVM_CBOR_BYTES,
    CVM_CBOR_TEXT,
    CVM_CBOR_ARRAY,
    CVM_CBOR_MAP,
    CVM_CBOR_SIMPLE /* false, true, null, undefined */
};

struct cvm_cbor_item {
    enum cvm_cbor_kind kind;
    uint64_t number;      /* at most 2^53; of arrays and maps: how many items or pairs follow */
    const uint8_t *bytes; /* of bytes and text: in what is read */
    size_t length;
};

struct cvm_cbor_reader {
    const uint8_t *at, *end;
    const char *why; /* what was wrong; static */
};

/* Takes the next item; what is in an array or a map follows it. 0, or -1 and reader->why: an
 * indefinite length, a tag, a floating-point number, a number above 2^53, a length of 8 bytes, text
 * that is no UTF-8, or bytes that are no CBOR. */
int32_t cvm_cbor_take(struct cvm_cbor_reader *reader, struct cvm_cbor_item *item);
/* Passes over the next item with all that is in it, if that is at most depth deep (1: neither an
 * array nor a map). 0, or -1 and reader->why. */
int32_t cvm_cbor_skip(struct cvm_cbor_reader *reader, uint32_t depth);

void cvm_cbor_add_integer(struct cvm_buffer *buffer, int64_t number);
void cvm_cbor_add_bytes(struct cvm_buffer *buffer, const void *bytes, size_t length);
void cvm_cbor_add_text(struct cvm_buffer *buffer, const char *text);
/* So many items, or pairs, are to be added behind it; a map's keys in the order of their bytes. */
void cvm_cbor_add_array(struct cvm_buffer *buffer, size_t count);
void cvm_cbor_add_map(struct cvm_buffer *buffer, size_t count);

#endif
