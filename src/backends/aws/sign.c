/* Canonical request, string to sign, signing key, signature: the four steps of the specification.
 */
#include "sign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/secret.h"

#define ALGORITHM      "AWS4-HMAC-SHA256"
#define MOST_HEADERS   12
#define LARGEST_HEADER (64u << 10)

/* --- Keys ------------------------------------------------------------------------------------- */

void cvm_aws_keys_clear(struct aws_keys *keys)
{
    cvm_secret_free_text(keys->id);
    cvm_secret_free_text(keys->secret);
    cvm_secret_free_text(keys->token);
    *keys = (struct aws_keys){.id = NULL};
}

int32_t cvm_aws_keys_set(
    struct aws_keys *keys, const char *id, const char *secret, const char *token)
{
    cvm_aws_keys_clear(keys);
    keys->id = strdup(id);
    keys->secret = strdup(secret);
    keys->token = token && *token ? strdup(token) : NULL;
    if (keys->id && keys->secret && (keys->token || !token || !*token))
        return 0;
    cvm_aws_keys_clear(keys);
    return -1;
}

/* --- HMAC ------------------------------------------------------------------------------------- */

int32_t cvm_aws_signer_init(struct aws_signer *signer)
{
    static char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end()};
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    *signer = (struct aws_signer){.hmac = mac ? EVP_MAC_CTX_new(mac) : NULL};
    EVP_MAC_free(mac);
    if (signer->hmac && EVP_MAC_CTX_set_params(signer->hmac, params))
        return 0;
    cvm_aws_signer_clear(signer);
    return -1;
}

void cvm_aws_signer_clear(struct aws_signer *signer)
{
    EVP_MAC_CTX_free(signer->hmac);
    OPENSSL_cleanse(signer, sizeof *signer);
}

/* key and result may be the same. */
static int32_t hmac(const struct aws_signer *signer, const void *key, size_t key_length,
    const char *text, uint8_t result[32])
{
    size_t length = 32;
    return EVP_MAC_init(signer->hmac, key, key_length, NULL) &&
                   EVP_MAC_update(signer->hmac, (const unsigned char *)text, strlen(text)) &&
                   EVP_MAC_final(signer->hmac, result, &length, 32)
               ? 0
               : -1;
}

/* The day's key, for that region and service; scope begins with the day. */
static int32_t signer_derive(struct aws_signer *signer, const struct aws_keys *keys,
    const struct aws_to_sign *request, const char *scope)
{
    char day[9], secret_sha256[CVM_SHA256_HEX_SIZE];
    uint8_t key[32];
    if (cvm_sha256_hex(keys->secret, strlen(keys->secret), secret_sha256))
        return -1;
    if (strcmp(signer->scope, scope) == 0 && strcmp(signer->secret_sha256, secret_sha256) == 0)
        return 0;
    struct cvm_buffer first = {.most = LARGEST_HEADER};
    (void)snprintf(day, sizeof day, "%.8s", scope);
    cvm_buffer_text(&first, "AWS4");
    cvm_buffer_text(&first, keys->secret);
    int32_t failed = first.failed || hmac(signer, first.text, first.length, day, key) ||
                     hmac(signer, key, sizeof key, request->region, key) ||
                     hmac(signer, key, sizeof key, request->service, key) ||
                     hmac(signer, key, sizeof key, "aws4_request", key);
    cvm_buffer_free(&first);
    *signer->scope = 0;
    if (!failed) {
        memcpy(signer->key, key, sizeof key);
        (void)snprintf(signer->scope, sizeof signer->scope, "%s", scope);
        memcpy(signer->secret_sha256, secret_sha256, sizeof secret_sha256);
    }
    OPENSSL_cleanse(key, sizeof key);
    return failed;
}

/* --- The canonical request -------------------------------------------------------------------- */

void cvm_aws_encode(struct cvm_buffer *to, const char *text, int32_t keep_slash)
{
    static const char UNRESERVED[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    for (; *text; text++) {
        char escape[4];
        if (strchr(UNRESERVED, *text) && (*text != '/' || keep_slash)) {
            cvm_buffer_add(to, text, 1);
            continue;
        }
        (void)snprintf(escape, sizeof escape, "%%%02X", (unsigned char)*text);
        cvm_buffer_text(to, escape);
    }
}

/* Lines "name:value", sorted. */
struct headers {
    struct {
        const char *name, *value;
        size_t name_length;
    } list[MOST_HEADERS];
    uint32_t count;
};

static int32_t headers_add(
    struct headers *headers, const char *name, size_t name_length, const char *value)
{
    uint32_t at = headers->count;
    if (at == MOST_HEADERS)
        return -1;
    for (; at && strncmp(headers->list[at - 1].name, name, name_length) > 0; at--)
        headers->list[at] = headers->list[at - 1];
    headers->list[at].name = name;
    headers->list[at].name_length = name_length;
    headers->list[at].value = value;
    headers->count++;
    return 0;
}

static int32_t headers_of(struct headers *headers, const struct aws_to_sign *request,
    const struct aws_keys *keys, const char *date)
{
    int32_t failed = headers_add(headers, "host", 4, request->host) ||
                     headers_add(headers, "x-amz-date", 10, date) ||
                     (keys->token && headers_add(headers, "x-amz-security-token", 20, keys->token));
    for (uint32_t i = 0; i < request->header_count && !failed; i++) {
        const char *line = request->headers[i];
        size_t length = strcspn(line, ":");
        const char *value = line + length + (line[length] == ':');
        failed = headers_add(headers, line, length, value + strspn(value, " "));
    }
    return failed;
}

static void headers_print_names(const struct headers *headers, struct cvm_buffer *to)
{
    for (uint32_t i = 0; i < headers->count; i++) {
        cvm_buffer_text(to, i ? ";" : "");
        cvm_buffer_add(to, headers->list[i].name, headers->list[i].name_length);
    }
}

static int32_t canonical_sha256(const struct aws_to_sign *request, const struct headers *headers,
    char sha256[CVM_SHA256_HEX_SIZE])
{
    struct cvm_buffer text = {.most = LARGEST_HEADER};
    char body_sha256[CVM_SHA256_HEX_SIZE];
    cvm_buffer_text(&text, request->method);
    cvm_buffer_text(&text, "\n");
    cvm_aws_encode(&text, request->path, 1); /* once more */
    cvm_buffer_text(&text, "\n");
    cvm_buffer_text(&text, request->query);
    cvm_buffer_text(&text, "\n");
    for (uint32_t i = 0; i < headers->count; i++) {
        cvm_buffer_add(&text, headers->list[i].name, headers->list[i].name_length);
        cvm_buffer_text(&text, ":");
        cvm_buffer_text(&text, headers->list[i].value);
        cvm_buffer_text(&text, "\n");
    }
    cvm_buffer_text(&text, "\n");
    headers_print_names(headers, &text);
    cvm_buffer_text(&text, "\n");
    int32_t failed =
        cvm_sha256_hex(request->body ? request->body : "", request->length, body_sha256);
    cvm_buffer_text(&text, failed ? "" : body_sha256);
    failed = failed || text.failed || cvm_sha256_hex(text.text, text.length, sha256);
    cvm_buffer_free(&text);
    return failed ? -1 : 0;
}

/* --- The signature ---------------------------------------------------------------------------- */

static int32_t signature_of(
    const struct aws_signer *signer, const char *string_to_sign, char signature[65])
{
    uint8_t bytes[32];
    if (hmac(signer, signer->key, sizeof signer->key, string_to_sign, bytes))
        return -1;
    cvm_hex(bytes, sizeof bytes, signature);
    return 0;
}

int32_t cvm_aws_sign(struct aws_signer *signer, const struct aws_keys *keys,
    const struct aws_to_sign *request, char date[AWS_DATE_SIZE], struct cvm_buffer *authorization)
{
    struct headers headers = {.count = 0};
    char scope[sizeof signer->scope], sha256[CVM_SHA256_HEX_SIZE], signature[65], text[256];
    (void)cvm_print_utc(request->now_ms, "%Y%m%dT%H%M%SZ", date, AWS_DATE_SIZE);
    int length = snprintf(
        scope, sizeof scope, "%.8s/%s/%s/aws4_request", date, request->region, request->service);
    if (length < 0 || (size_t)length >= sizeof scope || headers_of(&headers, request, keys, date) ||
        canonical_sha256(request, &headers, sha256) || signer_derive(signer, keys, request, scope))
        return -1;
    (void)snprintf(text, sizeof text, ALGORITHM "\n%s\n%s\n%s", date, scope, sha256);
    if (signature_of(signer, text, signature))
        return -1;
    cvm_buffer_text(authorization, ALGORITHM " Credential=");
    cvm_buffer_text(authorization, keys->id);
    cvm_buffer_text(authorization, "/");
    cvm_buffer_text(authorization, scope);
    cvm_buffer_text(authorization, ", SignedHeaders=");
    headers_print_names(&headers, authorization);
    cvm_buffer_text(authorization, ", Signature=");
    cvm_buffer_text(authorization, signature);
    return authorization->failed ? -1 : 0;
}
