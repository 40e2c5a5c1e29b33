/* Text that grows, up to a bound: requests to other systems are written into one. What fails is
 * kept, so that only the end has to be looked at. */
#ifndef CVM_BASE_BUFFER_H
#define CVM_BASE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

/* In zeroes but for `most` it is empty. */
struct cvm_buffer {
    char *text; /* ended by NUL; NULL while nothing was added */
    size_t length, size;
    size_t most;    /* bytes that it may come to, the NUL among them */
    int32_t failed; /* something did not fit, or there was no memory */
};

void cvm_buffer_add(struct cvm_buffer *buffer, const void *bytes, size_t length);
void cvm_buffer_text(struct cvm_buffer *buffer, const char *text);
void cvm_buffer_number(struct cvm_buffer *buffer, int64_t number);
/* As printf() does; at most 255 bytes of it. */
void cvm_buffer_format(struct cvm_buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As a string of JSON (RFC 8259 §7), with its quotes; text is UTF-8. */
void cvm_buffer_json(struct cvm_buffer *buffer, const char *text);
/* Empties it, and keeps its memory. */
void cvm_buffer_clear(struct cvm_buffer *buffer);
/* Wipes and frees what it holds. */
void cvm_buffer_free(struct cvm_buffer *buffer);

#endif
