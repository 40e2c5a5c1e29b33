/* Elements of DER. */
#include "der.h"

#include <openssl/asn1.h>

int32_t cvm_der_take(
    struct cvm_span *rest, int tag, int class, struct cvm_span *whole, struct cvm_span *content)
{
    const unsigned char *at = rest->bytes;
    long length;
    int found_tag, found_class;
    int rc = ASN1_get_object(&at, &length, &found_tag, &found_class, rest->length);
    /* Those that are asked for here: of the primitive ones all have a universal tag. */
    int form = class != V_ASN1_UNIVERSAL || tag == V_ASN1_SEQUENCE ? V_ASN1_CONSTRUCTED : 0;
    /* Bit 7: an error; bit 0: a length that is not said, which DER does not have. */
    if (rc & 0x81 || found_tag != tag || found_class != class || (rc & V_ASN1_CONSTRUCTED) != form)
        return -1;
    long size = at - rest->bytes + length;
    if (size != ASN1_object_size(1, (int)length, tag))
        return -1; /* a length in more bytes than it needs */
    if (whole)
        *whole = (struct cvm_span){rest->bytes, size};
    if (content)
        *content = (struct cvm_span){at, length};
    rest->bytes += size;
    rest->length -= size;
    return 0;
}
