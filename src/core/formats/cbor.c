/* CBOR: integer keys, DER where JSON has PEM, errors as concise problem details (RFC 9290). */
#include <string.h>
#include <strings.h>

#include "base/cbor.h"
#include "base/hex.h"
#include "base/pem.h"
#include "base/secret.h"
#include "error.h"
#include "formats/format.h"
#include "request.h"
#include "result.h"

#define MEDIA_TYPE      "application/cbor"
#define MOST_MEMBERS    64
#define DEEPEST_UNKNOWN 4

enum { REQUEST_KEY_UID = 1, REQUEST_KEY_TOKEN, REQUEST_KEY_CSR, REQUEST_KEY_HAVE };
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

static int32_t takes(const char *media_type, size_t length)
{
    return length == sizeof MEDIA_TYPE - 1 && strncasecmp(media_type, MEDIA_TYPE, length) == 0;
}

/* --- Reading ---------------------------------------------------------------------------------- */

/* A map that is read, with the keys that have been. */
struct members {
    struct cvm_cbor_reader reader;
    struct {
        const uint8_t *bytes;
        size_t length;
    } keys[MOST_MEMBERS];
    uint32_t count;
};

static cvm_error_t *refuse(const char *why)
{
    return cvm_error_new(REASON_invalid_request, "not a valid CBOR map: %s", why);
}

static cvm_error_t *read_text(
    struct members *members, cvm_request_t *request, enum cvm_request_field field)
{
    enum cvm_cbor_kind wanted = field == REQUEST_CSR ? CVM_CBOR_BYTES : CVM_CBOR_TEXT;
    struct cvm_cbor_item item;
    if (cvm_cbor_take(&members->reader, &item))
        return refuse(members->reader.why);
    if (item.kind != wanted)
        return cvm_error_new(REASON_invalid_request, "key %d must be %s", (int)field + 1,
            wanted == CVM_CBOR_BYTES ? "a byte string" : "a text string");
    return cvm_request_take(request, field, item.bytes, item.length);
}

static cvm_error_t *read_have(struct members *members, cvm_request_t *request)
{
    struct cvm_cbor_item list, id;
    if (cvm_cbor_take(&members->reader, &list))
        return refuse(members->reader.why);
    if (list.kind != CVM_CBOR_ARRAY || list.number < 1 || list.number > CVM_MOST_HAVE)
        return cvm_error_new(REASON_invalid_request, "key 4 must be an array of 1 to 8 hashes");
    for (request->have.count = 0; request->have.count < list.number; request->have.count++) {
        if (cvm_cbor_take(&members->reader, &id))
            return refuse(members->reader.why);
        if (id.kind != CVM_CBOR_BYTES || id.length != CVM_HAVE_SIZE)
            return cvm_error_new(
                REASON_invalid_request, "each hash in key 4 must be a byte string of 8 bytes");
        memcpy(request->have.ids[request->have.count], id.bytes, CVM_HAVE_SIZE);
    }
    return NULL;
}

static cvm_error_t *read_value(
    struct members *members, cvm_request_t *request, const struct cvm_cbor_item *key)
{
    switch (key->kind == CVM_CBOR_UNSIGNED ? key->number : 0) {
    case REQUEST_KEY_UID:
        return read_text(members, request, REQUEST_UID);
    case REQUEST_KEY_TOKEN:
        return read_text(members, request, REQUEST_TOKEN);
    case REQUEST_KEY_CSR:
        return read_text(members, request, REQUEST_CSR);
    case REQUEST_KEY_HAVE:
        return read_have(members, request);
    default: /* others may know it */
        return cvm_cbor_skip(&members->reader, DEEPEST_UNKNOWN) ? refuse(members->reader.why)
                                                                : NULL;
    }
}

/* Keys are numbers or strings, each of them once. */
static cvm_error_t *read_member(struct members *members, cvm_request_t *request)
{
    struct cvm_cbor_item key;
    const uint8_t *bytes = members->reader.at;
    if (cvm_cbor_take(&members->reader, &key))
        return refuse(members->reader.why);
    if (key.kind > CVM_CBOR_TEXT)
        return refuse("there is a key that is no number and no string");
    size_t length = (size_t)(members->reader.at - bytes);
    for (uint32_t i = 0; i < members->count; i++)
        if (members->keys[i].length == length && memcmp(members->keys[i].bytes, bytes, length) == 0)
            return refuse("there is a key twice");
    members->keys[members->count].bytes = bytes;
    members->keys[members->count++].length = length;
    return read_value(members, request, &key);
}

static cvm_error_t *cbor_read(cvm_request_t *request, const char *bytes, size_t length)
{
    const uint8_t *at = (const uint8_t *)bytes;
    struct members members = {.reader = {.at = at, .end = at + length}};
    struct cvm_cbor_item map;
    if (cvm_cbor_take(&members.reader, &map))
        return refuse(members.reader.why);
    if (map.kind != CVM_CBOR_MAP)
        return refuse("it is something else");
    if (map.number > MOST_MEMBERS)
        return refuse("it has more than 64 members");
    cvm_error_t *error = NULL;
    while (!error && members.count < map.number)
        error = read_member(&members, request);
    if (!error && members.reader.at != members.reader.end)
        error = refuse("there are bytes behind it");
    return error;
}

/* --- Rendering -------------------------------------------------------------------------------- */

static int32_t has(const struct cvm_have *have, const unsigned char *der, long length)
{
    char sha256[CVM_SHA256_HEX_SIZE], id[2 * CVM_HAVE_SIZE + 1];
    if (!have->count || cvm_sha256_hex(der, (size_t)length, sha256))
        return 0;
    for (uint32_t i = 0; i < have->count; i++) {
        cvm_hex(have->ids[i], CVM_HAVE_SIZE, id);
        if (memcmp(id, sha256, sizeof id - 1) == 0)
            return 1;
    }
    return 0;
}

static void add_der(struct cvm_buffer *body, int64_t key, const char *pem)
{
    unsigned char *der = NULL;
    long length = 0;
    if (cvm_pem_take(&pem, &der, &length) != 1) {
        body->failed = 1;
        return;
    }
    cvm_cbor_add_integer(body, key);
    cvm_cbor_add_bytes(body, der, (size_t)length);
    cvm_secret_free(der, (size_t)length);
}

/* All of a PEM that the device has not; how many those are. */
static size_t add_missing(struct cvm_buffer *list, const char *pem, const struct cvm_have *have)
{
    unsigned char *der = NULL;
    long length = 0;
    size_t count = 0;
    int32_t taken;
    for (; (taken = cvm_pem_take(&pem, &der, &length)) == 1; cvm_secret_free(der, (size_t)length)) {
        if (has(have, der, length))
            continue;
        cvm_cbor_add_bytes(list, der, (size_t)length);
        count++;
    }
    list->failed |= taken < 0;
    return count;
}

static void add_list(
    struct cvm_buffer *body, int64_t key, const char *pem, const struct cvm_have *have)
{
    struct cvm_buffer list = {.most = body->most};
    size_t count = add_missing(&list, pem, have);
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
    add_der(body, ANSWER_KEY_CERTIFICATE, result->certificate);
    add_list(body, ANSWER_KEY_CHAIN, result->chain, result->have);
    add_list(body, ANSWER_KEY_TRUST_ANCHORS, result->root_ca, result->have);
    cvm_cbor_add_integer(body, ANSWER_KEY_SERVER_TIME);
    cvm_cbor_add_integer(body, result->server_time_s);
    if (result->private_key)
        add_der(body, ANSWER_KEY_PRIVATE_KEY, result->private_key);
}

static void cbor_render_error(
    const cvm_error_t *error, const char *request_id, struct cvm_buffer *body)
{
    (void)request_id; /* a small device has nobody to tell it to; the log has the peer */
    cvm_cbor_add_map(body, 2);
    cvm_cbor_add_integer(body, ERROR_KEY_TITLE);
    cvm_cbor_add_text(body, cvm_error_name(error));
    cvm_cbor_add_integer(body, ERROR_KEY_DETAIL);
    cvm_cbor_add_text(body, error->text);
}

const struct cvm_format CVM_FORMAT_CBOR = {
    .media_type = MEDIA_TYPE,
    .error_type = "application/concise-problem-details+cbor",
    .takes = takes,
    .read = cbor_read,
    .render = cbor_render,
    .render_error = cbor_render_error,
};
