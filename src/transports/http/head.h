/* The head of an HTTP answer. */
#ifndef CVM_HTTP_HEAD_H
#define CVM_HTTP_HEAD_H

#include <stddef.h>
#include <stdint.h>

struct cvm_head {
    int32_t status, must_close;
    const char *media_type;
    const char *extra; /* more headers, each ended by CR LF; may be NULL */
    size_t length;     /* the body's */
};

/* Prints a head into size bytes. Returns its length, or 0 if it does not fit: then there is nothing
 * that may be sent. */
size_t cvm_head_print(const struct cvm_head *head, char *text, size_t size);

#endif
