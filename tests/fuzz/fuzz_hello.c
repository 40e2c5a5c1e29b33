/* What is followed of a TLS client's bytes is the same however they are cut, and no message that is
 * announced as too large gets past it in the clear. */
#include "fuzz.h"

#include <string.h>

#include "transports/common/hello.h"

static int32_t take_in_parts(struct cvm_hello *hello, const struct fuzz_stream *stream)
{
    size_t offset = 0;
    for (size_t i = 0; offset < stream->length; i++) {
        size_t part = fuzz_part(stream, i, offset);
        if (cvm_hello_take(hello, stream->bytes + offset, part))
            return -1;
        CHECK(
            hello->taken <= CVM_LARGEST_HANDSHAKE && hello->message_left <= CVM_LARGEST_HANDSHAKE);
        CHECK(hello->record_size < sizeof hello->record);
        CHECK(hello->message_size < sizeof hello->message);
        offset += part;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_bytes bytes = {data, size};
    struct fuzz_stream stream;
    struct cvm_hello parts, whole;
    memset(&parts, 0, sizeof parts);
    memset(&whole, 0, sizeof whole);
    fuzz_read_stream(&bytes, &stream);
    int32_t failed = take_in_parts(&parts, &stream);
    CHECK(failed == cvm_hello_take(&whole, stream.bytes, stream.length));
    if (!failed)
        CHECK(memcmp(&parts, &whole, sizeof parts) == 0);
    free(stream.bytes);
    return 0;
}
