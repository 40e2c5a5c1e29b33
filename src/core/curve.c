/* Made once: OpenSSL looks a curve up and checks it anew whenever it is named, which takes longer
 * than to sign. */
#include "curve.h"

#include <pthread.h>

static const char *const NAMES[CURVE_COUNT] = {"P-256", "P-384"};
static EVP_PKEY *keys[CURVE_COUNT];
static pthread_mutex_t keys_lock = PTHREAD_MUTEX_INITIALIZER;

static EVP_PKEY *make_parameters(const char *name)
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    if (!context || EVP_PKEY_paramgen_init(context) <= 0 ||
        EVP_PKEY_CTX_set_group_name(context, name) <= 0 || EVP_PKEY_paramgen(context, &key) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    return key;
}

EVP_PKEY *cvm_curve_key(enum cvm_curve curve)
{
    (void)pthread_mutex_lock(&keys_lock);
    if (!keys[curve])
        keys[curve] = make_parameters(NAMES[curve]);
    EVP_PKEY *key = keys[curve];
    (void)pthread_mutex_unlock(&keys_lock);
    return key;
}

EVP_PKEY *cvm_curve_make_key(enum cvm_curve curve)
{
    EVP_PKEY *parameters = cvm_curve_key(curve), *key = NULL;
    EVP_PKEY_CTX *context = parameters ? EVP_PKEY_CTX_new_from_pkey(NULL, parameters, NULL) : NULL;
    if (!context || EVP_PKEY_keygen_init(context) <= 0 || EVP_PKEY_keygen(context, &key) <= 0)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    return key;
}
