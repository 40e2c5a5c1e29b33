/* The codec of CoAP against libcoap's: what both take has the same type, token, options and
 * payload; what libcoap takes and ours does not is of a kind that is named below. Beyond that, what
 * was read is written and read again, and blocks make no body that is longer than its memory. */
#include "fuzz.h"

#include <string.h>

#include <coap3/coap.h>

#include "transports/coap/options.h"

#define LARGEST 4096

/* --- Beside libcoap --------------------------------------------------------------------------- */

static void compare_options(const struct cvm_coap_message *ours, const coap_pdu_t *theirs)
{
    struct cvm_coap_walk walk = {.message = ours};
    struct cvm_coap_option option;
    coap_opt_iterator_t iterator;
    const coap_opt_t *found;
    if (!coap_option_iterator_init(theirs, &iterator, COAP_OPT_ALL)) {
        CHECK(!cvm_coap_next_option(&walk, &option));
        return;
    }
    while ((found = coap_option_next(&iterator))) {
        CHECK(cvm_coap_next_option(&walk, &option));
        CHECK(option.number == iterator.number && option.length == coap_opt_length(found) &&
              memcmp(option.value, coap_opt_value(found), option.length) == 0);
    }
    CHECK(!cvm_coap_next_option(&walk, &option));
}

static void compare(const struct cvm_coap_message *ours, const coap_pdu_t *theirs)
{
    coap_bin_const_t token = coap_pdu_get_token(theirs);
    const uint8_t *payload;
    size_t length;
    CHECK((int)ours->type == (int)coap_pdu_get_type(theirs) &&
          ours->code == (uint8_t)coap_pdu_get_code(theirs) &&
          ours->id == (uint16_t)coap_pdu_get_mid(theirs));
    CHECK(token.length == ours->token_length && memcmp(token.s, ours->token, token.length) == 0);
    if (!coap_get_data(theirs, &length, &payload))
        length = 0;
    CHECK(length == ours->payload_length);
    CHECK(!length || memcmp(payload, ours->payload, length) == 0);
    compare_options(ours, theirs);
}

/* libcoap's option numbers go round after 65535. */
static int32_t goes_round(const uint8_t *data, size_t size)
{
    const uint8_t *at = data + CVM_COAP_HEAD_SIZE + (data[0] & 15), *end = data + size;
    coap_option_t option;
    uint32_t number = 0;
    for (size_t used; at < end && *at != 0xff && number <= UINT16_MAX; at += used) {
        uint32_t nibble = *at >> 4;
        if (!(used = coap_opt_parse(at, (size_t)(end - at), &option)))
            break;
        number += nibble < 13    ? nibble
                  : nibble == 13 ? 13U + at[1]
                                 : 269U + ((uint32_t)at[1] << 8 | at[2]);
    }
    return number > UINT16_MAX;
}

/* RFC 7252 refuses these by §4.1 to §4.3 and §5.2, libcoap where it handles the message. */
static int32_t is_refused_elsewhere(const uint8_t *data)
{
    uint32_t class = data[1] >> 5, type = data[0] >> 4 & 3;
    return class == 1 || class == 3 || class > 5 || (!data[1] && type == COAP_MESSAGE_NON) ||
           (data[1] && type == COAP_MESSAGE_RST) || (data[1] && !class && type == COAP_MESSAGE_ACK);
}

static void check_beside_libcoap(
    const struct cvm_coap_message *ours, int32_t is_taken, const uint8_t *data, size_t size)
{
    coap_pdu_t *theirs = coap_pdu_init(COAP_MESSAGE_CON, COAP_EMPTY_CODE, 0, LARGEST);
    CHECK(theirs);
    int is_theirs = coap_pdu_parse(COAP_PROTO_UDP, data, size, theirs);
    if (is_taken && is_theirs)
        compare(ours, theirs);
    else if (is_theirs)
        CHECK(is_refused_elsewhere(data) || goes_round(data, size));
    coap_delete_pdu(theirs);
}

/* --- By itself -------------------------------------------------------------------------------- */

static void check_written_again(const struct cvm_coap_message *message)
{
    uint8_t bytes[LARGEST];
    struct cvm_coap_writer writer = {.bytes = bytes, .size = sizeof bytes};
    struct cvm_coap_walk walk = {.message = message};
    struct cvm_coap_option option;
    struct cvm_coap_message again;
    cvm_coap_write_head(&writer, message);
    while (cvm_coap_next_option(&walk, &option))
        cvm_coap_write_option(&writer, option.number, option.value, option.length);
    cvm_coap_write_payload(&writer, message->payload, message->payload_length);
    CHECK(!writer.failed && cvm_coap_read(&again, bytes, writer.length) == COAP_TAKEN);
    CHECK(again.code == message->code && again.options_length <= message->options_length &&
          again.payload_length == message->payload_length);
}

/* The payload's bytes say which blocks come, and how long they are. */
static void check_blocks(const struct cvm_coap_message *message)
{
    uint8_t memory[64];
    struct cvm_coap_body body = {.bytes = memory, .size = sizeof memory};
    for (size_t i = 0; i + 1 < message->payload_length; i += 2) {
        size_t left = message->payload_length - i, length = message->payload[i + 1] & 31;
        struct cvm_coap_block block = cvm_coap_block_of(message->payload[i] & 0xf9);
        enum cvm_coap_body_verdict verdict =
            cvm_coap_body_take(&body, &block, message->payload + i, length < left ? length : left);
        CHECK(body.length <= body.size && (verdict <= COAP_BODY_CONTINUES || !body.length));
    }
}

static void check_options(const struct cvm_coap_message *message)
{
    struct cvm_coap_options options;
    const char *why;
    uint8_t code = cvm_coap_read_options(&options, message, &why);
    CHECK(!code == !why && (!code || COAP_CLASS(code) >= 4));
    CHECK(*options.path == '/' && options.request_tags_length <= sizeof options.request_tags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cvm_coap_message message;
    if (size > LARGEST - 64)
        return 0;
    enum cvm_coap_verdict verdict = cvm_coap_read(&message, data, size);
    if (size >= CVM_COAP_HEAD_SIZE)
        check_beside_libcoap(&message, verdict == COAP_TAKEN, data, size);
    if (verdict != COAP_TAKEN)
        return 0;
    check_written_again(&message);
    check_options(&message);
    check_blocks(&message);
    return 0;
}
