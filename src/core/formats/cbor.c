/* CBOR: integer keys, DER where JSON has PEM, errors as concise problem details (RFC 9290). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cbor.h"
#include "base/hex.h"
#include "base/pem.h"
#include "error.h"
#include "formats/format.h"
#include "request.h"
#include "result.h"

#define MEDIA_TYPE      "application/cbor"
#define MOST_MEMBERS    64
#define DEEPEST_UNKNOWN 4
#define DER_SEQUENCE    0x30

enum { REQUEST_KEY_HAVE = 4 };
static const struct {
    uint64_t key;
    enum cvm_request_field field;
    enum cvm_cbor_kind kind;
} REQUEST_FIELDS[] = {{1, REQUEST_UID, CVM_CBOR_TEXT}, {2, REQUEST_TOKEN, CVM_CBOR_TEXT},
    {3, REQUEST_CSR, CVM_CBOR_BYTES}};
enum {
    ANSWER_KEY_ENDPOINT = 1,
    ANSWER_KEY_THING_NAME,
    ANSWER_KEY_CERTIFICATE,
    ANSWER_KEY_CHAIN,
    ANSWER_KEY_TRUST_ANCHORS,
    ANSWER_KEY_SERVER_TIME,
    ANSWER_KEY_PRIVATE_KEY
};
enum { ERROR_KEY_TITLE = -1, ERROR_KEY_DETAIL = -2 };

static int32_t cbor_takes(const char *media_type, size_t length)
{
    return length == sizeof MEDIA_TYPE - 1 && strncasecmp(media_type, MEDIA_TYPE, length) == 0;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* The map of a request, and the keys that were read. */
struct cbor_map {
    struct cvm_cbor_reader reader;
    struct cvm_cbor_item keys[MOST_MEMBERS];
    uint32_t count;
};

static cvm_error_t *cbor_refuse(const char *why)
{
    return cvm_error_new(REASON_invalid_request, "not a valid CBOR map: %s", why);
}

static cvm_error_t *cbor_read_field(struct cbor_map *map, cvm_request_t *request, size_t i)
{
    enum cvm_cbor_kind kind = REQUEST_FIELDS[i].kind;
    struct cvm_cbor_item item;
    if (cvm_cbor_take(&map->reader, &item))
        return cbor_refuse(map->reader.why);
    if (item.kind != kind)
        return cvm_error_new(REASON_invalid_request, "key %u must be %s",
            (unsigned int)REQUEST_FIELDS[i].key,
            kind == CVM_CBOR_BYTES ? "a byte string" : "a text string");
    if (kind == CVM_CBOR_BYTES && item.length && *item.bytes != DER_SEQUENCE) /* JSON has PEM */
        return cvm_error_new(REASON_invalid_request, "key 3 must be the CSR in DER");
    return cvm_request_take(request, REQUEST_FIELDS[i].field, item.bytes, item.length);
}

static cvm_error_t *cbor_read_have(struct cbor_map *map, cvm_request_t *request)
{
    struct cvm_cbor_item list, id;
    if (cvm_cbor_take(&map->reader, &list))
        return cbor_refuse(map->reader.why);
    if (list.kind != CVM_CBOR_ARRAY || list.number < 1 || list.number > CVM_MOST_HAVE)
        return cvm_error_new(REASON_invalid_request, "key 4 must be an array of 1 to 8 hashes");
    for (request->have.count = 0; request->have.count < list.number; request->have.count++) {
        if (cvm_cbor_take(&map->reader, &id))
            return cbor_refuse(map->reader.why);
        if (id.kind != CVM_CBOR_BYTES || id.length != CVM_HAVE_SIZE)
            return cvm_error_new(
                REASON_invalid_request, "each hash in key 4 must be a byte string of 8 bytes");
        memcpy(request->have.ids[request->have.count], id.bytes, CVM_HAVE_SIZE);
    }
    return NULL;
}

static cvm_error_t *cbor_read_value(
    struct cbor_map *map, cvm_request_t *request, const struct cvm_cbor_item *key)
{
    uint64_t number = key->kind == CVM_CBOR_UNSIGNED ? key->number : 0;
    for (size_t i = 0; i < sizeof REQUEST_FIELDS / sizeof REQUEST_FIELDS[0]; i++)
        if (REQUEST_FIELDS[i].key == number)
            return cbor_read_field(map, request, i);
    if (number == REQUEST_KEY_HAVE)
        return cbor_read_have(map, request);
    /* Another server may know it. */
    return cvm_cbor_skip(&map->reader, DEEPEST_UNKNOWN) ? cbor_refuse(map->reader.why) : NULL;
}

/* By value: a length may be written in more bytes than it needs. */
static int32_t cbor_is_same(const struct cvm_cbor_item *one, const struct cvm_cbor_item *other)
{
    return one->kind == other->kind && one->number == other->number &&
           one->length == other->length &&
           (!one->length || memcmp(one->bytes, other->bytes, one->length) == 0);
}

static cvm_error_t *cbor_read_member(struct cbor_map *map, cvm_request_t *request)
{
    struct cvm_cbor_item *key = &map->keys[map->count];
    if (cvm_cbor_take(&map->reader, key))
        return cbor_refuse(map->reader.why);
    if (key->kind > CVM_CBOR_TEXT)
        return cbor_refuse("there is a key that is no number and no string");
    for (uint32_t i = 0; i < map->count; i++)
        if (cbor_is_same(&map->keys[i], key))
            return cbor_refuse("there is a key twice");
    map->count++;
    return cbor_read_value(map, request, key);
}

static cvm_error_t *cbor_read(cvm_request_t *request, const char *bytes, size_t length)
{
    const uint8_t *at = (const uint8_t *)bytes;
    struct cbor_map map = {.reader = {.at = at, .end = at + length}};
    struct cvm_cbor_item head;
    if (cvm_cbor_take(&map.reader, &head))
        return cbor_refuse(map.reader.why);
    if (head.kind != CVM_CBOR_MAP)
        return cbor_refuse("it is something else");
    if (head.number > MOST_MEMBERS)
        return cbor_refuse("it has more than 64 members");
    cvm_error_t *error = NULL;
    while (!error && map.count < head.number)
        error = cbor_read_member(&map, request);
    if (!error && map.reader.at != map.reader.end)
        error = cbor_refuse("there are bytes behind it");
    return error;
}

/* --- Rendering -------------------------------------------------------------------------------- */

static int32_t cbor_has(const struct cvm_have *have, const unsigned char *der, long length)
{
    uint8_t digest[CVM_SHA256_SIZE];
    if (!have->count || cvm_sha256(der, (size_t)length, digest))
        return 0;
    for (uint32_t i = 0; i < have->count; i++)
        if (memcmp(have->ids[i], digest, CVM_HAVE_SIZE) == 0)
            return 1;
    return 0;
}

static void cbor_add_certificate(struct cvm_buffer *body, int64_t key, const char *pem)
{
    unsigned char *der;
    long length;
    if (cvm_pem_take(&pem, &der, &length) != 1) {
        body->failed = 1;
        return;
    }
    cvm_cbor_add_integer(body, key);
    cvm_cbor_add_bytes(body, der, (size_t)length);
    free(der);
}

/* Adds those certificates that the device lacks, and returns how many they are. */
static size_t cbor_add_missing(
    struct cvm_buffer *list, const char *pem, const struct cvm_have *have)
{
    unsigned char *der;
    long length;
    size_t count = 0;
    int32_t taken;
    for (; (taken = cvm_pem_take(&pem, &der, &length)) == 1; free(der)) {
        if (cbor_has(have, der, length))
            continue;
        cvm_cbor_add_bytes(list, der, (size_t)length);
        count++;
    }
    list->failed |= taken < 0;
    return count;
}

static void cbor_add_list(
    struct cvm_buffer *body, int64_t key, const char *pem, const struct cvm_have *have)
{
    struct cvm_buffer list = {.most = body->most};
    size_t count = cbor_add_missing(&list, pem, have);
    cvm_cbor_add_integer(body, key);
    cvm_cbor_add_array(body, count);
    if (list.length)
        cvm_buffer_add(body, list.text, list.length);
    body->failed |= list.failed;
    cvm_buffer_free(&list);
}

static void cbor_render(const cvm_result_t *result, struct cvm_buffer *body)
{
    cvm_cbor_add_map(body, result->private_key ? 7 : 6);
    cvm_cbor_add_integer(body, ANSWER_KEY_ENDPOINT);
    cvm_cbor_add_text(body, result->endpoint);
    cvm_cbor_add_integer(body, ANSWER_KEY_THING_NAME);
    cvm_cbor_add_text(body, result->thing_name);
    cbor_add_certificate(body, ANSWER_KEY_CERTIFICATE, result->certificate);
    cbor_add_list(body, ANSWER_KEY_CHAIN, result->chain, result->have);
    cbor_add_list(body, ANSWER_KEY_TRUST_ANCHORS, result->root_ca, result->have);
    cvm_cbor_add_integer(body, ANSWER_KEY_SERVER_TIME);
    cvm_cbor_add_integer(body, result->server_time_s);
    if (result->private_key) {
        cvm_cbor_add_integer(body, ANSWER_KEY_PRIVATE_KEY);
        cvm_cbor_add_bytes(body, result->private_key_der, result->private_key_length);
    }
}

static void cbor_render_error(
    const cvm_error_t *error, const char *request_id, struct cvm_buffer *body)
{
    (void)request_id; /* a small device has nobody to tell it to */
    cvm_cbor_add_map(body, 2);
    cvm_cbor_add_integer(body, ERROR_KEY_TITLE);
    cvm_cbor_add_text(body, cvm_error_name(error));
    cvm_cbor_add_integer(body, ERROR_KEY_DETAIL);
    cvm_cbor_add_text(body, error->text);
}

const struct cvm_format CVM_FORMAT_CBOR = {
    .media_type = MEDIA_TYPE,
    .error_type = "application/concise-problem-details+cbor",
    .takes = cbor_takes,
    .read = cbor_read,
    .render = cbor_render,
    .render_error = cbor_render_error,
};
