/* Renders and reads JSON with cJSON. An answer is untrusted: names count in their exact case, every
 * field must be there and of its type, nothing may follow. Strings may be secrets and are cleansed.
 */
#include "messages.h"

#include "clock.h"
#include "pem.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { HTTP_OK = 200 };

/* By reference, so that cJSON makes no copy of the token that nobody would cleanse. */
static bool add(cJSON *object, const char *name, const char *text)
{
    return cJSON_AddItemToObject(object, name, cJSON_CreateStringReference(text)) != 0;
}

bool request_render(const char *uid, const char *token, const char *csr, char text[REQUEST_SIZE])
{
    cJSON *object = cJSON_CreateObject();
    const bool rendered = add(object, "device_uid", uid) && add(object, "device_token", token) &&
                          (csr == NULL || add(object, "csr", csr)) &&
                          cJSON_PrintPreallocated(object, text, REQUEST_SIZE, 0) != 0;
    cJSON_Delete(object);
    return rendered;
}

/* NULL for a missing field, too. */
static const char *string_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

bool answer_parse(struct answer *answer, const char *text, size_t length)
{
    *answer = (struct answer){0};
    if (memchr(text, '\0', length) != NULL) {
        return false;
    }
    answer->json = cJSON_ParseWithOpts(text, NULL, 1);
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(answer->json, "statusCode");
    const char *word = string_of(answer->json, "status");
    answer->payload = cJSON_GetObjectItemCaseSensitive(answer->json, "payload");
    if (!cJSON_IsNumber(status) || word == NULL || !cJSON_IsObject(answer->payload)) {
        return false;
    }
    answer->status = status->valueint;
    answer->code = string_of(answer->payload, "code");
    answer->message = string_of(answer->payload, "message");
    answer->retryable =
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer->payload, "retryable")) != 0;
    return strcmp(word, answer->status == HTTP_OK ? "SUCCESS" : "ERROR") == 0;
}

static void cleanse(cJSON *item)
{
    if (item == NULL) {
        return;
    }
    if (item->valuestring != NULL) {
        OPENSSL_cleanse(item->valuestring, strlen(item->valuestring));
    }
    for (cJSON *child = item->child; child != NULL; child = child->next) {
        cleanse(child);
    }
}

void answer_free(struct answer *answer)
{
    cleanse(answer->json);
    cJSON_Delete(answer->json);
    *answer = (struct answer){0};
}

static bool copy(char *to, size_t size, const char *from)
{
    return from != NULL && (size_t)snprintf(to, size, "%s", from) < size;
}

static cert_stack *certificates_of(const cJSON *object, const char *name)
{
    const char *text = string_of(object, name);
    return text == NULL ? NULL : pem_certificates(text);
}

static EVP_PKEY *key_of(const cJSON *payload, EVP_PKEY *own_key)
{
    if (own_key != NULL) {
        return EVP_PKEY_up_ref(own_key) == 1 ? own_key : NULL;
    }
    const cJSON *pair = cJSON_GetObjectItemCaseSensitive(payload, "keyPair");
    const char *text = string_of(pair, "privateKey");
    return text == NULL ? NULL : pem_private_key(text);
}

/* A server_time past the certificate's own end can't be true. Without this check one wrong answer
 * would move the device's clock to where every certificate has expired, for good. */
static const char *time_problem(
    const cJSON *payload, const struct credentials *credentials, time_t *server_time)
{
    const char *text = string_of(payload, "server_time");
    if (text == NULL || !clock_parse(text, server_time)) {
        return "server_time is missing or no RFC 3339 time in UTC";
    }
    const X509 *leaf = sk_X509_value(credentials->chain, 0);
    if (X509_cmp_time(X509_get0_notAfter(leaf), server_time) < 0) {
        return "server_time is past the end of the certificate";
    }
    return NULL;
}

const char *answer_credentials(const struct answer *answer, EVP_PKEY *own_key,
    struct credentials *credentials, time_t *server_time)
{
    const cJSON *payload = answer->payload;
    const cJSON *certificates = cJSON_GetObjectItemCaseSensitive(payload, "certificates");
    credentials->chain = certificates_of(certificates, "device_certificate");
    credentials->roots = certificates_of(certificates, "root_ca");
    credentials->key = key_of(payload, own_key);
    if (credentials->chain == NULL) {
        return "device_certificate is missing or no PEM";
    }
    if (credentials->roots == NULL) {
        return "root_ca is missing or no PEM";
    }
    if (credentials->key == NULL) {
        return "privateKey is missing or no PEM";
    }
    if (!copy(credentials->endpoint, ENDPOINT_SIZE, string_of(payload, "endpoint"))) {
        return "endpoint is missing or too long";
    }
    if (!copy(credentials->thing_name, THING_NAME_SIZE, string_of(payload, "thing_name"))) {
        return "thing_name is missing or too long";
    }
    const char *id = string_of(payload, "certificate_id");
    char expected[CERTIFICATE_ID_SIZE];
    certificate_id(credentials, expected);
    if (id == NULL || strcmp(id, expected) != 0) {
        return "certificate_id is missing or not the certificate's SHA-256";
    }
    return time_problem(payload, credentials, server_time);
}
