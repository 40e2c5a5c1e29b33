/* A registration's payload in CBOR: what CVM_FORMAT_CBOR.read takes is what libcbor's own tree
 * holds, and nothing is behind it. */
#include "fuzz.h"

#include <string.h>

#include <cbor.h>

#include "error.h"
#include "formats/format.h"
#include "request.h"

/* The value of a small key; NULL if there is none. */
static const cbor_item_t *value_of(const cbor_item_t *map, uint64_t key)
{
    const struct cbor_pair *pairs = cbor_map_handle(map);
    for (size_t i = 0; i < cbor_map_size(map); i++)
        if (cbor_isa_uint(pairs[i].key) && cbor_get_int(pairs[i].key) == key)
            return pairs[i].value;
    return NULL;
}

static void compare_text(const cbor_item_t *item, const char *text)
{
    CHECK(!item == !text);
    if (text)
        CHECK(cbor_isa_string(item) && cbor_string_is_definite(item) &&
              cbor_string_length(item) == strlen(text) &&
              memcmp(cbor_string_handle(item), text, strlen(text)) == 0);
}

static void compare_csr(const cbor_item_t *item, const cvm_request_t *request)
{
    CHECK(!item == !request->csr);
    if (item)
        CHECK(cbor_isa_bytestring(item) && cbor_bytestring_is_definite(item) &&
              cbor_bytestring_length(item) == request->csr_length &&
              memcmp(cbor_bytestring_handle(item), request->csr, request->csr_length) == 0);
}

static void compare_have(const cbor_item_t *item, const struct cvm_have *have)
{
    CHECK(!item == !have->count);
    if (!item)
        return;
    CHECK(cbor_isa_array(item) && cbor_array_size(item) == have->count);
    for (uint32_t i = 0; i < have->count; i++) {
        const cbor_item_t *id = cbor_array_handle(item)[i];
        CHECK(cbor_isa_bytestring(id) && cbor_bytestring_length(id) == CVM_HAVE_SIZE &&
              memcmp(cbor_bytestring_handle(id), have->ids[i], CVM_HAVE_SIZE) == 0);
    }
}

static void check_read(const cvm_request_t *request, const uint8_t *data, size_t size)
{
    struct cbor_load_result result;
    cbor_item_t *tree = cbor_load(data, size, &result);
    CHECK(tree && result.read == size && cbor_isa_map(tree) && cbor_map_is_definite(tree));
    compare_text(value_of(tree, 1), request->uid);
    compare_text(value_of(tree, 2), request->token);
    compare_csr(value_of(tree, 3), request);
    compare_have(value_of(tree, 4), &request->have);
    cbor_decref(&tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cvm_request_t *request = cvm_request_new();
    CHECK(request);
    cvm_error_t *error = CVM_FORMAT_CBOR.read(request, (const char *)data, size);
    if (error)
        CHECK(error->reason == REASON_invalid_request && *cvm_error_text(error));
    else
        check_read(request, data, size);
    cvm_error_free(error);
    cvm_request_free(request);
    return 0;
}
