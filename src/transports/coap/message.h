/* CoAP messages as bytes (RFC 7252 §3). Nothing here knows a socket; what options mean is in
 * options.h, what blocks are in block.h. Any thread. */
#ifndef CVM_COAP_MESSAGE_H
#define CVM_COAP_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#define CVM_COAP_LONGEST_TOKEN 8
#define CVM_COAP_HEAD_SIZE     4

enum cvm_coap_type { COAP_CON, COAP_NON, COAP_ACK, COAP_RST };

/* Codes as they are written: 4.04 is COAP_CODE(4, 4). */
#define COAP_CODE(class, detail) ((uint8_t)((class) << 5 | (detail)))
#define COAP_CLASS(code)         ((uint32_t)(code) >> 5)
#define COAP_EMPTY               COAP_CODE(0, 0)
#define COAP_GET                 COAP_CODE(0, 1)
#define COAP_POST                COAP_CODE(0, 2)

struct cvm_coap_message {
    enum cvm_coap_type type;
    uint8_t code;
    uint16_t id;
    uint8_t token[CVM_COAP_LONGEST_TOKEN], token_length;
    /* In what was read; their form was checked. */
    const uint8_t *options, *payload;
    size_t options_length, payload_length; /* a payload of 0 bytes is none */
};

/* What becomes of a datagram (§3, §4.2, §4.3). */
enum cvm_coap_verdict {
    COAP_TAKEN,
    COAP_REJECTED, /* its format is wrong: a CON, whose id was read, is reset; others are ignored */
    COAP_IGNORED   /* it is too short, or of another version */
};

enum cvm_coap_verdict cvm_coap_read(
    struct cvm_coap_message *message, const uint8_t *bytes, size_t length);

struct cvm_coap_option {
    uint16_t number;
    const uint8_t *value;
    size_t length;
};

/* Goes through the options of a message that was taken; all zero but for message at first. Returns
 * 1 and the next option, or 0 after the last. */
struct cvm_coap_walk {
    const struct cvm_coap_message *message;
    size_t at;
    uint16_t number;
};
int32_t cvm_coap_next_option(struct cvm_coap_walk *walk, struct cvm_coap_option *option);
/* Returns a value that is a uint (§3.2) of at most 4 bytes; leading zeros are fine. */
uint32_t cvm_coap_uint(const struct cvm_coap_option *option);

/* Writes a message into size bytes; failed once something did not fit. Options in the order of
 * their numbers, then the payload. */
struct cvm_coap_writer {
    uint8_t *bytes;
    size_t size, length;
    uint16_t number; /* of the last option */
    int32_t failed;
};
/* Writes the type, code, id and token of message. */
void cvm_coap_write_head(struct cvm_coap_writer *writer, const struct cvm_coap_message *message);
void cvm_coap_write_option(
    struct cvm_coap_writer *writer, uint16_t number, const void *value, size_t length);
/* Writes value in as few bytes as it takes; 0 takes none. */
void cvm_coap_write_uint(struct cvm_coap_writer *writer, uint16_t number, uint32_t value);
/* Writes nothing if length is 0. */
void cvm_coap_write_payload(struct cvm_coap_writer *writer, const void *payload, size_t length);

#endif
