/* Keys of the machine's own role: a container's (ECS, EKS Pod Identity), and an instance's
 * (metadata, version 2). */
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/endpoint.h"
#include "base/files.h"
#include "base/json.h"
#include "base/secret.h"
#include "environment.h"
#include "place.h"
#include "search.h"

#define TIMEOUT_MS          3000
#define METADATA_TIMEOUT_MS 1000 /* where there is none, nobody answers */
#define METADATA_URL        "http://169.254.169.254"
#define CONTAINER_URL       "http://169.254.170.2"
#define LONGEST_URL         512
#define LONGEST_TOKEN       16384

static void send(struct aws_search *search, const char *method, const char *url, const char *header,
    int64_t timeout_ms, aws_http_done done)
{
    const struct aws_http_request request = {.method = method,
        .url = url,
        .headers = &header,
        .header_count = header ? 1 : 0,
        .body = *method == 'P' ? "" : NULL,
        .timeout_ms = timeout_ms,
        .is_plain = 1,
        .is_direct = 1};
    cvm_aws_search_send(search, &request, done);
}

static const char *member(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "";
}

/* What container and instance answer: one and the same object. */
static void search_take_answer(
    struct aws_search *search, const char *what, const struct aws_http_response *response)
{
    const char *why = NULL;
    cJSON *object = response->failure || response->status != 200
                        ? NULL
                        : cvm_json_object(response->body, response->length, &why);
    const char *id = member(object, "AccessKeyId"), *secret = member(object, "SecretAccessKey"),
               *token = member(object, "Token");
    int64_t expires_ms = cvm_aws_time(member(object, "Expiration"));
    char text[100];
    (void)snprintf(text, sizeof text, "it answers HTTP %d", response->status);
    if (*id && *secret && expires_ms)
        cvm_aws_search_found(search, id, secret, token, expires_ms);
    else if (response->failure)
        cvm_aws_search_fail(search, what, response->failure);
    else
        cvm_aws_search_fail(search, what, response->status == 200 ? "it answers no keys" : text);
    cvm_json_wipe(object);
}

/* --- Container (ECS, EKS Pod Identity) -------------------------------------------------------- */

static void container_answered(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    search->exchange = NULL;
    search_take_answer(search, "the container's credentials endpoint", response);
}

/* Plain HTTP only to where nobody listens in: the container's own host. */
static int32_t container_url_is_fine(const char *url)
{
    static const char *const HOSTS[] = {
        "localhost", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"};
    struct cvm_endpoint endpoint;
    char authority[LONGEST_URL];
    if (strncmp(url, "https://", 8) == 0)
        return 1;
    if (strncmp(url, "http://", 7) != 0)
        return 0;
    (void)snprintf(authority, sizeof authority, "%.*s", (int)strcspn(url + 7, "/?#"), url + 7);
    if (cvm_endpoint_parse(authority, 80, &endpoint))
        return 0;
    for (size_t i = 0; i < sizeof HOSTS / sizeof *HOSTS; i++)
        if (strcmp(endpoint.host, HOSTS[i]) == 0)
            return 1;
    return cvm_is_address(endpoint.host) && strncmp(endpoint.host, "127.", 4) == 0;
}

/* The token that the container shows, from its file or the environment, as a header line. 0, or -1.
 */
static int32_t container_header(char header[LONGEST_TOKEN], char *why, size_t why_size)
{
    const char *path = cvm_aws_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
               *token = cvm_aws_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    size_t length = 0;
    char *text = NULL;
    if (path) {
        text = cvm_files_read_most(path, LONGEST_TOKEN, &length, why, why_size);
        if (!text)
            return -1;
        text[strcspn(text, "\r\n")] = 0;
        token = text;
    }
    *header = 0;
    if (token && !strpbrk(token, "\r\n"))
        (void)snprintf(header, LONGEST_TOKEN, "Authorization: %s", token);
    cvm_secret_free(text, length);
    return 0;
}

void cvm_aws_ask_container(struct aws_search *search)
{
    const char *relative = cvm_aws_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
               *full = cvm_aws_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    char url[LONGEST_URL], header[LONGEST_TOKEN], why[200];
    if (!relative && !full) {
        cvm_aws_search_pass(search);
        return;
    }
    (void)snprintf(
        url, sizeof url, "%s%s", relative ? CONTAINER_URL : "", relative ? relative : full);
    if (!container_url_is_fine(url))
        cvm_aws_search_fail(search, "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "expected https:, or a host of the container's own");
    else if (container_header(header, why, sizeof why))
        cvm_aws_search_fail(search, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", why);
    else
        send(search, "GET", url, *header ? header : NULL, TIMEOUT_MS, container_answered);
    OPENSSL_cleanse(header, sizeof header);
}

/* --- Instance metadata, version 2 ------------------------------------------------------------- */

static void metadata_send(struct aws_search *search, const char *path, aws_http_done done)
{
    const char *base = cvm_aws_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    char url[LONGEST_URL], header[160];
    int32_t has_token = *search->metadata_token != 0;
    (void)snprintf(url, sizeof url, "%.200s%s", base ? base : METADATA_URL, path);
    (void)snprintf(header, sizeof header, "X-aws-ec2-metadata-token%s",
        has_token ? ": " : "-ttl-seconds: 21600");
    if (has_token)
        (void)snprintf(
            header + strlen(header), sizeof header - strlen(header), "%s", search->metadata_token);
    send(search, has_token ? "GET" : "PUT", url, header, METADATA_TIMEOUT_MS, done);
}

#define METADATA_PATH "/latest/meta-data/iam/security-credentials/"

static void metadata_told_keys(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    search->exchange = NULL;
    search_take_answer(search, "the instance's metadata", response);
}

static void metadata_told_role(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    char path[256];
    search->exchange = NULL;
    size_t length = strcspn(response->body, "\r\n");
    if (response->failure || response->status != 200 || !length || length > 128 ||
        memchr(response->body, '/', length)) {
        cvm_aws_search_fail(search, "the instance's metadata", "the instance has no role");
        return;
    }
    (void)snprintf(path, sizeof path, METADATA_PATH "%.*s", (int)length, response->body);
    metadata_send(search, path, metadata_told_keys);
}

/* Where nobody answers there is no metadata service, or it is a hop too far from a container. */
static void metadata_told_token(void *argument, const struct aws_http_response *response)
{
    struct aws_search *search = argument;
    search->exchange = NULL;
    if (response->failure || response->status != 200 || !response->length ||
        response->length >= sizeof search->metadata_token ||
        strcspn(response->body, "\r\n") != response->length) {
        cvm_aws_search_pass(search);
        return;
    }
    (void)snprintf(search->metadata_token, sizeof search->metadata_token, "%s", response->body);
    metadata_send(search, METADATA_PATH, metadata_told_role);
}

void cvm_aws_ask_instance(struct aws_search *search)
{
    *search->metadata_token = 0;
    if (cvm_aws_is_on("AWS_EC2_METADATA_DISABLED"))
        cvm_aws_search_pass(search);
    else
        metadata_send(search, "/latest/api/token", metadata_told_token);
}
