/* What OpenSSL would make at its first use, where it does not look whether it could. */
#include "crypto.h"

#include <time.h>

#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "clock.h"

int32_t cvm_crypto_init(void)
{
    uint8_t byte;
    EVP_MD *digest = NULL;
    int32_t failed = !OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) ||
                     !OSSL_LIB_CTX_get0_global_default() ||
                     !(digest = EVP_MD_fetch(NULL, "SHA256", NULL)) || RAND_bytes(&byte, 1) != 1;
    EVP_MD_free(digest);
    return failed ? -1 : 0;
}

int64_t cvm_asn1_time_ms(const ASN1_TIME *time)
{
    struct tm utc;
    return ASN1_TIME_to_tm(time, &utc) ? cvm_utc_ms(&utc) : 0;
}

int32_t cvm_asn1_time_set(ASN1_TIME *time, int64_t ms)
{
    char text[32];
    if (ms < 0 || ms >= CVM_UTC_END_MS)
        return -1;
    return ASN1_TIME_set_string_X509(time, cvm_print_utc(ms, "%Y%m%d%H%M%SZ", text, sizeof text))
               ? 0
               : -1;
}
