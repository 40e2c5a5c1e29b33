/* PEM to DER. */
#include "pem.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "secret.h"

#define BEGIN  "-----BEGIN "
#define DASHES "-----"
#define END    "-----END "

int32_t cvm_pem_decode(struct cvm_span base64, unsigned char *der, long *length)
{
    EVP_ENCODE_CTX *context = EVP_ENCODE_CTX_new();
    int head = 0, tail = 0;
    if (!context)
        return -1;
    EVP_DecodeInit(context);
    int32_t is_decoded =
        EVP_DecodeUpdate(context, der, &head, base64.bytes, (int)base64.length) >= 0 &&
        EVP_DecodeFinal(context, der + head, &tail) >= 0;
    EVP_ENCODE_CTX_free(context);
    *length = head + tail;
    return is_decoded;
}

/* What is between the lines of the next object; *text goes behind them. 1, 0 or -1. */
static int32_t pem_find(const char **text, struct cvm_span *base64)
{
    const char *begin = strstr(*text, BEGIN);
    if (!begin)
        return 0;
    const char *first = strstr(begin + sizeof BEGIN - 1, DASHES);
    const char *last = first ? strstr(first, END) : NULL;
    const char *behind = last ? strstr(last + sizeof END - 1, DASHES) : NULL;
    if (!behind)
        return -1;
    first += sizeof DASHES - 1;
    *base64 = (struct cvm_span){(const unsigned char *)first, last - first};
    *text = behind + sizeof DASHES - 1;
    return 1;
}

int32_t cvm_pem_take(const char **text, unsigned char **der, long *length)
{
    struct cvm_span base64;
    int32_t found = pem_find(text, &base64);
    if (found != 1)
        return found;
    size_t size = (size_t)base64.length + 1;
    *der = malloc(size);
    if (*der && cvm_pem_decode(base64, *der, length) == 1)
        return 1;
    cvm_secret_free(*der, size);
    return -1;
}
