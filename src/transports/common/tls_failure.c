/* From OpenSSL's reason codes, the alerts of clients among them, to words for operators. */
#include "transports/common/tls_failure.h"

#include <stddef.h>

#include <openssl/err.h>
#include <openssl/sslerr.h>

/* What clients say when they do not like the server's certificate: the root that they do not know
 * and the end of it are told apart; a wrong name or a clock that is behind is a bad certificate. */
static const struct {
    int reason;
    const char *word;
} FAILURES[] = {
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, "unknown_ca"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, "certificate_expired"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, "bad_certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, "bad_certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, "bad_certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, "bad_certificate"},
    {SSL_R_NO_SHARED_CIPHER, "no_shared_cipher"},
    {SSL_R_NO_SHARED_GROUPS, "no_shared_cipher"},
    {SSL_R_NO_SUITABLE_GROUPS, "no_shared_cipher"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "no_shared_cipher"},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, "no_shared_cipher"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no_shared_cipher"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "protocol_version"},
    {SSL_R_VERSION_TOO_LOW, "protocol_version"},
    {SSL_R_VERSION_TOO_HIGH, "protocol_version"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "protocol_version"},
    {SSL_R_HTTP_REQUEST, CVM_TLS_NOT_TLS},
    {SSL_R_HTTPS_PROXY_REQUEST, CVM_TLS_NOT_TLS},
    {SSL_R_WRONG_VERSION_NUMBER, CVM_TLS_NOT_TLS},
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, CVM_TLS_RESET},
};

const char *cvm_tls_failure(unsigned long error)
{
    if (!error)
        return CVM_TLS_RESET;
    for (size_t i = 0; i < sizeof FAILURES / sizeof FAILURES[0]; i++)
        if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == FAILURES[i].reason)
            return FAILURES[i].word;
    return "other";
}
