/* Certificates in what AWS IoT and other servers answer, as any bytes: one that is read, and those
 * of a text. What was taken out of a text is all of it that is a certificate. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "backends/aws_iot/pem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char id[CVM_SHA256_HEX_SIZE], key[CVM_SHA256_HEX_SIZE];
    char *text = malloc(length + 1);
    if (!text)
        return 0;
    memcpy(text, bytes, length);
    text[length] = 0;
    if (!cvm_iot_read_certificate(text, id, key))
        CHECK(cvm_is_hex(id, 64) && cvm_is_hex(key, 64));
    char *anchors = cvm_iot_read_anchors(text, length), *again = NULL;
    if (anchors) {
        again = cvm_iot_read_anchors(anchors, strlen(anchors));
        CHECK(again && strcmp(again, anchors) == 0);
        CHECK(!cvm_iot_read_certificate(anchors, id, key));
    }
    free(again);
    free(anchors);
    free(text);
    return 0;
}
