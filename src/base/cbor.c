/* A check of an item's head, then libcbor, then a check of what it found. */
#include "cbor.h"

#include <string.h>

#include <cbor.h>

#include "utf8.h"

#define LARGEST_NUMBER ((uint64_t)1 << 53) /* that every reader can hold */
#define LONGEST_HEAD   9

/* What the initial byte says (§3). */
#define MAJOR_TYPE(byte) ((byte) >> 5)
#define ADDITIONAL(byte) ((byte)&31)
enum { MAJOR_NEGATIVE = 1, MAJOR_TAG = 6, MAJOR_SIMPLE = 7 };
enum { FALSE_VALUE = 20, UNDEFINED_VALUE = 23, EIGHT_BYTES = 27, INDEFINITE = 31 };

#if CBOR_MAJOR_VERSION == 0 && CBOR_MINOR_VERSION < 9
typedef size_t item_length;
#else
typedef uint64_t item_length;
#endif

static int32_t reader_refuse(struct cvm_cbor_reader *reader, const char *why)
{
    reader->why = why;
    return -1;
}

/* --- What libcbor calls ----------------------------------------------------------------------- */

static void item_set_number(void *item, enum cvm_cbor_kind kind, uint64_t number)
{
    *(struct cvm_cbor_item *)item = (struct cvm_cbor_item){.kind = kind, .number = number};
}

static void item_set_string(
    void *item, enum cvm_cbor_kind kind, const uint8_t *bytes, item_length length)
{
    *(struct cvm_cbor_item *)item =
        (struct cvm_cbor_item){.kind = kind, .bytes = bytes, .length = (size_t)length};
}

#define ON_NUMBER(name, type, kind)                                                                \
    static void name(void *item, type number)                                                      \
    {                                                                                              \
        item_set_number(item, kind, number);                                                       \
    }
ON_NUMBER(item_on_unsigned8, uint8_t, CVM_CBOR_UNSIGNED)
ON_NUMBER(item_on_unsigned16, uint16_t, CVM_CBOR_UNSIGNED)
ON_NUMBER(item_on_unsigned32, uint32_t, CVM_CBOR_UNSIGNED)
ON_NUMBER(item_on_unsigned64, uint64_t, CVM_CBOR_UNSIGNED)
ON_NUMBER(item_on_negative8, uint8_t, CVM_CBOR_NEGATIVE)
ON_NUMBER(item_on_negative16, uint16_t, CVM_CBOR_NEGATIVE)
ON_NUMBER(item_on_negative32, uint32_t, CVM_CBOR_NEGATIVE)
ON_NUMBER(item_on_negative64, uint64_t, CVM_CBOR_NEGATIVE)
ON_NUMBER(item_on_array, item_length, CVM_CBOR_ARRAY)
ON_NUMBER(item_on_map, item_length, CVM_CBOR_MAP)
#undef ON_NUMBER

static void item_on_bytes(void *item, cbor_data bytes, item_length length)
{
    item_set_string(item, CVM_CBOR_BYTES, bytes, length);
}

static void item_on_text(void *item, cbor_data bytes, item_length length)
{
    item_set_string(item, CVM_CBOR_TEXT, bytes, length);
}

static void item_on_boolean(void *item, bool value)
{
    item_set_number(item, CVM_CBOR_SIMPLE, value);
}

static void item_on_simple(void *item)
{
    item_set_number(item, CVM_CBOR_SIMPLE, 0);
}

/* Those that are missing are never called: heads of their kinds are refused before. */
static const struct cbor_callbacks CALLBACKS = {
    .uint8 = item_on_unsigned8,
    .uint16 = item_on_unsigned16,
    .uint32 = item_on_unsigned32,
    .uint64 = item_on_unsigned64,
    .negint8 = item_on_negative8,
    .negint16 = item_on_negative16,
    .negint32 = item_on_negative32,
    .negint64 = item_on_negative64,
    .byte_string = item_on_bytes,
    .string = item_on_text,
    .array_start = item_on_array,
    .map_start = item_on_map,
    .boolean = item_on_boolean,
    .null = item_on_simple,
    .undefined = item_on_simple,
};

/* --- Reading ---------------------------------------------------------------------------------- */

static int32_t reader_check_head(struct cvm_cbor_reader *reader)
{
    if (reader->at == reader->end)
        return reader_refuse(reader, "it is cut short");
    uint32_t major = MAJOR_TYPE(*reader->at), additional = ADDITIONAL(*reader->at);
    if (major == MAJOR_TAG)
        return reader_refuse(reader, "there is a tag");
    if (major == MAJOR_SIMPLE && (additional < FALSE_VALUE || additional > UNDEFINED_VALUE))
        return reader_refuse(reader, "there is a number or a value of a kind that is not taken");
    if (additional == INDEFINITE)
        return reader_refuse(reader, "there is an indefinite length");
    if (additional == EIGHT_BYTES && major > MAJOR_NEGATIVE)
        return reader_refuse(reader, "there is a length of 8 bytes");
    return 0;
}

static int32_t reader_check_text(struct cvm_cbor_reader *reader, const struct cvm_cbor_item *text)
{
    const uint8_t *at = text->bytes;
    for (size_t left = text->length, length; left; at += length, left -= length)
        if (!(length = cvm_utf8_length(at, left)))
            return reader_refuse(reader, "there is text that is no UTF-8");
    return 0;
}

/* What follows takes a byte for each item at least. */
static int32_t reader_check_item(struct cvm_cbor_reader *reader, const struct cvm_cbor_item *item)
{
    uint64_t left = (uint64_t)(reader->end - reader->at);
    if (item->number > LARGEST_NUMBER)
        return reader_refuse(reader, "there is a number above 2^53");
    if ((item->kind == CVM_CBOR_ARRAY && item->number > left) ||
        (item->kind == CVM_CBOR_MAP && item->number > left / 2))
        return reader_refuse(reader, "it is cut short");
    return item->kind == CVM_CBOR_TEXT ? reader_check_text(reader, item) : 0;
}

int32_t cvm_cbor_take(struct cvm_cbor_reader *reader, struct cvm_cbor_item *item)
{
    if (reader_check_head(reader))
        return -1;
    struct cbor_decoder_result result =
        cbor_stream_decode(reader->at, (size_t)(reader->end - reader->at), &CALLBACKS, item);
    if (result.status != CBOR_DECODER_FINISHED)
        return reader_refuse(
            reader, result.status == CBOR_DECODER_NEDATA ? "it is cut short" : "there is no CBOR");
    reader->at += result.read;
    return reader_check_item(reader, item);
}

int32_t cvm_cbor_skip(struct cvm_cbor_reader *reader, uint32_t depth)
{
    struct cvm_cbor_item item;
    if (cvm_cbor_take(reader, &item))
        return -1;
    uint64_t inner = item.kind == CVM_CBOR_ARRAY ? item.number
                     : item.kind == CVM_CBOR_MAP ? 2 * item.number
                                                 : 0;
    int32_t is_compound = item.kind == CVM_CBOR_ARRAY || item.kind == CVM_CBOR_MAP;
    if (is_compound && depth <= 1)
        return reader_refuse(reader, "it is nested too deep");
    for (uint64_t i = 0; i < inner; i++)
        if (cvm_cbor_skip(reader, depth - 1))
            return -1;
    return 0;
}

/* --- Writing ---------------------------------------------------------------------------------- */

void cvm_cbor_add_integer(struct cvm_buffer *buffer, int64_t number)
{
    unsigned char head[LONGEST_HEAD];
    cvm_buffer_add(buffer, head,
        number < 0 ? cbor_encode_negint((uint64_t)(-1 - number), head, sizeof head)
                   : cbor_encode_uint((uint64_t)number, head, sizeof head));
}

void cvm_cbor_add_bytes(struct cvm_buffer *buffer, const void *bytes, size_t length)
{
    unsigned char head[LONGEST_HEAD];
    cvm_buffer_add(buffer, head, cbor_encode_bytestring_start(length, head, sizeof head));
    cvm_buffer_add(buffer, bytes, length);
}

void cvm_cbor_add_text(struct cvm_buffer *buffer, const char *text)
{
    unsigned char head[LONGEST_HEAD];
    size_t length = strlen(text);
    cvm_buffer_add(buffer, head, cbor_encode_string_start(length, head, sizeof head));
    cvm_buffer_add(buffer, text, length);
}

void cvm_cbor_add_array(struct cvm_buffer *buffer, size_t count)
{
    unsigned char head[LONGEST_HEAD];
    cvm_buffer_add(buffer, head, cbor_encode_array_start(count, head, sizeof head));
}

void cvm_cbor_add_map(struct cvm_buffer *buffer, size_t count)
{
    unsigned char head[LONGEST_HEAD];
    cvm_buffer_add(buffer, head, cbor_encode_map_start(count, head, sizeof head));
}
