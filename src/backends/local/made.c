/* A chain, verified as `openssl verify -x509_strict -crl_check_all` does. */
#include "made.h"

#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/crypto.h"

int32_t cvm_made_lives(const X509 *certificate, int64_t begins_ms, int64_t ends_ms)
{
    return cvm_asn1_time_ms(X509_get0_notBefore(certificate)) == begins_ms / 1000 * 1000 &&
           cvm_asn1_time_ms(X509_get0_notAfter(certificate)) == ends_ms / 1000 * 1000;
}

/* What is trusted, and the CRLs. NULL on failure. */
static X509_STORE *made_store(X509 *root, const char *crls)
{
    X509_STORE *store = X509_STORE_new();
    X509_LOOKUP *lookup = store ? X509_STORE_add_lookup(store, X509_LOOKUP_file()) : NULL;
    if (lookup && X509_STORE_add_cert(store, root) &&
        (!crls || X509_load_crl_file(lookup, crls, X509_FILETYPE_PEM) > 0))
        return store;
    X509_STORE_free(store);
    return NULL;
}

static STACK_OF(X509) * made_chain(X509 *issuing)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    if (chain && issuing && !sk_X509_push(chain, issuing)) {
        sk_X509_free(chain);
        return NULL;
    }
    return chain;
}

/* NULL if it is good, or why not. */
static const char *made_problem(X509_STORE_CTX *context, int purpose, int has_crls)
{
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
    unsigned long flags = X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE;
    if (has_crls)
        flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
    if (!X509_VERIFY_PARAM_set_flags(parameters, flags) ||
        (purpose && !X509_VERIFY_PARAM_set_purpose(parameters, purpose)))
        return "out of memory";
    if (X509_verify_cert(context) == 1)
        return NULL;
    return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
}

int32_t cvm_made_verify(X509 *certificate, X509 *root, X509 *issuing, int purpose, const char *crls,
    char *error, size_t error_size)
{
    const char *problem = "out of memory, or the CRL can't be read";
    X509_STORE *store = made_store(root, crls);
    STACK_OF(X509) *chain = made_chain(issuing);
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    if (store && chain && context && X509_STORE_CTX_init(context, store, certificate, chain))
        problem = made_problem(context, purpose, crls != NULL);
    if (problem)
        (void)snprintf(error, error_size, "what was made can't be used: %s", problem);
    X509_STORE_CTX_free(context);
    sk_X509_free(chain);
    X509_STORE_free(store);
    ERR_clear_error();
    return problem ? -1 : 0;
}
