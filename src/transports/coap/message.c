/* The format of a message: a head of four bytes, a token, options, a payload. */
#include "message.h"

#include <string.h>

#define VERSION        1
#define PAYLOAD_MARKER 0xff
/* An option's delta and length are in 4 bits each, which stand for more from here on (§3.1). */
#define NIBBLE_BYTE     13
#define NIBBLE_TWO      14
#define NIBBLE_RESERVED 15
#define BYTE_FROM       13
#define TWO_FROM        269

/* --- Reading ---------------------------------------------------------------------------------- */

struct span {
    const uint8_t *at, *end;
};

/* Takes the number that a nibble stands for. 0, or -1 if it is cut or reserved. */
static int32_t message_take_number(struct span *rest, uint32_t nibble, uint32_t *number)
{
    size_t extra = nibble == NIBBLE_BYTE ? 1 : nibble == NIBBLE_TWO ? 2 : 0;
    if (nibble == NIBBLE_RESERVED || (size_t)(rest->end - rest->at) < extra)
        return -1;
    *number = extra == 0   ? nibble
              : extra == 1 ? BYTE_FROM + (uint32_t)rest->at[0]
                           : TWO_FROM + ((uint32_t)rest->at[0] << 8 | rest->at[1]);
    rest->at += extra;
    return 0;
}

/* Takes one option. number is that of the one before it, then of this one. 0, or -1. */
static int32_t message_take_option(struct span *rest, uint32_t *number, struct span *value)
{
    uint32_t first = *rest->at++, delta, length;
    if (message_take_number(rest, first >> 4, &delta) ||
        message_take_number(rest, first & 15, &length) || (size_t)(rest->end - rest->at) < length ||
        *number + delta > UINT16_MAX)
        return -1;
    *number += delta;
    *value = (struct span){rest->at, rest->at + length};
    rest->at += length;
    return 0;
}

/* The options end at the marker, behind which there is a payload, or with the message. */
static int32_t message_take_options(struct cvm_coap_message *message, struct span rest)
{
    uint32_t number = 0;
    struct span value;
    message->options = rest.at;
    while (rest.at < rest.end && *rest.at != PAYLOAD_MARKER)
        if (message_take_option(&rest, &number, &value))
            return -1;
    message->options_length = (size_t)(rest.at - message->options);
    if (rest.at == rest.end)
        return 0;
    message->payload = rest.at + 1;
    message->payload_length = (size_t)(rest.end - message->payload);
    return message->payload_length ? 0 : -1;
}

/* Requests (class 0) and responses (2, 4, 5); the others are reserved (§3). */
static int32_t message_has_code(const struct cvm_coap_message *message)
{
    uint32_t class = COAP_CLASS(message->code);
    return class == 0 || class == 2 || class == 4 || class == 5;
}

/* An empty one is its head alone; a reset is empty, and no request is an acknowledgement (§4.1 to
 * §4.3, table 1). */
static int32_t message_fits_type(const struct cvm_coap_message *message, size_t length)
{
    if (message->code == COAP_EMPTY)
        return length == CVM_COAP_HEAD_SIZE && message->type != COAP_NON;
    return message->type != COAP_RST &&
           !(message->type == COAP_ACK && COAP_CLASS(message->code) == 0);
}

enum cvm_coap_verdict cvm_coap_read(
    struct cvm_coap_message *message, const uint8_t *bytes, size_t length)
{
    *message = (struct cvm_coap_message){.type = COAP_CON};
    if (length < CVM_COAP_HEAD_SIZE || bytes[0] >> 6 != VERSION)
        return COAP_IGNORED;
    message->type = (enum cvm_coap_type)(bytes[0] >> 4 & 3);
    message->code = bytes[1];
    message->id = (uint16_t)(bytes[2] << 8 | bytes[3]);
    size_t token_length = bytes[0] & 15;
    if (token_length > CVM_COAP_LONGEST_TOKEN || length < CVM_COAP_HEAD_SIZE + token_length ||
        !message_has_code(message) || !message_fits_type(message, length))
        return COAP_REJECTED;
    memcpy(message->token, bytes + CVM_COAP_HEAD_SIZE, token_length);
    message->token_length = (uint8_t)token_length;
    struct span rest = {bytes + CVM_COAP_HEAD_SIZE + token_length, bytes + length};
    return message_take_options(message, rest) ? COAP_REJECTED : COAP_TAKEN;
}

int32_t cvm_coap_next_option(struct cvm_coap_walk *walk, struct cvm_coap_option *option)
{
    const struct cvm_coap_message *message = walk->message;
    if (walk->at == message->options_length)
        return 0;
    struct span rest = {message->options + walk->at, message->options + message->options_length};
    struct span value;
    uint32_t number = walk->number;
    if (message_take_option(&rest, &number, &value))
        return 0;
    walk->at = (size_t)(rest.at - message->options);
    walk->number = (uint16_t)number;
    *option = (struct cvm_coap_option){
        .number = walk->number, .value = value.at, .length = (size_t)(value.end - value.at)};
    return 1;
}

uint32_t cvm_coap_uint(const struct cvm_coap_option *option)
{
    uint32_t value = 0;
    for (size_t i = 0; i < option->length; i++)
        value = value << 8 | option->value[i];
    return value;
}

/* --- Writing ---------------------------------------------------------------------------------- */

static void writer_add(struct cvm_coap_writer *writer, const void *bytes, size_t length)
{
    if (writer->failed || length > writer->size - writer->length) {
        writer->failed = 1;
        return;
    }
    if (length)
        memcpy(writer->bytes + writer->length, bytes, length);
    writer->length += length;
}

void cvm_coap_write_head(struct cvm_coap_writer *writer, const struct cvm_coap_message *message)
{
    const uint8_t head[CVM_COAP_HEAD_SIZE] = {
        (uint8_t)(VERSION << 6 | (uint32_t)message->type << 4 | message->token_length),
        message->code, (uint8_t)(message->id >> 8), (uint8_t)message->id};
    if (message->token_length > CVM_COAP_LONGEST_TOKEN)
        writer->failed = 1;
    writer_add(writer, head, sizeof head);
    writer_add(writer, message->token, message->token_length);
}

/* Returns the nibble for a number; extra gets the bytes that follow the option's first one. */
static uint32_t writer_split(uint32_t number, uint8_t extra[2], size_t *extra_length)
{
    if (number < BYTE_FROM) {
        *extra_length = 0;
        return number;
    }
    if (number < TWO_FROM) {
        extra[0] = (uint8_t)(number - BYTE_FROM);
        *extra_length = 1;
        return NIBBLE_BYTE;
    }
    extra[0] = (uint8_t)((number - TWO_FROM) >> 8);
    extra[1] = (uint8_t)(number - TWO_FROM);
    *extra_length = 2;
    return NIBBLE_TWO;
}

void cvm_coap_write_option(
    struct cvm_coap_writer *writer, uint16_t number, const void *value, size_t length)
{
    uint8_t delta_extra[2], length_extra[2];
    size_t delta_size, length_size;
    if (number < writer->number || length > UINT16_MAX) {
        writer->failed = 1;
        return;
    }
    uint32_t delta = writer_split((uint32_t)(number - writer->number), delta_extra, &delta_size);
    uint32_t size = writer_split((uint32_t)length, length_extra, &length_size);
    const uint8_t first = (uint8_t)(delta << 4 | size);
    writer_add(writer, &first, 1);
    writer_add(writer, delta_extra, delta_size);
    writer_add(writer, length_extra, length_size);
    writer_add(writer, value, length);
    writer->number = number;
}

void cvm_coap_write_uint(struct cvm_coap_writer *writer, uint16_t number, uint32_t value)
{
    const uint8_t bytes[4] = {
        (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    size_t skip = 0;
    while (skip < sizeof bytes && !bytes[skip])
        skip++;
    cvm_coap_write_option(writer, number, bytes + skip, sizeof bytes - skip);
}

void cvm_coap_write_payload(struct cvm_coap_writer *writer, const void *payload, size_t length)
{
    static const uint8_t MARKER = PAYLOAD_MARKER;
    if (!length)
        return;
    writer_add(writer, &MARKER, 1);
    writer_add(writer, payload, length);
}
