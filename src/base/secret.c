/* Wiped by a call that no compiler leaves out. */
#include "secret.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

void cvm_secret_free(void *bytes, size_t length)
{
    if (bytes)
        OPENSSL_cleanse(bytes, length);
    free(bytes);
}

void cvm_secret_free_text(char *text)
{
    cvm_secret_free(text, text ? strlen(text) : 0);
}
