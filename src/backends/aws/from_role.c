/* Keys of a role, by STS of the region: assumed by other keys, or by a token that a cluster gives
 * (web identity). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/secret.h"
#include "environment.h"
#include "place.h"
#include "search.h"

#define TIMEOUT_MS    5000
#define LONGEST_TOKEN 32768
#define LARGEST_BODY  131072
#define FORM          "content-type: application/x-www-form-urlencoded; charset=utf-8"

static const char WHAT[] = "AWS STS";

/* --- The answer, which is XML ----------------------------------------------------------------- */

/* The text of the first element of that name; "" without one that fits. What is wanted has no
 * characters that XML escapes. */
static const char *element(const char *xml, const char *name, char *to, size_t size)
{
    char tag[40];
    (void)snprintf(tag, sizeof tag, "<%s>", name);
    const char *from = strstr(xml, tag);
    size_t length = from ? strcspn(from + strlen(tag), "<") : 0;
    *to = 0;
    if (length && length < size)
        (void)snprintf(to, size, "%.*s", (int)length, from + strlen(tag));
    return to;
}

static void role_answered(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    char id[129], secret[257], token[8192], expires[40], text[160];
    search->exchange = NULL;
    if (response->failure) {
        cvm_aws_search_fail(search, WHAT, response->failure);
        return;
    }
    (void)element(response->body, "AccessKeyId", id, sizeof id);
    (void)element(response->body, "SecretAccessKey", secret, sizeof secret);
    (void)element(response->body, "SessionToken", token, sizeof token);
    int64_t expires_ms =
        cvm_aws_time(element(response->body, "Expiration", expires, sizeof expires));
    if (response->status == 200 && *id && *secret && *token && expires_ms) {
        search->role.is_tried = 1;
        cvm_aws_search_found(search, id, secret, token, expires_ms);
    } else {
        (void)snprintf(text, sizeof text, "HTTP %d: %.60s: ", response->status,
            element(response->body, "Code", id, sizeof id));
        size_t used = strlen(text);
        (void)element(response->body, "Message", text + used, sizeof text - used);
        cvm_aws_search_fail(search, WHAT, text);
    }
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(token, sizeof token);
}

/* --- The request ------------------------------------------------------------------------------ */

static void add_parameter(struct cvm_buffer *body, const char *name, const char *value)
{
    cvm_buffer_text(body, "&");
    cvm_buffer_text(body, name);
    cvm_buffer_text(body, "=");
    cvm_aws_encode(body, value, 0);
}

/* The headers that a signature takes, behind what is signed. 0, or -1 without memory. */
static int32_t sign(struct aws_search *search, const struct aws_keys *keys,
    const struct aws_place *place, const struct cvm_buffer *body, struct cvm_buffer headers[3])
{
    static const char *const SIGNED[] = {FORM};
    char date[AWS_DATE_SIZE];
    const struct aws_to_sign request = {.method = "POST",
        .host = place->host,
        .path = "/",
        .query = "",
        .headers = SIGNED,
        .header_count = 1,
        .body = body->text,
        .length = body->length,
        .region = place->region,
        .service = "sts",
        .now_ms = cvm_now_ms()};
    cvm_buffer_text(&headers[0], "authorization: ");
    if (body->failed || cvm_aws_signer_init(&search->signer) ||
        cvm_aws_sign(&search->signer, keys, &request, date, &headers[0]))
        return -1;
    cvm_buffer_text(&headers[1], "x-amz-date: ");
    cvm_buffer_text(&headers[1], date);
    cvm_buffer_text(&headers[2], "x-amz-security-token: ");
    cvm_buffer_text(&headers[2], keys->token ? keys->token : "");
    return headers[0].failed || headers[1].failed || headers[2].failed ? -1 : 0;
}

/* keys: NULL for a request that is not signed. */
static void send_to_sts(
    struct aws_search *search, const struct aws_keys *keys, struct cvm_buffer *body)
{
    struct aws_place place;
    char error[200];
    struct cvm_buffer signature[3] = {
        {.most = LARGEST_BODY}, {.most = 256}, {.most = LARGEST_BODY}};
    if (cvm_aws_place_find(search->host, search->context, "sts", &place, error, sizeof error)) {
        cvm_aws_search_fail(search, WHAT, error);
        return;
    }
    int32_t failed = body->failed || (keys && sign(search, keys, &place, body, signature));
    const char *const headers[] = {FORM, signature[0].text, signature[1].text, signature[2].text};
    const struct aws_http_request request = {.method = "POST",
        .url = place.url,
        .headers = headers,
        .header_count = !keys         ? 1
                        : keys->token ? 4
                                      : 3,
        .body = body->text,
        .length = body->length,
        .copies_body = 1,
        .timeout_ms = TIMEOUT_MS,
        .is_plain = place.is_plain};
    if (failed)
        cvm_aws_search_fail(search, WHAT, "out of memory");
    else
        cvm_aws_search_send(search, &request, role_answered);
    for (size_t i = 0; i < 3; i++)
        cvm_buffer_free(&signature[i]);
}

void cvm_aws_assume_role(struct aws_search *search, const struct aws_keys *keys)
{
    struct cvm_buffer body = {.most = LARGEST_BODY};
    cvm_buffer_text(&body, "Action=AssumeRole&Version=2011-06-15");
    add_parameter(&body, "RoleArn", search->role.arn);
    add_parameter(&body, "RoleSessionName", search->role.session);
    if (search->role.external_id)
        add_parameter(&body, "ExternalId", search->role.external_id);
    send_to_sts(search, keys, &body);
    cvm_buffer_free(&body);
}

void cvm_aws_ask_web_identity(struct aws_search *search)
{
    const char *path = cvm_aws_variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
               *role = cvm_aws_variable("AWS_ROLE_ARN"),
               *session = cvm_aws_variable("AWS_ROLE_SESSION_NAME");
    char why[200];
    size_t length;
    if (!path || !role) {
        cvm_aws_search_pass(search);
        return;
    }
    char *token = cvm_files_read_most(path, LONGEST_TOKEN, &length, why, sizeof why);
    if (!token) {
        cvm_aws_search_fail(search, "AWS_WEB_IDENTITY_TOKEN_FILE", why);
        return;
    }
    token[strcspn(token, "\r\n")] = 0;
    struct cvm_buffer body = {.most = LARGEST_BODY};
    cvm_buffer_text(&body, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15");
    add_parameter(&body, "RoleArn", role);
    add_parameter(&body, "RoleSessionName", session ? session : "libcvm");
    add_parameter(&body, "WebIdentityToken", token);
    send_to_sts(search, NULL, &body);
    cvm_buffer_free(&body);
    cvm_secret_free(token, length);
}
