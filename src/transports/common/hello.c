/* Following TLS records (RFC 8446 §5.1) just far enough to see how large a handshake message says
 * that it is. What is wrong in other ways is OpenSSL's to refuse. */
#include "transports/common/hello.h"

enum { CHANGE_CIPHER_SPEC = 20, HANDSHAKE_RECORD = 22, APPLICATION_DATA = 23 };
enum { CLIENT_HELLO = 1 };

/* A record's head is complete. A change of cipher behind a ClientHello means nothing (RFC 8446
 * §D.4; a session that goes on, where it would mean something, is not offered here). */
static void hello_begin_record(struct cvm_hello *hello)
{
    int32_t is_encrypted =
        hello->record[0] == APPLICATION_DATA ||
        (hello->record[0] == CHANGE_CIPHER_SPEC && hello->message[0] != CLIENT_HELLO);
    hello->record_size = 0;
    hello->record_left = (uint32_t)(hello->record[3] << 8 | hello->record[4]);
    hello->is_over |= is_encrypted;
}

/* A byte of a handshake record. 0, or -1 if it ends the head of a message that is too large. */
static int32_t hello_take_message(struct cvm_hello *hello, uint8_t byte)
{
    if (hello->message_left) {
        hello->message_left--;
        return 0;
    }
    hello->message[hello->message_size++] = byte;
    if (hello->message_size < sizeof hello->message)
        return 0;
    hello->message_size = 0;
    hello->message_left =
        (uint32_t)(hello->message[1] << 16 | hello->message[2] << 8) | hello->message[3];
    return hello->message_left > CVM_LARGEST_HANDSHAKE ? -1 : 0;
}

static int32_t hello_take_byte(struct cvm_hello *hello, uint8_t byte)
{
    if (hello->record_left) {
        hello->record_left--;
        return hello->record[0] == HANDSHAKE_RECORD ? hello_take_message(hello, byte) : 0;
    }
    hello->record[hello->record_size++] = byte;
    if (hello->record_size == sizeof hello->record)
        hello_begin_record(hello);
    return 0;
}

int32_t cvm_hello_take(struct cvm_hello *hello, const uint8_t *bytes, size_t length)
{
    if (length > CVM_LARGEST_HANDSHAKE - hello->taken)
        return -1;
    hello->taken += (uint32_t)length;
    for (size_t i = 0; i < length && !hello->is_over; i++)
        if (hello_take_byte(hello, bytes[i]))
            return -1;
    return 0;
}
