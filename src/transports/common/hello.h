/* How much a client may say before its handshake is done: the ClientHello's size above all, for
 * which OpenSSL sets 128 KiB of memory aside as soon as a client names that size. */
#ifndef CVM_TRANSPORTS_HELLO_H
#define CVM_TRANSPORTS_HELLO_H

#include <stddef.h>
#include <stdint.h>

/* A ClientHello has 300 to 2,000 bytes; there may be two (RFC 8446 §4.1.4), and what follows
 * without a client's certificate is small. */
#define CVM_LARGEST_HANDSHAKE 16384

/* Follows the bytes of a TLS client; all zero at first. */
struct cvm_hello {
    uint32_t taken;                     /* bytes in all */
    uint8_t record[5], message[4];      /* a record's head, a handshake message's */
    uint32_t record_size, message_size; /* how much of each is there */
    uint32_t record_left, message_left; /* how much of what they announce is to come */
    int32_t is_over;                    /* what follows is encrypted */
};

/* Takes what came. 0, or -1 if it is, or will be, more than a handshake may be. */
int32_t cvm_hello_take(struct cvm_hello *hello, const uint8_t *bytes, size_t length);

#endif
