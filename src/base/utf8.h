/* UTF-8 (RFC 3629). */
#ifndef CVM_BASE_UTF8_H
#define CVM_BASE_UTF8_H

#include <stddef.h>

/* How many bytes the character at the front of length bytes has (length > 0): 1 to 4, in its
 * shortest form, no surrogate, not past U+10FFFF. 0 if there is none. */
size_t cvm_utf8_length(const unsigned char *bytes, size_t length);

#endif
